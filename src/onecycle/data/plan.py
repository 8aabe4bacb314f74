"""Every random choice of an epoch, drawn before the epoch is run.

The choices come from a counter-based generator keyed by (seed, epoch, purpose) and are indexed by sample, so that a
sample's augmentation does not depend on batch, device, number of processes or where the training was resumed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..randomness import Purpose, generator

Flip = Literal["random", "alternating", "none"]


@dataclass(frozen=True)
class EpochPlan:
    """The choices of one epoch for N samples; all but `order` are indexed by sample.

    order [N]: the samples in the order in which they are seen. crop_yx [N, 2]: the crop's corner in the padded image.
    flip [N]: whether the crop is mirrored. cutout_yx [N, 2]: the hole's corner. cutout [N]: whether
    there is one. affine [N, 4]: shift down and to the right, as fractions of the side, factor of the enlargement, and
    angle in degrees; (0, 0, 1, 0) where nothing moves. Takes 26 bytes a sample, with shifts, scales or rotations 42.
    """

    order: NDArray[np.int64]
    crop_yx: NDArray[np.int32]
    flip: NDArray[np.bool_]
    cutout_yx: NDArray[np.int32]
    cutout: NDArray[np.bool_]
    affine: NDArray[np.float32]


def plan_epoch(
    seed: int,
    epoch: int,
    *,
    samples: int,
    image_size: int,
    crop_padding: int,
    flip: Flip,
    cutout: int,
    cutout_probability: float,
    shift: float = 0.0,
    scale: float = 0.0,
    rotate: float = 0.0,
    affine_probability: float = 1.0,
    crop_size: int | None = None,
) -> EpochPlan:
    """Draw the plan of one epoch, counted from 0; what each option means is told by the recipe's `augment` part.

    Crops have `crop_size` pixels a side, those of the images where it is None.
    """
    crops = image_size + 2 * crop_padding - (image_size if crop_size is None else crop_size) + 1
    corners = max(image_size - cutout, 0) + 1  # the hole lies wholly inside the image
    holes = generator(seed, epoch, "cutout_choice").random(samples) < cutout_probability
    return EpochPlan(
        order=generator(seed, epoch, "order").permutation(samples),
        crop_yx=_corners(seed, epoch, samples, "crop", crops),
        flip=_flips(seed, epoch, samples, flip),
        cutout_yx=_corners(seed, epoch, samples, "cutout", corners),
        cutout=holes if cutout else np.zeros(samples, bool),
        affine=_affines(seed, epoch, samples, (shift, shift, scale, rotate), affine_probability),
    )


def _corners(seed: int, epoch: int, samples: int, purpose: Purpose, values: int) -> NDArray[np.int32]:
    """Drawn as int64, as another type would take other numbers from the generator, and kept in half of it."""
    return generator(seed, epoch, purpose).integers(0, values, (samples, 2)).astype(np.int32)


def _flips(seed: int, epoch: int, samples: int, flip: Flip) -> NDArray[np.bool_]:
    if flip == "none":
        return np.zeros(samples, bool)
    if flip == "random":
        return generator(seed, epoch, "flip").random(samples) < 0.5
    # Alternating: a coin for each image in the first epoch, then flipped every other epoch, so that two epochs in
    # a row show both sides. Source: airbench, https://arxiv.org/abs/2404.00498, section 3.6.
    first = generator(seed, 0, "flip").random(samples) < 0.5
    return first ^ (epoch % 2 == 1)


def _affines(
    seed: int, epoch: int, samples: int, limits: tuple[float, float, float, float], probability: float
) -> NDArray[np.float32]:
    """Each value uniform between its limit and the limit's negative, around that of no change."""
    none = np.array([0, 0, 1, 0], np.float32)
    if not any(limits):
        return np.broadcast_to(none, (samples, 4))
    drawn = generator(seed, epoch, "affine").uniform(-1, 1, (samples, 4)) * limits
    chosen = generator(seed, epoch, "affine_choice").random(samples) < probability
    affines: NDArray[np.float32] = none + drawn.astype(np.float32) * chosen[:, None]
    return affines
