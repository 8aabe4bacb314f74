"""scikit-learn's handwritten digits: a small real set that needs no download."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import UserError
from .images import Dataset, ImageSet, stratified_split

TEST_IMAGES = 360  # of 1,797: a fifth


def digits(*, data_dir: Path | None = None, image_size: int = 32) -> Dataset:
    """1,797 digits of 8x8 grey levels, scaled to RGB of `image_size` (bicubic), with a fixed stratified test fifth.

    `data_dir` is not needed: the images come with scikit-learn (extra `demo`). Source: E. Alpaydin and C. Kaynak, UCI.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise UserError("data set digits needs scikit-learn; pip install 'onecycle[demo]'") from None
    source = load_digits()
    grey = np.clip(source.images * (255 / 16), 0, 255).round().astype(np.uint8)
    labels = source.target.astype(np.int64)
    images = ImageSet(np.repeat(_scaled(grey, image_size)[..., None], 3, axis=3), labels, tuple("0123456789"))
    test, train = stratified_split(labels, TEST_IMAGES, seed=0)
    return Dataset(images.subset(train), images.subset(test))


def _scaled(images_nhw: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Each image as Pillow scales it: rows first, with all images below one another, then columns, side by side."""
    n, height, width = images_nhw.shape
    below = Image.fromarray(images_nhw.reshape(n * height, width)).resize((side, n * height), Image.Resampling.BICUBIC)
    beside = np.asarray(below).reshape(n, height, side).transpose(1, 0, 2).reshape(height, n * side)
    scaled = Image.fromarray(beside).resize((n * side, side), Image.Resampling.BICUBIC)
    return np.asarray(scaled).reshape(side, n, side).transpose(1, 0, 2)
