"""Which training images there are, and which of them a fold holds out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .data import ImageSet, stratified_folds, stratified_split
from .errors import UserError
from .recipes import Recipe


@dataclass(frozen=True, eq=False)
class Folds:
    """The images of a cross-validation, and the fold of each.

    `images`: all training images, followed by a validation part if the set has one. `index` [n]: the positions of those
    used, ascending. `fold` [n]: the fold, from 0, that holds each out.
    """

    images: ImageSet
    index: NDArray[np.int64]
    fold: NDArray[np.int64]

    def held_out(self, number: int) -> tuple[ImageSet, ImageSet]:
        """What the fold of that number, from 0, trains on, and what it holds out."""
        inside = self.fold == number
        return self.images.subset(self.index[~inside]), self.images.subset(self.index[inside])


def folds_of(recipe: Recipe, train: ImageSet, val: ImageSet | None) -> Folds:
    """Assign the training images, after data.train_limit, to the stratified folds that data.fold asks for.

    A validation part `val` of the set joins them. Raises UserError where a class has fewer images than
    there are folds.
    """
    part = recipe.data
    assert part.fold is not None, "asked for a recipe that has folds"
    number = part.fold[1]
    images = train if val is None else concatenated(train, val)
    index = limited(recipe, images)
    labels = images.labels[index]
    counts = np.bincount(labels, minlength=len(images.classes))
    rarest = int(counts.argmin())
    if counts[rarest] < number:
        raise UserError(
            f"{number} folds: class {images.classes[rarest]!r} has {counts[rarest]} training images; "
            f"{number} or more of each class are needed, or fewer folds"
        )
    return Folds(images, index, stratified_folds(labels, number, part.split_seed))


def limited(recipe: Recipe, images: ImageSet) -> NDArray[np.int64]:
    """The places of the training images that data.train_limit leaves, ascending; all where there is none.

    Raises UserError where it asks for more than there are.
    """
    limit = recipe.data.train_limit
    if limit is None or limit == len(images):
        return np.arange(len(images))
    if limit > len(images):
        raise UserError(f"data.train_limit {limit} is larger than the training set; at most {len(images)}")
    return stratified_split(images.labels, limit, recipe.data.split_seed)[0]


def concatenated(one: ImageSet, other: ImageSet) -> ImageSet:
    """Both in one, in memory."""
    images_nhwc = np.concatenate([np.asarray(one.images_nhwc), np.asarray(other.images_nhwc)])
    return ImageSet(images_nhwc, np.concatenate([one.labels, other.labels]), one.classes)
