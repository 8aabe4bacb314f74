"""How long a training has taken, and how long it has left."""

from __future__ import annotations

import time

from .epochs import Epochs


class Pace:
    """Counts from now on, in the process that goes through these epochs."""

    def __init__(self, epochs: Epochs) -> None:
        self._epochs = epochs
        self._started = time.perf_counter()
        self._began, self._done_before = self._started, 0.0

    @property
    def seconds(self) -> float:
        """What the training has taken so far, everything included."""
        return time.perf_counter() - self._started

    def take_up(self, seconds: float) -> None:
        """Add what earlier processes have taken."""
        self._started -= seconds

    def begin(self, step: int) -> None:
        """This process is about to take its first step, after so many of earlier ones."""
        self._began, self._done_before = time.perf_counter(), self._epochs.share(step)

    def seconds_left(self, step: int) -> float:
        """At the pace since this process began, evaluation included: what was done before may be another machine's."""
        done = self._epochs.share(step)
        here = done - self._done_before
        since = self._began if here else self._started
        return (time.perf_counter() - since) * (1 - done) / (here or done)
