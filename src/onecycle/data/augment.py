"""Shift-scale-rotate, crop, flip, resize, normalisation, tone and cutout of whole batches, on the device that trains.

Shapes: b images of h x w pixels and 3 channels, [b, h, w, 3] throughout. Each step but the first, which samples,
moves whole rows or pixels with `index_select`, which is many times faster on a CPU than broadcast masks. None asks
anything back from a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Padding = Literal["zeros", "reflect"]


def shift_scale_rotate(images_nhwc: Tensor, affine: Tensor) -> Tensor:
    """Turn, enlarge and shift each uint8 image, of 2 x 2 pixels or more, about its centre by its own `affine` [b, 4].

    Its columns: the shift down and to the right as fractions of the height and of the width, the factor of the
    enlargement, the angle in degrees, counterclockwise. One mapping an image, sampled once: between pixels bilinearly,
    beyond the borders mirrored without repeating the edge (reflect-101), as albumentations' ShiftScaleRotate does by
    default; rounded to uint8. An image whose row is (0, 0, 1, 0) comes back as it is.
    """
    _, h, w, _ = images_nhwc.shape
    down, right, factor, angle = affine[:, :, None, None].unbind(1)
    cos, sin = torch.cos(angle * (math.pi / 180)) / factor, torch.sin(angle * (math.pi / 180)) / factor
    # From where an output pixel comes. Units are grid_sample's: -1 and 1 are the centres of the outermost pixels. Not
    # by F.affine_grid: that is a matrix product, which torch.set_float32_matmul_precision may make too coarse.
    y = torch.linspace(-1, 1, h, device=affine.device)[:, None] - down * (2 * h / (h - 1))
    x = torch.linspace(-1, 1, w, device=affine.device) - right * (2 * w / (w - 1))
    aspect = (h - 1) / (w - 1)
    grid = torch.stack([cos * x - sin * aspect * y, sin / aspect * x + cos * y], dim=3)
    pixels = images_nhwc.permute(0, 3, 1, 2).to(torch.float32)
    sampled = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=True)
    return sampled.permute(0, 2, 3, 1).round_().to(torch.uint8).contiguous()


def random_crop(
    images_nhwc: Tensor, corner_yx: Tensor, padding: int, mode: Padding = "zeros", side: int | None = None
) -> Tensor:
    """Crop each uint8 image, padded by `padding` pixels on each side, at its own corner [b, 2].

    To `side` x `side` pixels, or back to its own size.

    "zeros" pads with black (0, before normalisation), "reflect" mirrors without repeating the edge; as torchvision's
    RandomCrop does for padding_mode "constant" and "reflect".
    """
    b, h, w, c = images_nhwc.shape
    rows, columns = (h, w) if side is None else (side, side)
    if padding == 0 and (rows, columns) == (h, w):
        return images_nhwc
    padded = _padded(images_nhwc, padding, mode) if padding else images_nhwc.contiguous()
    height, row = h + 2 * padding, (w + 2 * padding) * c
    # Every run of pixels as long as a crop is wide, as a view whose rows overlap; each crop picks its rows among them.
    runs = padded.as_strided((padded.numel() - columns * c + 1, columns * c), (1, 1))
    first = torch.arange(b, device=padded.device) * (height * row) + corner_yx[:, 0] * row + corner_yx[:, 1] * c
    start = first[:, None] + torch.arange(rows, device=padded.device) * row
    return runs.index_select(0, start.flatten()).view(b, rows, columns, c)


def flip_left_right(images_nhwc: Tensor, flip: Tensor) -> Tensor:
    """Mirror the images for which `flip` [b] is true."""
    b = len(images_nhwc)
    both_sides = torch.cat([images_nhwc, images_nhwc.flip(2)])
    return both_sides.index_select(0, torch.arange(b, device=flip.device) + b * flip)


def resize(images_nhwc: Tensor, side: int) -> Tensor:
    """Scale uint8 images to `side` x `side` pixels, bilinearly with antialiasing, as Pillow's BILINEAR does.

    Small images early in a training are the progressive resizing of fastai, https://arxiv.org/abs/2002.04688.
    """
    pixels = images_nhwc.permute(0, 3, 1, 2)
    if pixels.is_cuda:  # where torch resizes floats alone
        pixels = pixels.to(torch.float32)
    scaled = F.interpolate(pixels, size=(side, side), mode="bilinear", antialias=True)
    if scaled.is_floating_point():
        scaled = scaled.round_().to(torch.uint8)
    return scaled.permute(0, 2, 3, 1).contiguous()


def normalize(
    images_nhwc: Tensor,
    mean: Sequence[float],
    std: Sequence[float],
    dtype: torch.dtype,
    tone: Tensor | None = None,
) -> Tensor:
    """(x / 255 - mean) / std for each channel, computed in float32 and returned as `dtype`.

    With `tone` [b, 2] each image has a brightness and a contrast of its own: its first column is added to x / 255, the
    second is what the distance from the mean is multiplied with. Nothing is clipped.
    """
    b, h, w, _ = images_nhwc.shape
    # Constants as long as a row of pixels: broadcasting over 3 channels alone would leave the vector units idle.
    scale = _sent([1 / (255 * s) for s in std], images_nhwc.device).repeat(w)
    shift = _sent([-m / s for m, s in zip(mean, std, strict=True)], images_nhwc.device).repeat(w)
    rows = images_nhwc.reshape(b * h, w * 3).to(torch.float32)
    normalized = torch.addcmul(shift, rows, scale)
    if tone is not None:
        added, factor = tone[:, None, :].unbind(2)
        brighter = added * _sent([1 / s for s in std], images_nhwc.device).repeat(w)
        normalized = torch.addcmul(brighter[:, None], normalized.view(b, h, w * 3), factor[:, None])
    return normalized.to(dtype).view(b, h, w, 3)


def _sent(values: Sequence[float], device: torch.device) -> Tensor:
    """On the device, without waiting for it."""
    return torch.tensor(values, pin_memory=device.type == "cuda").to(device, non_blocking=True)


def cutout(images_nhwc: Tensor, corner_yx: Tensor, chosen: Tensor, side: int) -> Tensor:
    """Set a square of `side` pixels at its own corner [b, 2] to 0, in place, in the images that are `chosen` [b].

    After normalisation 0 is the training set's mean. Source: DeVries and Taylor, https://arxiv.org/abs/1708.04552,
    but with the whole square inside the image. This is also albumentations' CoarseDropout of one hole of a fixed size.
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
