"""Calls that are watched: what they run, import, open for writing or connect to, their processor time and memory."""

from __future__ import annotations

import contextlib
import functools
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

# What Python says before it does it: https://docs.python.org/3/library/audit_events.html
_FORBIDDEN = ("os.", "subprocess.", "shutil.", "socket.", "ctypes.", "pickle.", "marshal.", "exec", "compile", "import")
_HARMLESS = {"os.listdir", "os.scandir"}
_watches: list[Watch] = []


@dataclass
class Watch:
    """What happened while something was watched."""

    events: list[str] = field(default_factory=list)
    seconds: float = 0.0  # of all threads' processor time


@contextlib.contextmanager
def watched() -> Iterator[Watch]:
    """Note what the block does, in all threads of this process."""
    _install()
    watch = Watch()
    _watches.append(watch)
    began = time.process_time()
    try:
        yield watch
    finally:
        _watches.remove(watch)
        watch.seconds = time.process_time() - began


@contextlib.contextmanager
def memory_limit(extra_bytes: int) -> Iterator[None]:
    """Let this process grow by so much address space at most; beyond, allocations fail with MemoryError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + extra_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def caught(call: Callable[[], object]) -> tuple[object, BaseException | None]:
    """What a call returns, or what it raises."""
    try:
        return call(), None
    except (Exception, RecursionError) as error:
        return None, error


@functools.cache
def _install() -> None:
    # A hook stays for good; it costs next to nothing while nothing is watched.
    sys.addaudithook(_note)


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if not _watches:
        return
    # open(path, mode, flags): mode is None where os.open was called, whose flags tell then
    writes = event == "open" and (set("wax+") & set(str(arguments[1] or "")) or int(str(arguments[2])) & 0o3)
    if writes or (event.startswith(_FORBIDDEN) and event not in _HARMLESS):
        for watch in _watches:
            watch.events.append(f"{event} {arguments!r:.80}")
