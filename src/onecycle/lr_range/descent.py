"""A sweep's loss, smoothed over log10 of the rate, as the rules read it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .sweeps import FEWEST_STEPS, Sweep

Floats = NDArray[np.float64]

SMOOTHING_DECADES = 0.15  # standard deviation of the kernel
_LEAST_FALL = 0.01  # of the first loss
_AS_DEEP = 0.05  # of the fall


@dataclass(frozen=True)
class Descent:
    """log10 of the rates, the smoothed loss and its slope a decade [n each]; the places where it falls from and to.

    `bottom` is the lowest place, or an earlier dip that is as deep but for a twentieth of the fall: later ones come and
    go with the batches. `top` is the highest place before it.
    """

    log_lrs: Floats
    losses: Floats
    slopes: Floats
    top: int
    bottom: int


def descent(sweep: Sweep) -> Descent:
    """Smooth a sweep. Raises UserError where its loss does not fall by more than its noise."""
    raw = np.asarray(sweep.losses)
    where = f"from a rate of {sweep.lrs[0]:.2g} to {sweep.lrs[-1]:.2g}" if sweep.lrs else "at the first step"
    if len(raw) <= FEWEST_STEPS // 2:
        why = "is not finite" if sweep.end == "not finite" else "rises"
        raise UserError(f"the loss {why} after {len(raw)} steps of the sweep, {where}; begin it at a lower rate")
    log_lrs, first = np.log10(sweep.lrs), float(np.median(raw[:5]))
    bounded = np.minimum(raw, 1.5 * first)  # that it has diverged is enough to know; how far would bend the line
    losses, slopes = local_line(log_lrs, bounded)
    bottom = _first_bottom(losses)
    top = bottom - int(np.argmax(losses[bottom::-1]))
    fall, noise = float(losses[top] - losses[bottom]), float(np.std(bounded - losses))
    if top == bottom or fall < max(_LEAST_FALL * abs(first), 2 * noise):
        raise UserError(
            f"the loss never falls in the sweep, {where}: {first:.3g} at first, {losses[bottom]:.3g} at best; "
            "sweep further up, or look at the net and the labels"
        )
    return Descent(log_lrs, losses, slopes, top, bottom)


def _first_bottom(losses: Floats) -> int:
    lowest = int(np.argmin(losses))
    fall = float(np.max(losses[: lowest + 1]) - losses[lowest])
    place = int(np.argmax(losses <= losses[lowest] + _AS_DEEP * fall))
    while place < lowest and losses[place + 1] < losses[place]:
        place += 1
    return place


def local_line(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Value and slope at each x of the straight line through y that is nearest with Gaussian weights around x.

    Unlike a running mean it does not lag behind, and does not bend at the ends. Source: Cleveland and Devlin, "Locally
    Weighted Regression", 1988.
    """
    width = max(SMOOTHING_DECADES, 1.5 * float(np.diff(x).mean()))
    offset = x[None, :] - x[:, None]
    weight = np.exp(-0.5 * (offset / width) ** 2)
    weight /= weight.sum(1, keepdims=True)
    mean_offset, mean_y = (weight * offset).sum(1), weight @ y
    covariance = (weight * offset) @ y - mean_offset * mean_y
    slope = covariance / ((weight * offset**2).sum(1) - mean_offset**2)
    return mean_y - slope * mean_offset, slope


def at_share(one: Descent, share: float) -> float:
    """log10 of the rate at which a share of the fall is done, between two steps."""
    part = slice(one.top, one.bottom + 1)
    fallen = np.maximum.accumulate(one.losses[one.top] - one.losses[part])
    return float(np.interp(share * fallen[-1], fallen, one.log_lrs[part]))


def longest_fall(one: Descent) -> tuple[int, int]:
    """The first and the last place of the longest run of steps over which the loss falls."""
    best, start = (one.bottom, one.bottom), None
    for place in range(len(one.losses) + 1):
        falls = place < len(one.losses) and one.slopes[place] < 0
        if falls and start is None:
            start = place
        elif not falls and start is not None:
            if place - 1 - start > best[1] - best[0]:
                best = (start, place - 1)
            start = None
    return best
