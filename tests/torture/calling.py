"""The command in this process, bounded in time and memory, with what it said and left behind."""

from __future__ import annotations

import contextlib
import io
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from unittest import mock

import typer

from onecycle import cli

CASE_SECONDS = 5.0
MEMORY_BYTES = 4 << 30  # beyond what the process had
PREFIX = "onecycle: error: "


class TooLong(BaseException):
    """No Exception, so that nothing in between takes it for one of its own."""


@dataclass(frozen=True)
class Called:
    """The exit code and what was printed."""

    code: object
    out: str
    err: str


@contextlib.contextmanager
def workshop() -> Iterator[Path]:
    """An empty working folder, the commands made once, and a limit on memory; all as before afterwards."""
    before, limits = Path.cwd(), resource.getrlimit(resource.RLIMIT_AS)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        os.chdir(folder)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, limits[1]))
        try:
            # Typer makes its tree of commands anew for each call, which takes longer than most of them.
            with mock.patch.object(sys.modules["onecycle.cli.main"], "app", typer.main.get_command(cli.app)):
                yield Path(folder)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, limits)
            os.chdir(before)


@contextlib.contextmanager
def bounded(seconds: float = CASE_SECONDS) -> Iterator[None]:
    """Raise TooLong inside the block after so many seconds of computing, or 20 times as many of waiting."""

    def end(number: int, frame: FrameType | None) -> None:
        raise TooLong(f"it ran for more than {seconds:g} s")

    # Computing by itself, as other processes may have the processor meanwhile.
    timers = ((signal.ITIMER_PROF, signal.SIGPROF, seconds), (signal.ITIMER_REAL, signal.SIGALRM, 20 * seconds))
    before = {number: signal.signal(number, end) for _, number, _ in timers}
    for timer, _, limit in timers:
        signal.setitimer(timer, limit)
    try:
        yield
    except TooLong as error:
        raise AssertionError(str(error)) from error
    finally:
        for timer, number, _ in timers:
            signal.setitimer(timer, 0)
            signal.signal(number, before[number])


def call(arguments: Sequence[str], seconds: float = CASE_SECONDS) -> Called:
    """The command with streams as a terminal in UTF-8 has them. Raises AssertionError where it takes too long."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace", write_through=True)
    code: object = "it returned"
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = out, err
    try:
        with bounded(seconds):
            cli.main(arguments)
    except SystemExit as left:
        code = left.code
    except AssertionError:
        raise
    except BaseException as error:
        raise AssertionError(f"{type(error).__name__}: {error}") from error
    finally:
        sys.stdout, sys.stderr = before
    said, complained = (one.buffer.getvalue().decode("utf-8", "replace") for one in (out, err))  # type: ignore[attr-defined]
    return Called(code, said, complained)


def check_refusal(called: Called, *, most_lines: int = 60) -> None:
    """Raise AssertionError unless a command that failed did so with 2 and a clear line a problem."""
    assert called.code == 2, f"exit code {called.code}: {called.err[-600:]}"
    lines = called.err.split("\n")
    assert lines.pop() == "" and lines, "nothing is said"
    lines = [line for line in lines if line.startswith(PREFIX) or not line.startswith("onecycle: ")]
    for line in lines:
        assert line.startswith(PREFIX) and line.removeprefix(PREFIX).strip(), f"a line is none of an error: {line!r}"
        assert line.isprintable(), f"a line would move the cursor: {line!r}"
        assert len(line) < 12_000, f"a line has {len(line)} letters: {line[:300]!r}"
        assert "Error:" not in line and "Traceback" not in line and "0x0000" not in line, line
    assert len(lines) <= most_lines, f"{len(lines)} lines"
    assert not called.out, f"stdout has {called.out[:300]!r}"
    assert "not enough memory" not in called.err, called.err[:300]
