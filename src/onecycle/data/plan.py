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
    flip [N]: whether the crop is mirrored. cutout_yx [N, 2]: the hole's corner. cutout [N]: whether there is one.
    affine [N, 4]: shift down and to the right, as fractions of the side, factor of the enlargement, and angle in
    degrees; (0, 0, 1, 0) where nothing moves. tone [N, 2]: what is added to a pixel of 0..1, and the factor of its
    distance from the mean; (0, 1) where nothing changes. Takes 26 bytes a sample, with shifts, scales or rotations 16
    more, with brightness or contrast 8.
    """

    order: NDArray[np.int64]
    crop_yx: NDArray[np.int32]
    flip: NDArray[np.bool_]
    cutout_yx: NDArray[np.int32]
    cutout: NDArray[np.bool_]
    affine: NDArray[np.float32]
    tone: NDArray[np.float32]


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
    brightness: float = 0.0,
    contrast: float = 0.0,
) -> EpochPlan:
    """Draw the plan of one epoch, counted from 0; what each option means is told by the recipe's `augment` part.

    Crops have `crop_size` pixels a side, those of the images where it is None.
    """
    crops = image_size + 2 * crop_padding - (image_size if crop_size is None else crop_size) + 1
    corners = max(image_size - cutout, 0) + 1  # the hole lies wholly inside the image
    moved = generator(seed, epoch, "affine_choice").random(samples) < affine_probability
    holes = generator(seed, epoch, "cutout_choice").random(samples) < cutout_probability
    return EpochPlan(
        order=generator(seed, epoch, "order").permutation(samples),
        crop_yx=_corners(seed, epoch, samples, "crop", crops),
        flip=_flips(seed, epoch, samples, flip),
        cutout_yx=_corners(seed, epoch, samples, "cutout", corners),
        cutout=holes if cutout else np.zeros(samples, bool),
        affine=_varied(seed, epoch, "affine", (0, 0, 1, 0), (shift, shift, scale, rotate), moved),
        tone=_varied(seed, epoch, "tone", (0, 1), (brightness, contrast), np.ones(samples, bool)),
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


def _varied(
    seed: int,
    epoch: int,
    purpose: Purpose,
    unchanged: tuple[float, ...],
    limits: tuple[float, ...],
    chosen: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """A row a sample, each value uniform between its limit and the limit's negative, around that of no change.

    For the samples that are `chosen` [N]; the rest, and all where every limit is 0, are left as they are.
    """
    rows, none = (len(chosen), len(unchanged)), np.array(unchanged, np.float32)
    if not any(limits):
        return np.broadcast_to(none, rows)
    drawn = generator(seed, epoch, purpose).uniform(-1, 1, rows) * limits
    varied: NDArray[np.float32] = none + drawn.astype(np.float32) * chosen[:, None]
    return varied
