"""A schedule's highest rate, and the schedule as Lightning steps it."""

from __future__ import annotations

from collections.abc import Callable

from ...errors import UserError
from ...recipes import Recipe, recipe
from ...schedule import Schedule


def rate_key(wanted: Recipe) -> str:
    """The option that is the schedule's highest rate; "" where there is none, as in a schedule of knots."""
    return next((key for key in ("lr_max", "lr") if key in wanted.schedule.options), "")


def with_rate(wanted: Recipe, rate: float | None) -> Recipe:
    """The recipe with that highest rate. Raises UserError where its schedule has none."""
    key = rate_key(wanted)
    if rate is None:
        return wanted
    if not key:
        raise UserError(f"learning_rate: the schedule {wanted.schedule.name} has knots, no single rate; change those")
    return recipe(wanted, **{f"schedule.{key}": rate})


def as_lambda(schedule: Schedule) -> Callable[[int], float]:
    """For LambdaLR, which saves what an object holds, and would bring old rates back; a function holds nothing."""
    return lambda step: schedule(step)
