"""Images as parts of a page: data URIs."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_LOSSLESS = 64  # pixels a side, above which a photograph hides what a compression at quality 90 takes away
_LARGEST = 128  # pixels a side, which is what a card shows


def data_uri(image: NDArray[np.uint8]) -> str:
    """An image [h, w, 3] as WebP, which all browsers know: as it is up to 64 pixels a side, smaller above 128."""
    file = io.BytesIO()
    picture = Image.fromarray(image)
    if max(picture.size) > _LARGEST:
        picture.thumbnail((_LARGEST, _LARGEST), Image.Resampling.LANCZOS)
    if max(picture.size) <= _LOSSLESS:
        picture.save(file, format="WEBP", lossless=True, quality=60, method=2)  # the quickest of the small ones
    else:
        picture.save(file, format="WEBP", quality=90, method=2)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
