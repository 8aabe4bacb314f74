"""Run the command line, and leave with the exit codes of the contract."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import typer

from ..errors import OnecycleError, UserError, lacks_memory, one_line
from ..interruption import Terminated, sigterm_raises
from ..torchrun import place
from .app import app

_INTERRUPTED = 130  # the exit code after SIGINT


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave with the exit code of the contract: errors are lines on stderr, no traceback."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    asked = [one for one in given if one != "--debug"] or ["--help"]
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be fit for the terminal's encoding
    try:
        with sigterm_raises():
            code = app(asked, prog_name="onecycle", standalone_mode=False)
        if code == _INTERRUPTED:  # what typer makes of KeyboardInterrupt, without a word
            raise KeyboardInterrupt
        sys.stdout.flush()
    except BaseException as error:
        exited = isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError)  # typer's way out
        if exited or isinstance(error, BrokenPipeError):
            _leave_without_a_reader()
        if isinstance(error, SystemExit):
            raise
        message, code = _explained(error)
        if "--debug" in given:
            traceback.print_exc()
        said = _said_elsewhere(code)
        for line in message.splitlines() if said is None else ():
            print(f"onecycle: error: {line}", file=sys.stderr)
        code = code if said is None else said
    sys.exit(code if isinstance(code, int) else 0)


def _leave_without_a_reader() -> NoReturn:
    """Leave when the reader of our output has left, as `head` does, which is no error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)
    sys.exit(0)


def _said_elsewhere(code: int) -> int | None:
    """The exit code of another process of the same training that says why it ends; None where it is for us to say."""
    with contextlib.suppress(UserError):  # the one that is to be said
        if place() is not None:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun ends all when one ends; we do in a moment
            from ..distributed import first_to_end

            return first_to_end(code)
    return None


def _explained(error: BaseException) -> tuple[str, int]:
    """What to say of an error, and the exit code: 2 for the user's or the machine's side, 1 for a fault of ours."""
    if isinstance(error, OnecycleError):
        return str(error), error.exit_code
    if isinstance(error, KeyboardInterrupt | Terminated | typer.Abort):
        said, code = ("terminated", 143) if isinstance(error, Terminated) else ("interrupted", _INTERRUPTED)
        return f"{said}; a training that has its folder goes on with --resume", code
    usage = getattr(error, "format_message", None)  # the command line itself was wrong: an option, a value
    if usage is not None:
        return one_line(" ".join(usage().split())), 2
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return one_line(f"{where}{error.strerror or error}"), 2
    if isinstance(error, UnicodeEncodeError) or "embedded null" in str(error):
        return f"a name is none that a file can have ({one_line(str(error))})", 2
    if lacks_memory(error):
        return "there is not enough memory for this; a smaller data.batch_size or image needs less", 2
    return f"a fault of onecycle's own, {type(error).__name__}: {one_line(str(error))}; --debug shows where", 1
