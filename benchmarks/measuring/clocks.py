"""The two clocks. Both leave the warm-up out."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

from torch import nn


def timed(action: Callable[[], object], times: int, warmup: int) -> list[float]:
    """Seconds of each of so many calls."""
    seconds = []
    for _ in range(warmup + times):
        begin = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - begin)
    return seconds[warmup:]


class StepClock:
    """Times whole training steps from outside, whoever runs the loop: from one forward pass to the next.

    So a step holds all that the loop does between two of them, its loading and its bookkeeping too. The time of the
    last step is not known.
    """

    def __init__(self, net: nn.Module, warmup: int) -> None:
        self._net, self._warmup = net, warmup
        self._stamps: list[float] = []

    def __enter__(self) -> StepClock:
        self._hook = self._net.register_forward_pre_hook(self._stamp)
        return self

    def __exit__(self, *_: object) -> None:
        self._hook.remove()

    @property
    def seconds(self) -> list[float]:
        """Of each step after the warm-up."""
        return [after - before for before, after in itertools.pairwise(self._stamps)][self._warmup :]

    def _stamp(self, net: nn.Module, _: object) -> None:
        if net.training:  # an evaluation is no step
            self._stamps.append(time.perf_counter())
