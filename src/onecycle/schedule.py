"""Learning-rate schedules: pure functions of the optimiser step, set before the update.

A schedule is built from the steps of an epoch and the options of a recipe (in epochs), and maps a step, counted from
0, to a learning rate. Every schedule is defined beyond its end, where it keeps its last value, and can be pickled.
`Plateau` alone depends on what happened, and carries a small state for the checkpoint.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field

from .errors import UserError, shown

Schedule = Callable[[float], float]
Momentum = Annotated[float, Field(ge=0, lt=1)]
Rate = float | Literal["find"]  # "find": a learning-rate range test gives the number before the training begins

MOST_EPOCHS = 1_000_000  # beyond any training; a number much larger would overflow once it is counted in steps
MOST_RATE = 1e6  # beyond any that trains; numbers much larger would overflow in float32


def one_cycle(
    steps_per_epoch: int,
    *,
    epochs: int = 24,
    peak_epoch: float = 5,
    lr_min: Rate = "find",
    lr_max: Rate = "find",
    lr_final: float | Literal["lr_min"] = "lr_min",
    shape: Literal["linear", "cosine"] = "linear",
    momentum: tuple[Momentum, Momentum] | None = None,
) -> OneCycle:
    """From lr_min at step 0 to lr_max at step round(peak_epoch x steps_per_epoch) - 1, to lr_final at the last step.

    The end points are absolute. lr_final = "lr_min" is the cycle without annihilation. With `momentum`, such as
    (0.85, 0.95), the optimiser's goes the other way: the second at both ends, the first where the rate is highest.
    Equal to torch's OneCycleLR of two phases for pct_start = peak_epoch / epochs and equal end points.
    Source: Smith and Topin, "Super-Convergence", https://arxiv.org/abs/1708.07120.
    """
    lr_min, lr_max = _number("lr_min", lr_min), _number("lr_max", lr_max)
    final = lr_min if isinstance(lr_final, str) else lr_final
    problems = _problems_of_epochs(epochs) + _problems_of_rates(lr_min=lr_min, lr_max=lr_max, lr_final=final)
    if 1 <= epochs <= MOST_EPOCHS and not 0 < peak_epoch < epochs:
        problems.append(f"schedule.peak_epoch {peak_epoch:g} is outside the {epochs} epochs; between 0 and {epochs}")
    if momentum is not None and momentum[0] > momentum[1]:
        problems.append(f"schedule.momentum {list(momentum)} falls; the first is that at the peak, the smaller one")
    if lr_max < max(lr_min, final):
        problems.append(f"schedule.lr_max {lr_max:g} is below lr_min or lr_final ({max(lr_min, final):g})")
    _raise(problems)
    last = epochs * steps_per_epoch - 1
    peak = min(max(round(peak_epoch * steps_per_epoch) - 1, 0), last)
    return OneCycle((lr_min, lr_max, final), momentum, peak, last, shape)


class OneCycle:
    """Up to the step `peak` and down to the step `last`, between three learning rates; the momentum the other way."""

    def __init__(
        self,
        rates: tuple[float, float, float],
        momentum: tuple[float, float] | None,
        peak: int,
        last: int,
        shape: str,
    ) -> None:
        self._rates, self._momentum, self._peak, self._last, self._shape = rates, momentum, peak, last, shape

    def __call__(self, step: float) -> float:
        """The learning rate of a step."""
        return self._value(step, *self._rates)

    def momentum(self, step: float) -> float | None:
        """The optimiser's momentum at a step; None where the schedule leaves it alone."""
        if self._momentum is None:
            return None
        at_peak, at_ends = self._momentum
        return self._value(step, at_ends, at_peak, at_ends)

    def _value(self, step: float, start: float, top: float, end: float) -> float:
        if step < self._peak:
            return _between(start, top, step / self._peak, self._shape)
        if step >= self._last:
            return end if self._last > self._peak else top
        return _between(top, end, (step - self._peak) / (self._last - self._peak), self._shape)


def momentum_at(schedule: Schedule, step: float) -> float | None:
    """The optimiser's momentum where the schedule says what it is at that step."""
    return schedule.momentum(step) if isinstance(schedule, OneCycle) else None


def piecewise_linear(steps_per_epoch: int, *, epochs: int, knots: tuple[tuple[float, float], ...]) -> Schedule:
    """Straight lines between knots of (epoch, lr), flat before the first, after the last and beyond the epochs."""
    problems = _problems_of_epochs(epochs)
    if not knots:
        problems.append("schedule.knots is empty; at least one pair of epoch and lr, such as [[0, 0.0], [5, 0.4]]")
    at = [knot[0] for knot in knots]
    rates = [knot[1] for knot in knots]
    if any(later <= earlier for earlier, later in itertools.pairwise(at)):
        problems.append(f"schedule.knots: the epochs {shown(at)} do not rise; each must be later than the one before")
    if any(rate < 0 for rate in rates):
        problems.append(f"schedule.knots: the rates {shown(rates)} hold a negative one; 0 or more")
    if any(rate > MOST_RATE for rate in rates):
        problems.append(f"schedule.knots: the rates {shown(rates)} hold one above {MOST_RATE:,.0f}, the most")
    _raise(problems)
    return partial(_between_knots, at, rates, steps_per_epoch, epochs * steps_per_epoch - 1)


def _between_knots(at: list[float], rates: list[float], steps_per_epoch: int, last: int, step: float) -> float:
    epoch = min(step, last) / steps_per_epoch
    right = bisect_right(at, epoch)
    if right == 0:
        return rates[0]
    if right == len(at):
        return rates[-1]
    share = (epoch - at[right - 1]) / (at[right] - at[right - 1])
    return _between(rates[right - 1], rates[right], share, "linear")


def cyclic(
    steps_per_epoch: int,
    *,
    epochs: int,
    lr_min: Rate = "find",
    lr_max: Rate = "find",
    half_cycle_epochs: float = 2,
    mode: Literal["triangular", "triangular2"] = "triangular",
) -> Schedule:
    """Triangles between lr_min and lr_max; "triangular2" halves the height with each cycle. Equal to torch's CyclicLR.

    Source: Smith, "Cyclical Learning Rates for Training Neural Networks", https://arxiv.org/abs/1506.01186.
    """
    lr_min, lr_max = _number("lr_min", lr_min), _number("lr_max", lr_max)
    problems = _problems_of_epochs(epochs) + _problems_of_rates(lr_min=lr_min, lr_max=lr_max)
    if not 0 < half_cycle_epochs <= MOST_EPOCHS:
        problems.append(f"schedule.half_cycle_epochs {half_cycle_epochs} is not above 0 and at most {MOST_EPOCHS}")
    if lr_max < lr_min:
        problems.append(f"schedule.lr_max {lr_max:g} is below lr_min ({lr_min:g})")
    _raise(problems)
    half = max(round(half_cycle_epochs * steps_per_epoch), 1)
    return partial(_on_triangles, lr_min, lr_max, half, mode == "triangular2", epochs * steps_per_epoch - 1)


def _on_triangles(lr_min: float, lr_max: float, half: int, halved: bool, last: int, step: float) -> float:
    cycle, within = divmod(min(step, last), 2 * half)
    height = (lr_max - lr_min) * (0.5**cycle if halved else 1.0)
    return lr_min + height * (1 - abs(within / half - 1))


def constant(steps_per_epoch: int, *, epochs: int, lr: float) -> Schedule:
    """The same learning rate at every step."""
    _raise(_problems_of_epochs(epochs) + _problems_of_rates(lr=lr))
    return partial(_same, lr)


def _same(lr: float, step: float) -> float:
    return lr


class Plateau:
    """The learning rate drops by `factor` when the watched loss has not fallen for more than `patience` epochs.

    Equal to torch's ReduceLROnPlateau (mode "min", relative threshold, no cooldown, eps 0). `observe` is called once an
    epoch; `state` and `restore` go through the checkpoint.
    """

    def __init__(self, lr: float, lr_min: float, factor: float, patience: int, threshold: float, monitor: str) -> None:
        self.monitor = monitor
        self._start, self._lr_min, self._factor = lr, lr_min, factor
        self._patience, self._threshold = patience, threshold
        self._best, self._bad_epochs, self._drops = math.inf, 0, 0

    def __call__(self, step: float) -> float:
        """The rate of the step that comes next, whatever its number."""
        rate = self._start
        for _ in range(self._drops):
            rate = max(rate * self._factor, self._lr_min)
        return rate

    def observe(self, loss: float) -> None:
        """Take the epoch's loss into account; the next step uses the new rate."""
        if loss < self._best * (1 - self._threshold):
            self._best, self._bad_epochs = loss, 0
        else:
            self._bad_epochs += 1
        if self._bad_epochs > self._patience:
            self._drops, self._bad_epochs = self._drops + 1, 0

    def state(self) -> dict[str, float]:
        """What it remembers, as plain numbers; not the rates, which a resumed run may change."""
        best = {} if math.isinf(self._best) else {"best": self._best}
        return {"drops": self._drops, "bad_epochs": self._bad_epochs, **best}

    def restore(self, state: dict[str, float]) -> None:
        """Take up a state that `state` gave."""
        self._drops, self._bad_epochs = int(state["drops"]), int(state["bad_epochs"])
        self._best = state.get("best", math.inf)


def plateau(
    steps_per_epoch: int,
    *,
    epochs: int,
    lr: float,
    lr_min: float = 0.0,
    factor: float = 0.1,
    patience: int = 10,
    threshold: float = 1e-4,
    monitor: Literal["train_loss", "val_loss"] = "train_loss",
) -> Plateau:
    """A constant rate that drops when the training or held-out loss stalls; see `Plateau`."""
    problems = _problems_of_epochs(epochs) + _problems_of_rates(lr=lr, lr_min=lr_min)
    if lr_min > lr:
        problems.append(f"schedule.lr_min {lr_min:g} is above lr ({lr:g})")
    if not 0 <= threshold < 1:
        problems.append(f"schedule.threshold {threshold:g} is not a share of the loss; 0 or more, and less than 1")
    if not 0 < factor < 1:
        problems.append(f"schedule.factor {factor:g} is not between 0 and 1")
    if patience < 0:
        problems.append(f"schedule.patience {patience} is negative; 0 or more")
    _raise(problems)
    return Plateau(lr, lr_min, factor, patience, threshold, monitor)


def rates_to_find(options: Mapping[str, Any]) -> list[str]:
    """Which ends of a cycle, lr_min and lr_max, are still "find"."""
    return [key for key in ("lr_min", "lr_max") if options.get(key) == "find"]


def provisional(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with numbers in the place of "find" that contradict no others, so that these can be checked."""
    numbers = {"lr_min": 0.0, "lr_max": math.inf}
    return {**options, **{key: numbers[key] for key in rates_to_find(options)}}


def _number(name: str, rate: Rate) -> float:
    if isinstance(rate, str):
        raise UserError(f"schedule.{name} is still to be found; onecycle.find_lr gives a number")
    return rate


def _between(start: float, end: float, share: float, shape: str) -> float:
    if shape == "cosine":
        return end + (start - end) / 2 * (1 + math.cos(math.pi * share))
    return start + (end - start) * share


def _problems_of_epochs(epochs: int) -> list[str]:
    if epochs > MOST_EPOCHS:
        return [f"schedule.epochs is above {MOST_EPOCHS}; a whole number of 1 to {MOST_EPOCHS}"]
    return [] if epochs >= 1 else [f"schedule.epochs {epochs} is below 1; a whole number of 1 or more"]


def _problems_of_rates(**rates: float) -> list[str]:
    # "find" is infinity here, see `provisional`.
    return [
        f"schedule.{name} {rate:g} is " + ("negative; 0 or more" if rate < 0 else f"above {MOST_RATE:,.0f}, the most")
        for name, rate in rates.items()
        if rate < 0 or MOST_RATE < rate < math.inf
    ]


def _raise(problems: list[str]) -> None:
    if problems:
        raise UserError(*problems)
