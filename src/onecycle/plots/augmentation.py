"""What augmentation makes of images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .style import GREY, Figure


def augmentation_grid(
    originals: NDArray[np.uint8], augmented: NDArray[np.uint8], labels: Sequence[str], title: str
) -> Figure:
    """Originals [n, h, w, 3] in the first column, k augmentations of each [n, k, h, w, 3] beside them."""
    rows, columns = augmented.shape[0], augmented.shape[1] + 1
    figure = Figure(0.95 * columns + 1.0, 0.98 * rows + 0.75)
    figure.suptitle(title, fontsize=12, parse_math=False)
    grid = figure.subplots(rows, columns, squeeze=False)
    for row in range(rows):
        for column in range(columns):
            axes = grid[row, column]
            image = originals[row] if column == 0 else augmented[row, column - 1]
            axes.imshow(image, interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
        grid[row, 0].set_ylabel(labels[row], rotation=0, ha="right", va="center", fontsize=10, parse_math=False)
    grid[0, 0].set_title("original", fontsize=10, color=GREY)
    grid[0, 1].set_title("augmented", fontsize=10, color=GREY, loc="left")
    return figure
