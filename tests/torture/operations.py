"""What a process does to the files of a folder, one operation after the other, and a death at any of them.

Opened for writing, made, renamed, removed, changed in mode: Python tells of these through its audit events. Writes and
fsyncs are seen by standing in for `open` and `os.fsync`.
"""

from __future__ import annotations

import builtins
import io
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

_EVENTS = {"os.rename": 1, "os.remove": 0, "os.mkdir": 0, "os.rmdir": 0, "os.chmod": 0}  # and which argument is named
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_RANDOM_PART = re.compile(r"\.[^.]{8}\.part$")


class Operations:
    """Counts the operations on what lies in `folder`, from the making of this on and for good.

    Their names go to the file `log`, a line each. Before operation number `die_at` the process kills itself, or with
    `inside`, where it is a write, after half of its bytes.
    """

    def __init__(self, folder: Path, log: Path, die_at: int | None = None, *, inside: bool = False) -> None:
        self._folder = os.path.realpath(folder)
        self._die_at, self._inside = die_at, inside
        self._count = 0
        self._open, self._fsync = io.open, os.fsync
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        sys.addaudithook(self._hear)
        builtins.open = io.open = self._opened  # type: ignore[assignment]
        os.fsync = self._synced

    def reached(self, name: str, path: str) -> bool:
        """Count an operation; returns whether it is a write that is to be cut."""
        number, self._count = self._count, self._count + 1
        where = _RANDOM_PART.sub(".part", os.path.relpath(path, self._folder))
        os.write(self._log, f"{name} {where}\n".encode())
        if number == self._die_at:
            if self._inside and name == "write":
                return True
            die()
        return False

    def _in(self, path: Any) -> str | None:
        """The path where it is of the folder, or the folder itself."""
        if isinstance(path, int) or path is None:
            return None
        folder, name = os.path.split(os.fsdecode(path))
        absolute = f"{os.path.realpath(folder)}/{name}"
        return absolute if absolute == self._folder or absolute.startswith(self._folder + "/") else None

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            writes = set("wax+") & set(mode) if isinstance(mode, str) else (flags or 0) & _WRITING
            where = self._in(path) if writes else None
            if where:
                self.reached("open", where)
        elif event in _EVENTS:
            where = self._in(arguments[_EVENTS[event]])
            if where:
                self.reached(event.removeprefix("os."), where)

    def _opened(self, file: Any, mode: str = "r", *more: Any, **options: Any) -> Any:
        where = self._in(file) if set("wax+") & set(mode) else None
        if where is None:
            return self._open(file, mode, *more, **options)
        raw = _Watched(file, mode.replace("b", "").replace("t", ""))
        raw.where, raw.operations = where, self
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        if "b" in mode:
            return buffered
        return io.TextIOWrapper(buffered, encoding=options.get("encoding"), newline=options.get("newline"))

    def _synced(self, descriptor: int) -> None:
        where = self._in(Path(f"/proc/self/fd/{descriptor}").readlink())
        if where:
            self.reached("fsync", where)
        self._fsync(descriptor)


class _Watched(io.FileIO):
    """A file whose every write is an operation."""

    where: str
    operations: Operations

    def write(self, data: Any, /) -> int:
        if self.operations.reached("write", self.where):
            super().write(bytes(data)[: len(data) // 2])
            die()
        return super().write(data)


def die() -> NoReturn:
    """SIGKILL to the process itself: no handler runs, nothing is flushed."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("killed, and still here")
