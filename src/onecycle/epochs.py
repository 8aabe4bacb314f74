"""What depends on the epoch: values that change from one on, and which optimiser step belongs to which."""

from __future__ import annotations

import operator
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TypeVar

Value = TypeVar("Value")


def in_force(pairs: Sequence[tuple[int, Value]], epoch: int, before: Value) -> Value:
    """The value of an epoch, given ascending pairs of an epoch and the value from there on; `before` the first."""
    after = bisect_right(pairs, epoch, key=lambda pair: pair[0])
    return pairs[after - 1][1] if after else before


class Epochs:
    """The steps of each epoch of a training; epochs and steps are counted from 0.

    `full_steps`: the steps of an epoch over all images. `costs`: relative time of a step in each epoch; equal if left
    out.
    """

    def __init__(self, steps: Sequence[int], full_steps: int, costs: Sequence[float] | None = None) -> None:
        self._lengths, self._full_steps = steps, full_steps
        self._starts = [0, *accumulate(steps)]
        self._costs: Sequence[float] = [1.0] * len(steps) if costs is None else costs
        self._spent: list[float] = [0.0, *accumulate(map(operator.mul, steps, self._costs))]

    @property
    def count(self) -> int:
        """How many epochs there are."""
        return len(self._lengths)

    @property
    def steps(self) -> int:
        """The steps of the whole training."""
        return self._starts[-1]

    def start(self, epoch: int) -> int:
        """The first step of an epoch."""
        return self._starts[epoch]

    def scheduled(self, step: int) -> float:
        """The schedule's position at a step, as a step among epochs of `full_steps` each.

        A shorter epoch is stretched over a full one, so that rates still reach their ends; one of a single step is at
        the last.
        """
        epoch = self._epoch(step)
        within, length = step - self._starts[epoch], self._lengths[epoch]
        if length == self._full_steps:
            return epoch * self._full_steps + within
        if length == 1:
            return (epoch + 1) * self._full_steps - 1
        return epoch * self._full_steps + within * (self._full_steps - 1) / (length - 1)

    def share(self, steps: int) -> float:
        """The share of the training's time that the first `steps` steps take."""
        epoch = self._epoch(steps)
        return (self._spent[epoch] + (steps - self._starts[epoch]) * self._costs[epoch]) / self._spent[-1]

    def _epoch(self, step: int) -> int:
        return min(bisect_right(self._starts, step), len(self._lengths)) - 1


def positions(steps: Sequence[Mapping[str, float]], completed: int) -> list[float]:
    """How many epochs had passed after each step, from rows of `step` and `epoch` that begin with the first step.

    `completed` epochs have ended. One that has not is taken to be as long as the one before it, if that is longer.
    """
    lengths = Counter(row["epoch"] for row in steps)
    within: Counter[float] = Counter()
    passed = []
    for row in steps:
        epoch = row["epoch"]
        within[epoch] += 1
        length = lengths[epoch] if epoch <= completed else max(lengths[epoch], lengths[epoch - 1])
        passed.append(epoch - 1 + within[epoch] / length)
    return passed
