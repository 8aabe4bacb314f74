"""scikit-learn's handwritten digits: a small real set that needs no download."""

from __future__ import annotations

from pathlib import Path

import numpy as np
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
    side = (image_size, image_size)
    scaled = np.stack([np.asarray(Image.fromarray(image).resize(side, Image.Resampling.BICUBIC)) for image in grey])
    labels = source.target.astype(np.int64)
    images = ImageSet(np.repeat(scaled[..., None], 3, axis=3), labels, tuple("0123456789"))
    test, train = stratified_split(labels, TEST_IMAGES, seed=0)
    return Dataset(images.subset(train), images.subset(test))
