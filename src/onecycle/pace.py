"""How far a training is, how long it has taken, and how long it has left."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from .epochs import Epochs
from .observer import Progress


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

    def progress(self, row: Mapping[str, float], sums: Sequence[float], seconds: float) -> Progress:
        """Where the training is after the step of a row of steps.csv.

        `sums` are those of the epoch so far, of losses, right predictions and images, and `seconds` what they took.
        """
        step, epoch, (loss_sum, right, images) = int(row["step"]), int(row["epoch"]), sums
        start, end = self._epochs.start(epoch - 1), self._epochs.start(epoch)
        return Progress(
            step=step,
            steps=self._epochs.steps,
            epoch=epoch,
            epochs=self._epochs.count,
            step_in_epoch=step - start,
            steps_in_epoch=end - start,
            lr=row["lr"],
            loss=loss_sum / images,
            accuracy=right / images,
            images_per_second=images / seconds,
            seconds_left=self.seconds_left(step),
        )
