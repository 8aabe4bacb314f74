"""3x3 convolutions with a quarter of the multiplications, for processors that compute in float32.

Winograd's F(m x m, 3x3): a tile of the output is A' [(G g G') * (B' d B)] A for a filter g and an image tile d, where
' transposes and * is elementwise, in the notation of Lavin and Gray, https://arxiv.org/abs/1509.09308. The products of
all tiles and channels are one batched matrix product.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..processor import abilities


class _Filtering(NamedTuple):
    """The matrices of F(m x m, 3x3), t = m + 2: `of_image` B' [t, t], `of_filter` G [t, 3], `of_products` A' [m, t]."""

    of_image: Tensor
    of_filter: Tensor
    of_products: Tensor

    @property
    def side(self) -> int:
        """Pixels of a tile of the output."""
        return len(self.of_products)

    @property
    def products(self) -> int:
        """Multiplications for a tile and a pair of channels."""
        return self.of_products.shape[1] ** 2

    def count(self, pixels: int) -> int:
        """How many tiles cover so many pixels of a side."""
        return -(-pixels // self.side)


def _filtering(*points: int) -> _Filtering:
    """The construction of Cook and Toom from m + 1 interpolation points and infinity.

    Points near 0 lose least to rounding.
    """
    others = [[q for q in points if q != p] for p in points]
    side = len(others[0])
    of_image = [[*np.poly(roots)[::-1], 0] for roots in others] + [np.poly(points)[::-1]]
    of_filter = [
        [p**k / math.prod(p - q for q in roots) for k in range(3)] for p, roots in zip(points, others, strict=True)
    ]
    of_products = [[*(p**k for p in points), k + 1 == side] for k in range(side)]
    matrices = of_image, [*of_filter, [0, 0, 1]], of_products
    return _Filtering(*(torch.tensor(np.array(matrix), dtype=torch.float32, device="cpu") for matrix in matrices))


# The larger tiles take fewer products a pixel, 2.25 and 2.78 rather than 9; the smaller ones fit sides as 3, 6 and 9.
_FILTERINGS = (_filtering(0, 1, -1, 2, -2), _filtering(0, 1, -1, 2))
_TILES_AT_ONCE = 256  # so that what they become is still in the processor's cache when it is needed
_FEWEST_TILES = 64  # for fewer than these, to transform the filters takes longer than to apply them
# What the transformation of a value takes for each channel, as multiply-adds of the products, in whose time a processor
# with AVX-512 makes more of them: it tells the layers that benchmarks/convolutions.py finds faster from the others, on
# an AMD EPYC without it and on an Intel Xeon with it.
_OVERHEAD, _OVERHEAD_AVX512 = 75, 130


def convolved(images_nchw: Tensor, weight_ochw: Tensor) -> Tensor:
    """Float32 images [n, c, h, w] and filters [o, c, 3, 3] to [n, o, h, w], with zeros around the images."""
    out: Tensor = _WinogradConvolution.apply(images_nchw, weight_ochw)  # type: ignore[no-untyped-call]
    return out


def is_faster(images_nchw: Tensor, weight_ochw: Tensor) -> bool:
    """Whether these are float32, and `convolved` takes less time for them than PyTorch."""
    if any(x.dtype != torch.float32 for x in (images_nchw, weight_ochw)) or torch.is_autocast_enabled("cpu"):
        return False
    # After torch.set_float32_matmul_precision("medium") its matrix products would be rounded, and a convolution not.
    if torch.backends.mkldnn.matmul.fp32_precision not in ("none", "ieee"):  # type: ignore[attr-defined]
        return False
    images, inputs, height, width = images_nchw.shape
    outputs, filtering = len(weight_ochw), _best(height, width)
    tiles = filtering.count(height) * filtering.count(width)
    overhead = _OVERHEAD_AVX512 if "avx512f" in abilities() else _OVERHEAD
    ours = tiles * filtering.products * (inputs * outputs + overhead * (inputs + outputs))
    return images * tiles >= _FEWEST_TILES and ours < 9 * height * width * inputs * outputs


def _best(height: int, width: int) -> _Filtering:
    """The one with the fewest products for images of so many pixels."""
    return min(_FILTERINGS, key=lambda one: one.count(height) * one.count(width) * one.products)


class _WinogradConvolution(torch.autograd.Function):
    """The convolution and its gradients."""

    @staticmethod
    def forward(images_nchw: Tensor, weight_ochw: Tensor) -> Tensor:
        """The convolution."""
        return _correlated(images_nchw, weight_ochw)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        """Keep what the gradients need."""
        ctx.save_for_backward(*inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_nohw: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """The gradients for images and filters."""
        images_nchw, weight_ochw = ctx.saved_tensors
        of_images, of_weight = ctx.needs_input_grad
        with torch.autocast("cpu", enabled=False):  # which may be on now, as it was not before
            return (
                _correlated(grad_nohw, weight_ochw.flip(2, 3).transpose(0, 1)) if of_images else None,
                _weight_gradient(images_nchw, grad_nohw) if of_weight else None,
            )


def _correlated(images_nchw: Tensor, weight_ochw: Tensor) -> Tensor:
    """What a convolutional layer computes, [n, o, h, w] with the channels last in memory."""
    images, inputs, height, width = images_nchw.shape
    outputs, tiling = len(weight_ochw), _best(height, width)
    rows, columns, side = tiling.count(height), tiling.count(width), tiling.side
    filters = _both_sides(tiling.of_filter, weight_ochw.permute(2, 3, 1, 0).reshape(3, 3, -1)).view(-1, inputs, outputs)
    shape = images, outputs, height, width
    out_nohw = torch.empty(shape, dtype=torch.float32, device="cpu", memory_format=torch.channels_last)
    at_once = _images_at_once(rows * columns)
    for some_nhwc, out in zip(_chunks(images_nchw, at_once), _chunks(out_nohw, at_once), strict=True):
        products = torch.bmm(_image_tiles(some_nhwc, tiling), filters)
        tiles = _both_sides(tiling.of_products, products.view(side + 2, side + 2, -1))
        tiles = tiles.view(side, side, len(out), rows, columns, outputs).permute(2, 3, 0, 4, 1, 5)
        if (height, width) == (side * rows, side * columns):
            out.view(tiles.shape).copy_(tiles)
        else:
            out.copy_(tiles.reshape(len(out), side * rows, side * columns, outputs)[:, :height, :width])
    return out_nohw  # no view, which could not be changed in place


def _weight_gradient(images_nchw: Tensor, grad_nohw: Tensor) -> Tensor:
    """The filters' gradient [o, c, 3, 3] for that of a convolutional layer's output."""
    inputs, height, width = images_nchw.shape[1:]
    outputs, tiling = grad_nohw.shape[1], _best(height, width)
    rows, columns, side = tiling.count(height), tiling.count(width), tiling.side
    total = images_nchw.new_zeros(tiling.products, inputs, outputs)
    at_once = _images_at_once(rows * columns)
    for some_nhwc, grad_nhwo in zip(_chunks(images_nchw, at_once), _chunks(grad_nohw, at_once), strict=True):
        if (height, width) != (side * rows, side * columns):
            grad_nhwo = F.pad(grad_nhwo, (0, 0, 0, side * columns - width, 0, side * rows - height))
        tiles = grad_nhwo.reshape(-1, rows, side, columns, side, outputs).permute(2, 4, 0, 1, 3, 5)
        products = _both_sides(tiling.of_products.T, tiles.reshape(side, side, -1)).view(tiling.products, -1, outputs)
        total.baddbmm_(_image_tiles(some_nhwc, tiling).transpose(1, 2), products)
    gradient = _both_sides(tiling.of_filter.T, total.view(side + 2, side + 2, -1))
    return gradient.view(3, 3, inputs, outputs).permute(3, 2, 0, 1)


def _image_tiles(images_nhwc: Tensor, tiling: _Filtering) -> Tensor:
    """Tiles of t x t pixels, the zeros around the images with them, transformed: [t * t, n * rows * columns, c]."""
    height, width, channels = images_nhwc.shape[1:]
    rows, columns, side = tiling.count(height), tiling.count(width), tiling.side
    padded = F.pad(images_nhwc, (0, 0, 1, side * columns + 1 - width, 1, side * rows + 1 - height))
    tiles = padded.unfold(1, side + 2, side).unfold(2, side + 2, side).permute(4, 5, 0, 1, 2, 3)
    return _both_sides(tiling.of_image, tiles.reshape(side + 2, side + 2, -1)).view(tiling.products, -1, channels)


def _both_sides(matrix_ab: Tensor, tiles_bbm: Tensor) -> Tensor:
    """M x M' for each of the m tiles x: [a, a, m].

    One side after the other: MKL is slow at the product of a matrix as small as 36 x 36 with one as wide as this.
    """
    return matrix_ab @ (matrix_ab @ tiles_bbm.transpose(0, 1)).transpose(0, 1)


def _chunks(images_nchw: Tensor, at_once: int) -> tuple[Tensor, ...]:
    chunks: tuple[Tensor, ...] = images_nchw.permute(0, 2, 3, 1).split(at_once)
    return chunks


def _images_at_once(tiles_an_image: int) -> int:
    return max(_TILES_AT_ONCE // tiles_an_image, 1)
