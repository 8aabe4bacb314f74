"""Whether an exported file says what the net says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..data import ImageSet, Pixels
from ..errors import UserError
from ..stats import wilson_interval

TOLERANCE: Final = 1e-4  # between logits that are at most 10 in size; in proportion where they are larger
RANDOM_IMAGES: Final = 64
_BATCH: Final = 250

Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]  # images [n, side, side, 3] to logits [n, classes]


@dataclass(frozen=True)
class Verification:
    """How an exported file was tried, on test images or on random ones, and what came of it.

    `largest_difference` is that between its logits and the net's own in float32, `agreement` the share of the images
    whose predicted class is the same. The accuracies, `accuracy` of the file and `accuracy_float32` of the net, are
    None on random images.
    """

    kind: str
    images: int
    largest_difference: float
    largest_logit: float
    agreement: float
    accuracy: float | None
    accuracy_float32: float | None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Wilson's 95% interval of the accuracy."""
        return None if self.accuracy is None else wilson_interval(round(self.accuracy * self.images), self.images)

    @property
    def agrees(self) -> bool:
        """Whether the largest difference is within TOLERANCE."""
        return self.largest_difference <= TOLERANCE * max(1.0, self.largest_logit / 10)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**self.__dict__, "interval": None if self.interval is None else list(self.interval)}


def verify(
    exported: Run, own: Run, images: ImageSet | None, side: int, say: Callable[[int, int, str], None]
) -> Verification:
    """Compare the logits on the test images, or on random ones where these are not at hand."""
    if images is None:
        pixels_nhwc: Pixels = np.random.default_rng(0).integers(0, 256, (RANDOM_IMAGES, side, side, 3), np.uint8)
    else:
        pixels_nhwc = images.images_nhwc
    theirs, ours = [], []
    for start in range(0, len(pixels_nhwc), _BATCH):
        batch_nhwc = np.ascontiguousarray(pixels_nhwc[start : start + _BATCH])
        theirs.append(exported(batch_nhwc))
        ours.append(own(batch_nhwc))
        say(start + len(batch_nhwc), len(pixels_nhwc), "images")
    one = exported(np.ascontiguousarray(pixels_nhwc[:1]))  # whether the number of images is really free
    got, expected = np.concatenate(theirs), np.concatenate(ours)
    if got.shape != expected.shape or one.shape != expected[:1].shape:
        raise UserError(f"the exported net gives {list(got.shape)} rather than {list(expected.shape)}; it is not kept")
    if not np.isfinite(expected).all():
        raise UserError("the net's own logits are not finite; it is not exported")
    right = None if images is None else images.labels
    return Verification(
        kind="random" if images is None else "test",
        images=len(expected),
        largest_difference=float(np.nan_to_num(np.abs(got - expected), nan=np.inf).max()),
        largest_logit=float(np.abs(expected).max()),
        agreement=float((got.argmax(1) == expected.argmax(1)).mean()),
        accuracy=None if right is None else float((got.argmax(1) == right).mean()),
        accuracy_float32=None if right is None else float((expected.argmax(1) == right).mean()),
    )


def check(found: Verification, path: Path) -> None:
    """Raise UserError where the exported file does not agree with the net."""
    if not found.agrees:
        raise UserError(
            f"{path}: not written, as its logits differ from the net's own by up to {found.largest_difference:.2g} on "
            f"{found.images:,} {found.kind} images; at most {TOLERANCE:g} is right, for logits of 10 at most"
        )
