"""Images as they live here: uint8, NHWC, in one array, with their labels and the names of their classes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..randomness import generator
from .rows import Pixels, Rows, rows_of

_CHUNK_BYTES: Final = 2**20  # of pixels that are gone through together: counting takes eight times as much


@dataclass(frozen=True, eq=False)
class ImageSet:
    """N square images, RGB.

    `images_nhwc` is uint8 [N, H, W, 3], an array in memory or memory-mapped, or Rows: some images of a map, which
    `images_nhwc[index]` reads, and `np.asarray(images_nhwc)` copies all into memory. `labels` is int64 [N], each an
    index into `classes`, the names. Raises UserError where shapes, types, labels or names do not fit.
    """

    images_nhwc: Pixels
    labels: NDArray[np.int64]
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        for name in ("images_nhwc", "labels"):
            object.__setattr__(self, name, _array(name, getattr(self, name)))
        images, labels = self.images_nhwc, self.labels
        unordered = isinstance(self.classes, str | Mapping | Set)
        names = () if unordered else tuple(self.classes)
        if unordered or not all(isinstance(name, str) for name in names):
            raise UserError(f"classes are {self.classes!r:.80}; a name, a string, for each, in order, is needed")
        twice = next((name for number, name in enumerate(names) if name in names[:number]), None)
        if twice is not None:
            raise UserError(f"classes name {twice!r} twice; a name of its own for each is needed")
        object.__setattr__(self, "classes", tuple(map(str, names)))  # also of a list, or an array
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
            raise UserError(f"images are {images.dtype} {list(images.shape)}; uint8 [N, height, width, 3] is needed")
        if images.shape[1] != images.shape[2]:
            raise UserError(f"images are {images.shape[1]} x {images.shape[2]} pixels; square ones are needed")
        if labels.dtype != np.int64 or labels.shape != images.shape[:1]:
            raise UserError(f"labels are {labels.dtype} {list(labels.shape)}; int64 [{len(images)}] is needed")
        if len(labels) and not (labels.min() >= 0 and labels.max() < len(self.classes)):
            raise UserError(
                f"labels run from {labels.min()} to {labels.max()}; 0 to {len(self.classes) - 1} is needed, "
                f"as there are {len(self.classes)} classes"
            )

    def __repr__(self) -> str:
        return f"ImageSet({len(self):,} images of {self.image_size} x {self.image_size}, {len(self.classes)} classes)"

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_size(self) -> int:
        """Height, and width, in pixels."""
        return int(self.images_nhwc.shape[1])

    def subset(self, index: NDArray[np.int64]) -> ImageSet:
        """The images at `index`, in its order: a copy, or where they are memory-mapped Rows, which takes no memory."""
        return ImageSet(rows_of(self.images_nhwc, index), self.labels[index], self.classes)

    def channel_statistics(self) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """Mean and standard deviation of each channel over all pixels, in 0..1; exact, from counts of the levels.

        The deviation of a channel that is constant is given as 1, so that it can be divided by.
        """
        levels = np.arange(256) / 255
        of_channels = np.zeros((3, 256), np.int64)
        for images_nhwc in self._chunks():
            for channel, counts in enumerate(of_channels):
                counts += np.bincount(images_nhwc[..., channel].ravel(), minlength=256)
        means, deviations = [], []
        for counts in of_channels:
            mean = float(counts @ levels / counts.sum())
            means.append(mean)
            deviation = float(np.sqrt(counts @ (levels - mean) ** 2 / counts.sum()))
            deviations.append(deviation if np.count_nonzero(counts) > 1 else 1.0)
        return (means[0], means[1], means[2]), (deviations[0], deviations[1], deviations[2])

    def fingerprint(self) -> str:
        """SHA-256 over pixels, labels and class names: two sets with the same one train the same."""
        digest = hashlib.sha256(repr((self.images_nhwc.shape, self.classes)).encode())
        digest.update(np.ascontiguousarray(self.labels).data)
        for images_nhwc in self._chunks():
            digest.update(np.ascontiguousarray(images_nhwc).data)
        return digest.hexdigest()

    def _chunks(self) -> Iterator[NDArray[np.uint8]]:
        """The pixels of all images, some at a time."""
        rows = max(_CHUNK_BYTES // max(self.image_size**2 * 3, 1), 1)
        for start in range(0, len(self), rows):
            yield self.images_nhwc[start : start + rows]


class Dataset(NamedTuple):
    """A training and a test set with the same classes."""

    train: ImageSet
    test: ImageSet


def stratified_split(labels: NDArray[np.int64], count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split the indices of `labels` into `count` chosen ones and the rest, each class in proportion; both ascending.

    The counts of the classes are rounded by largest remainder, so that they sum to `count`. Depends on `seed` alone.
    """
    classes, counts = np.unique(labels, return_counts=True)
    exact = counts * (count / len(labels))
    take = np.floor(exact).astype(np.int64)
    take[np.argsort(take - exact, kind="stable")[: count - take.sum()]] += 1
    random = generator(seed, 0, "split")
    chosen = [
        random.permutation(np.flatnonzero(labels == one))[:number] for one, number in zip(classes, take, strict=True)
    ]
    mask = np.zeros(len(labels), bool)
    mask[np.concatenate(chosen)] = True
    return np.flatnonzero(mask), np.flatnonzero(~mask)


def stratified_folds(labels: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """The fold [n] of each image, 0 to folds - 1; depends on `seed` alone.

    Over the folds, the counts of a class differ by one at most, and so do the sizes of the folds.
    """
    random = generator(seed, 0, "folds")
    by_class = [random.permutation(np.flatnonzero(labels == one)) for one in np.unique(labels)]
    found = np.empty(len(labels), np.int64)
    # In turn, and on from one class to the next: else the first folds would get what is left over of every class.
    found[np.concatenate(by_class)] = np.arange(len(labels)) % folds
    return found


def _array(name: str, values: Any) -> Any:
    """A list, say, or a tensor as an array; arrays and Rows as they are."""
    if isinstance(values, np.ndarray | Rows):
        return values
    try:
        return np.asarray(values)
    except (TypeError, ValueError) as error:
        raise UserError(f"{name}: a {type(values).__name__} that is no array ({error})") from error
