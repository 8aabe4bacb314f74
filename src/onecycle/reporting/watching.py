"""A page that is kept fresh while its run goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ..run import Run
from .training import is_training


def watch(
    run: Run,
    write: Callable[[bool], Path],
    *,
    poll_seconds: float = 1.0,
    steps_seconds: float = 10.0,
    patience_seconds: float = 10.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Path]:
    """Write the page now, whenever the run has got on, and a last time when it is over; yields its path each time.

    `write` is told whether the run still goes on, in which case the page should refresh itself. A page is written as
    soon as an epoch has ended, and for new steps alone `steps_seconds` after the one before. The run is over when its
    training has ended, or when for `patience_seconds` no step has been added and no process holds its folder.
    """
    while not run.finished:
        epochs, steps = _state(run, "metrics.csv"), _state(run, "steps.csv")
        yield write(True)
        written_at = clock()
        while not run.finished and _state(run, "metrics.csv") == epochs:
            age = clock() - written_at
            if _state(run, "steps.csv") != steps:
                if age >= steps_seconds:
                    break
            elif age >= patience_seconds and not is_training(run):
                yield write(False)
                return
            sleep(poll_seconds)
    yield write(False)


def _state(run: Run, name: str) -> tuple[int, int] | None:
    """What changes with each row that is added to a file, or cut off; None where there is no file."""
    try:
        status = (run.path / name).stat()
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns
