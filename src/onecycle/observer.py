"""What a training tells to whom it may concern: progress bars, loggers, notebooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass

from .recipes import Recipe
from .run import Run

# Called with the steps so far, the steps in all, and what to say of them, such as "loss 1.23".
ProgressCallback = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Progress:
    """Where a training is: `step` of `steps` optimiser steps, `epoch` counted from 1; means over the epoch so far.

    Of the epoch's own `steps_in_epoch`, which need not be as many in each, `step_in_epoch` are done.
    """

    step: int
    steps: int
    epoch: int
    epochs: int
    step_in_epoch: int
    steps_in_epoch: int
    lr: float
    loss: float
    accuracy: float
    images_per_second: float
    seconds_left: float


class Observer:
    """Every method does nothing here; a subclass takes what it wants."""

    def on_start(self, recipe: Recipe, run: Run, device: str, step: int) -> None:
        """The loop begins on `device`, in words; at a step above 0 where it goes on."""

    def on_progress(self, progress: Progress) -> None:
        """About twice a second, or after each step where steps take longer."""

    def on_epoch(self, row: Mapping[str, float | None], seconds_left: float) -> None:
        """An epoch has ended; `row` is its row of metrics.csv, None where nothing was measured."""

    def on_message(self, text: str) -> None:
        """Something that the user should know."""

    def on_end(self) -> None:
        """The training has ended, well or not."""

    def progress_of(self, title: str) -> AbstractContextManager[ProgressCallback]:
        """Something slow that is not the training: loading, a range test, drawing. Within, the function is told."""
        return nullcontext(_unheard)


class Observers(Observer):
    """Several observers as one; each is told everything, in the order given."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def on_start(self, recipe: Recipe, run: Run, device: str, step: int) -> None:
        """Tell each."""
        for one in self._observers:
            one.on_start(recipe, run, device, step)

    def on_progress(self, progress: Progress) -> None:
        """Tell each."""
        for one in self._observers:
            one.on_progress(progress)

    def on_epoch(self, row: Mapping[str, float | None], seconds_left: float) -> None:
        """Tell each."""
        for one in self._observers:
            one.on_epoch(row, seconds_left)

    def on_message(self, text: str) -> None:
        """Tell each."""
        for one in self._observers:
            one.on_message(text)

    def on_end(self) -> None:
        """Tell each."""
        for one in self._observers:
            one.on_end()

    @contextmanager
    def progress_of(self, title: str) -> Iterator[ProgressCallback]:
        """Tell each."""
        with ExitStack() as stack:
            told = [stack.enter_context(one.progress_of(title)) for one in self._observers]

            def say(done: int, total: int, text: str) -> None:
                for tell in told:
                    tell(done, total, text)

            yield say


def _unheard(done: int, total: int, text: str) -> None:
    """Nobody listens."""
