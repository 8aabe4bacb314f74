"""A sweep's loss, smoothed over log10 of the learning rate, and where it falls from and to."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .noise import batch_noise
from .sweeps import FEWEST_STEPS, Sweep

Floats = NDArray[np.float64]

SMOOTHING_DECADES = 0.15  # standard deviation of the kernel
_LEAST_FALL = 0.01  # of the first loss
_AS_DEEP = 0.05  # of the fall
_FLAT = 12.0  # standard errors of a slope; in the sweeps of docs/lr-range.md, wiggles have 9.8 at most and dips 18
_FEWEST_FOR_NOISE = 10


@dataclass(frozen=True)
class Descent:
    """A sweep's loss, smoothed over log10 of the learning rate, and the fall that the rules read.

    `log_lrs`, `losses` and `slopes` (of the loss, per decade): [n]. `top` and `bottom` are indices.

    `bottom` is the first local minimum that either has all but 5% of the whole fall, as later ones come and go with the
    batches; or has at least half of it and is not noise: the mean slope over its second half is 12 standard errors or
    more. If there is none, it is the lowest point. The second case is for nets with normalisation: too high a rate
    lengthens the weights until a step turns them no more than a lower rate did; the loss then falls again, but training
    at that rate is worse. `top` is the highest point before `bottom`.

    `noise` is the standard deviation of single batch losses down to `bottom`, `certainty` the fall over its standard
    error.
    """

    log_lrs: Floats
    losses: Floats
    slopes: Floats
    top: int
    bottom: int
    noise: float
    certainty: float


def descent(sweep: Sweep) -> Descent:
    """Smooth a sweep. Raises UserError where its loss does not fall."""
    raw = np.asarray(sweep.losses)
    where = f"from a rate of {sweep.lrs[0]:.2g} to {sweep.lrs[-1]:.2g}" if sweep.lrs else "at the first step"
    if len(raw) <= FEWEST_STEPS // 2:
        why = "is not finite" if sweep.end == "not finite" else "rises"
        raise UserError(f"the loss {why} after {len(raw)} steps of the sweep, {where}; begin it at a lower rate")
    log_lrs, first = np.log10(sweep.lrs), float(np.median(raw[:5]))
    # That it has diverged is enough to know; how far would bend the line.
    bounded = np.minimum(raw, first + max(0.5 * abs(first), 5 * batch_noise(sweep.losses)))
    losses, slopes, errors, slope_errors = local_line(log_lrs, bounded)
    bottom = _bottom(log_lrs, losses, slope_errors * _noise(sweep, int(np.argmin(losses))))
    top = bottom - int(np.argmax(losses[bottom::-1]))
    fall = float(losses[top] - losses[bottom])
    if fall <= _LEAST_FALL * abs(first):
        instead = "sweep further up" if sweep.end == "range" else "begin it at a lower rate"
        raise UserError(
            f"the loss never falls in the sweep, {where}: {losses[0]:.3g} at first, {losses[bottom]:.3g} at best; "
            f"{instead}, or look at the net and the labels"
        )
    noise = _noise(sweep, bottom)
    error = noise * float(np.hypot(errors[top], errors[bottom]))
    return Descent(log_lrs, losses, slopes, top, bottom, noise, fall / error if error else math.inf)


def _noise(sweep: Sweep, bottom: int) -> float:
    """The noise of the losses down to the bottom; past it there is more."""
    return batch_noise(sweep.losses[: max(bottom + 1, _FEWEST_FOR_NOISE)])


def _bottom(log_lrs: Floats, losses: Floats, slope_errors: Floats) -> int:
    """The index that `Descent` calls so."""
    lowest = int(np.argmin(losses))
    top = int(np.argmax(losses[: lowest + 1]))
    fall = losses[top] - losses[lowest]
    for place in range(top + 1, lowest):
        if losses[place - 1] > losses[place] <= losses[place + 1]:
            fallen = losses[top] - losses[place]
            half = top + int(np.argmax(losses[top : place + 1] <= losses[top] - fallen / 2)) - 1
            slope = (losses[half] - losses[place]) / (log_lrs[place] - log_lrs[half])
            stops = fallen >= fall / 2 and slope >= _FLAT * slope_errors[place]
            if stops or fallen >= (1 - _AS_DEEP) * fall:
                return place
    return lowest


def local_line(x: Floats, y: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Local linear regression with a Gaussian kernel: value and slope at each x, then their standard errors.

    The standard errors are for y with a standard deviation of 1. Unlike a running mean, the line does not lag behind
    and does not bend at the ends. Source: Cleveland and Devlin, "Locally Weighted Regression", 1988.
    """
    width = max(SMOOTHING_DECADES, 1.5 * float(np.diff(x).mean()))
    offset = x[None, :] - x[:, None]
    weight = np.exp(-0.5 * (offset / width) ** 2)
    weight /= weight.sum(1, keepdims=True)
    mean_offset = (weight * offset).sum(1, keepdims=True)
    to_slope = weight * (offset - mean_offset)
    to_slope /= (to_slope * offset).sum(1, keepdims=True)
    to_value = weight - mean_offset * to_slope
    return to_value @ y, to_slope @ y, np.linalg.norm(to_value, axis=1), np.linalg.norm(to_slope, axis=1)


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
