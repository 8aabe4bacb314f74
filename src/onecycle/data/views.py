"""What augmentation makes of images, as pixels to look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from .images import ImageSet
from .loader import Augmentation, Loader


def augmented_views(
    images: ImageSet, augmentation: Augmentation, *, mean: Sequence[float], seed: int, epochs: int
) -> NDArray[np.uint8]:
    """Each image as it is seen in each of the first epochs, uint8 [n, epochs, h, w, 3].

    What is resized is shown at the images' own size, each pixel as a square or, where it was enlarged, thinned out.
    `mean` (a channel, in 0..1) is the colour that cutout fills with. The choices are drawn for these images as a set of
    their own: views of the kind, but not those themselves, that a training on more images sees.
    """
    loader = Loader(
        images, batch_size=len(images), augmentation=augmentation, seed=seed, mean=mean, std=(1.0, 1.0, 1.0)
    )
    views = []
    for epoch in range(epochs):
        batch = next(iter(loader.epoch(epoch)))
        shown = F.interpolate(batch.images_nchw, size=images.image_size, mode="nearest-exact")
        pixels = (shown.permute(0, 2, 3, 1) + torch.tensor(mean)).mul(255).round().clamp(0, 255)
        views.append(pixels.to(torch.uint8)[batch.samples.argsort()].numpy())
    return np.stack(views, axis=1)


def classes_in_turn(labels: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Indices of `count` images: the first of each class, then the second of each, and so on."""
    rank = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        rank[labels == label] = np.arange(np.count_nonzero(labels == label))
    return np.lexsort((labels, rank))[:count]
