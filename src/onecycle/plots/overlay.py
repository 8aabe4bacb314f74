"""Maps as colours, and laid over images.

Shapes: n images [n, H, W, 3], a map [h, w] each.
"""

from __future__ import annotations

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.colors import Colormap, LinearSegmentedColormap
from numpy.typing import NDArray
from torch.nn import functional as F

from .style import BLUE, ORANGE

HEAT: Colormap = colormaps["inferno"]  # of even steps for every eye, from black to light yellow
AGAINST_AND_FOR: Colormap = LinearSegmentedColormap.from_list("against_and_for", [BLUE, "white", ORANGE])


def overlay(images_nhwc: NDArray[np.uint8], maps: NDArray[np.floating], opacity: float) -> NDArray[np.uint8]:
    """Images with the colours of maps [n, h, w] in 0..1 over them, scaled up bilinearly to the images' size.

    `opacity` 0 is the image alone, 1 the map's colours alone. Raises ValueError where it is outside 0 to 1.
    """
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity {opacity} is outside 0 to 1")
    size = images_nhwc.shape[1:3]
    maps_n1hw = torch.from_numpy(np.asarray(maps, np.float32))[:, None]
    scaled = F.interpolate(maps_n1hw, size, mode="bilinear", align_corners=False)[:, 0].numpy()
    return (images_nhwc * (1 - opacity) + coloured(scaled, HEAT) * np.float64(opacity)).round().astype(np.uint8)


def coloured(maps: NDArray[np.floating], colours: Colormap) -> NDArray[np.uint8]:
    """The colour [..., 3] of each value; 0 is the scale's first, 1 its last."""
    return np.asarray(colours(maps, bytes=True)[..., :3], np.uint8)


def enlarged(images_nhwc: NDArray[np.uint8], least: int) -> NDArray[np.uint8]:
    """Images with each pixel repeated so often that a side has at least `least` pixels."""
    times = -(-least // images_nhwc.shape[1])
    return images_nhwc.repeat(times, axis=1).repeat(times, axis=2)
