"""Several workers of a search on this machine, each a process with its share of the threads."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Final

from ...errors import Stopped, TrainingFailed, UserError
from ...interruption import Terminated, sigterm_raises
from ...observer import Observer
from ..engine import LocalEngine, Resources
from .study import Study
from .work import Session, Worker

_LOOK_SECONDS: Final = 0.5  # how often the study is looked at for trials that have ended
_FAULT: Final = "fault"


def run_workers(session: Session, workers: int, resources: Resources, look: Callable[[], None]) -> list[str]:
    """Start so many workers, call `look` again and again while they work, and wait for them.

    Returns how those ended that were lost, such as SIGKILL; what they had under way can be taken up. Raises the first
    error of a worker, once the others have saved and left.
    """
    context = multiprocessing.get_context("spawn")
    started: list[tuple[SpawnProcess, Connection]] = []
    errors: list[Exception] = []
    try:
        for _ in range(workers):
            here, there = context.Pipe(duplex=False)
            process = context.Process(target=_worker, args=(session, resources, there, os.getpid()))
            process.start()
            there.close()
            started.append((process, here))
        while any(process.is_alive() for process, _ in started):
            wait([process.sentinel for process, _ in started if process.is_alive()], timeout=_LOOK_SECONDS)
            look()
            errors = [one for one in (_error_of(here) for _, here in started) if one] or errors
            if errors:
                break
    finally:
        for process, _ in started:
            if process.is_alive():
                process.terminate()  # SIGTERM: a training saves and leaves
        for process, _ in started:
            process.join()
    errors = errors or [one for one in (_error_of(here) for _, here in started) if one]
    if errors:
        raise errors[0]
    look()
    return [_named(process.exitcode) for process, _ in started if process.exitcode]


def _worker(session: Session, resources: Resources, said: Connection, parent: int) -> None:
    """A worker's process. What ends it is sent to the parent, in plain values."""
    error: tuple[str, str, str] | None = None
    try:
        with sigterm_raises():
            worker = Worker(session, Study(session.terms), lambda trial: _leave_with(parent), Observer())
            worker.run(LocalEngine(), resources)
    except (Stopped, KeyboardInterrupt, Terminated):
        os._exit(128 + signal.SIGTERM)  # where the parent did not ask for it, it sees this
    except (UserError, TrainingFailed) as problem:
        error = (type(problem).__name__, str(problem), "")
    except BaseException as fault:
        error = (_FAULT, f"{type(fault).__name__}: {fault}", traceback.format_exc())
    if error:
        with contextlib.suppress(OSError):
            said.send(error)
    said.close()


def _leave_with(parent: int) -> None:
    """End where the process that started this one is gone."""
    if os.getppid() != parent:
        raise Stopped("the command is gone", signal.SIGTERM)


def _error_of(here: Connection) -> Exception | None:
    """The error that a worker has sent, if any."""
    try:
        if not here.poll():
            return None
        kind, text, where = here.recv()
    except (EOFError, OSError):
        return None
    if kind == _FAULT:
        fault = RuntimeError(f"in a worker, {text}")
        fault.add_note(where)  # which --debug shows
        return fault
    return UserError(*text.split("\n")) if kind == "UserError" else TrainingFailed(text)


def _named(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
