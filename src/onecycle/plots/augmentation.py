"""What augmentation makes of images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..data import Augmentation, ImageSet
from ..data.views import augmented_views, classes_in_turn
from ..recipes import Recipe
from .fonts import legible
from .names import class_names
from .style import GREY, Figure, words

_SIZE = 10  # of letters, in points


def augmented(recipe: Recipe, images: ImageSet, *, samples: int = 10, epochs: int = 8) -> Figure:
    """Some of the images, one a class in turn, beside what the recipe makes of each in its first epochs."""
    subset = images.subset(classes_in_turn(images.labels, samples))
    mean = images.channel_statistics()[0] if recipe.data.mean == "auto" else recipe.data.mean
    augmentation = Augmentation(**recipe.augment.model_dump())
    views = augmented_views(subset, augmentation, mean=mean, seed=recipe.seed, epochs=epochs)
    names = class_names(images.classes, subset.labels, _SIZE, 130)
    return augmentation_grid(
        np.asarray(subset.images_nhwc),
        views,
        [names[label] for label in subset.labels],
        f"{recipe.name}: what the net sees in epochs 1 to {epochs}",
    )


def augmentation_grid(
    originals: NDArray[np.uint8], augmented: NDArray[np.uint8], labels: Sequence[str], title: str
) -> Figure:
    """Originals [n, h, w, 3] in the first column, k augmentations of each [n, k, h, w, 3] beside them."""
    rows, columns = augmented.shape[0], augmented.shape[1] + 1
    figure = Figure(0.95 * columns + 1.0, 0.98 * rows + 0.75, title)
    grid = figure.subplots(rows, columns, squeeze=False)
    for row in range(rows):
        for column in range(columns):
            axes = grid[row, column]
            image = originals[row] if column == 0 else augmented[row, column - 1]
            axes.imshow(image, interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
        name = legible(labels[row])
        grid[row, 0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=_SIZE, **words(name))
    grid[0, 0].set_title("original", fontsize=_SIZE, color=GREY)
    grid[0, 1].set_title("augmented", fontsize=_SIZE, color=GREY, loc="left")
    return figure
