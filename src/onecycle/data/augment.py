"""Crop, flip, normalisation and cutout of whole batches, on the device that trains.

Shapes: b images of h x w pixels and 3 channels, [b, h, w, 3] throughout. Each step moves whole rows or pixels with
`index_select`, which is many times faster on a CPU than broadcast masks, and asks nothing back from a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Padding = Literal["zeros", "reflect"]


def random_crop(images_nhwc: Tensor, corner_yx: Tensor, padding: int, mode: Padding = "zeros") -> Tensor:
    """Crop each uint8 image, padded by `padding` pixels on each side, at its own corner [b, 2] back to its size.

    "zeros" pads with black (0, before normalisation), "reflect" mirrors without repeating the edge; as torchvision's
    RandomCrop does for padding_mode "constant" and "reflect".
    """
    if padding == 0:
        return images_nhwc
    b, h, w, c = images_nhwc.shape
    padded = _padded(images_nhwc, padding, mode)
    height, row = h + 2 * padding, (w + 2 * padding) * c
    # Every run of w pixels, at any place of the padded batch, as a view whose rows overlap; each crop picks h of them.
    runs = padded.as_strided((padded.numel() - w * c + 1, w * c), (1, 1))
    first = torch.arange(b, device=padded.device) * (height * row) + corner_yx[:, 0] * row + corner_yx[:, 1] * c
    start = first[:, None] + torch.arange(h, device=padded.device) * row
    return runs.index_select(0, start.flatten()).view(b, h, w, c)


def flip_left_right(images_nhwc: Tensor, flip: Tensor) -> Tensor:
    """Mirror the images for which `flip` [b] is true."""
    b = len(images_nhwc)
    both_sides = torch.cat([images_nhwc, images_nhwc.flip(2)])
    return both_sides.index_select(0, torch.arange(b, device=flip.device) + b * flip)


def normalize(images_nhwc: Tensor, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype) -> Tensor:
    """(x / 255 - mean) / std for each channel, computed in float32 and returned as `dtype`."""
    b, h, w, _ = images_nhwc.shape
    # Constants as long as a row of pixels: broadcasting over 3 channels alone would leave the vector units idle.
    scale = torch.tensor([1 / (255 * s) for s in std], device=images_nhwc.device).repeat(w)
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], device=images_nhwc.device).repeat(w)
    rows = images_nhwc.reshape(b * h, w * 3).to(torch.float32)
    return torch.addcmul(shift, rows, scale).to(dtype).view(b, h, w, 3)


def cutout(images_nhwc: Tensor, corner_yx: Tensor, chosen: Tensor, side: int) -> Tensor:
    """Set a square of `side` pixels at its own corner [b, 2] to 0, in place, in the images that are `chosen` [b].

    After normalisation 0 is the training set's mean. Source: DeVries and Taylor, https://arxiv.org/abs/1708.04552,
    but with the whole square inside the image.
    """
    if side == 0:
        return images_nhwc
    b, h, w, c = images_nhwc.shape
    device = images_nhwc.device
    square = (torch.arange(side, device=device)[:, None] * w + torch.arange(side, device=device)).flatten()
    corner = torch.arange(b, device=device) * (h * w) + corner_yx[:, 0] * w + corner_yx[:, 1]
    index = (corner[:, None] + square).flatten()
    pixels = images_nhwc.view(-1, c)
    hole = pixels.index_select(0, index).masked_fill_(chosen.repeat_interleave(side * side)[:, None], 0)
    pixels.index_copy_(0, index, hole)
    return images_nhwc


def _padded(images_nhwc: Tensor, padding: int, mode: Padding) -> Tensor:
    b, h, w, c = images_nhwc.shape
    padded = images_nhwc.new_zeros(b, h + 2 * padding, w + 2 * padding, c)
    padded[:, padding : padding + h, padding : padding + w] = images_nhwc
    if mode == "reflect":  # rows first, then columns of the whole height, which fills the corners
        for axis, size in ((1, h), (2, w)):
            for target, source in ((0, padding + 1), (padding + size, size - 1)):
                mirrored = padded.narrow(axis, source, padding).flip(axis)
                padded.narrow(axis, target, padding).copy_(mirrored)
    return padded
