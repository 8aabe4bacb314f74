"""3x3 convolutions with a quarter of the multiplications, for processors that compute in float32.

Winograd's minimal filtering, F(4x4, 3x3) of Lavin and Gray, https://arxiv.org/abs/1509.09308: tiles of 6x6 pixels and
filters of 3x3 become 36 values each, whose products are those of 36 matrices; the sums become tiles of 4x4 pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

# The paper's matrices, which go from both sides onto a tile of the image, a filter, and a tile of the products.
_OF_IMAGE = torch.tensor(
    [
        [4.0, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
_OF_FILTER = torch.tensor([[6.0, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
_OF_PRODUCTS = torch.tensor([[1.0, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])

_TILES_AT_ONCE = 256  # so that what they become is still in the processor's cache when it is needed
_FEWEST_TILES = 64  # for fewer than these, to transform the filters takes longer than to apply them
# What the transformations of a tile take for each channel, as multiply-adds of the 36 products: measured on an AMD EPYC
# with AVX2, nets' usual shapes.
_OVERHEAD = 2_500


class Winograd(TorchFunctionMode):
    """While this is open, PyTorch's 3x3 convolutions of float32 images on a processor take fewer multiplications.

    That is so for any net, forward and backward, where stride, dilation and groups are 1, the padding is 1 and the
    channels are last in memory, and where it is faster; everything else is computed as ever. Results differ from
    PyTorch's own by rounding, about 1e-6 of their size, and can be differentiated once. Under autocast or torch.compile
    it does nothing.

    `with onecycle.Winograd(): logits = net(images)`
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Compute what PyTorch's function `func` is called for."""
        if func is F.conv2d and not torch.compiler.is_compiling():
            return _conv2d(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    plain = stride in (1, (1, 1)) and dilation in (1, (1, 1)) and groups == 1 and padding in (1, (1, 1), "same")
    if not (plain and _faster(input, weight)):
        return F.conv2d(input, weight, bias, stride, padding, dilation, groups)
    out: Tensor = _WinogradConvolution.apply(input, weight)  # type: ignore[no-untyped-call]
    return out if bias is None else out + bias[:, None, None]


def _faster(images_nchw: Tensor, weight_ochw: Tensor) -> bool:
    """Whether these can be computed with fewer multiplications, in less time."""
    if images_nchw.ndim != 4 or weight_ochw.shape[1:] != (images_nchw.shape[1], 3, 3):
        return False
    if any(x.device.type != "cpu" or x.dtype != torch.float32 for x in (images_nchw, weight_ochw)):
        return False
    if not images_nchw.is_contiguous(memory_format=torch.channels_last) or torch.is_autocast_enabled("cpu"):
        return False
    images, inputs, height, width = images_nchw.shape
    outputs, tiles = len(weight_ochw), _count(height) * _count(width)
    ours = tiles * (36 * inputs * outputs + _OVERHEAD * (inputs + outputs))
    return images * tiles >= _FEWEST_TILES and ours < 9 * height * width * inputs * outputs


class _WinogradConvolution(torch.autograd.Function):
    """Images [n, c, h, w] and filters [o, c, 3, 3] to [n, o, h, w], with zeros around the images."""

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
        return (
            _correlated(grad_nohw, weight_ochw.flip(2, 3).transpose(0, 1)) if of_images else None,
            _weight_gradient(images_nchw, grad_nohw) if of_weight else None,
        )


def _correlated(images_nchw: Tensor, weight_ochw: Tensor) -> Tensor:
    """What a convolutional layer computes, [n, o, h, w] with the channels last in memory."""
    images, inputs, height, width = images_nchw.shape
    outputs, rows, columns = len(weight_ochw), _count(height), _count(width)
    filters = _both_sides(_OF_FILTER, weight_ochw.permute(2, 3, 1, 0).reshape(3, 3, -1)).view(36, inputs, outputs)
    out_nohw = torch.empty((images, outputs, height, width), memory_format=torch.channels_last)
    at_once = _images_at_once(rows * columns)
    for some_nhwc, out in zip(_chunks(images_nchw, at_once), _chunks(out_nohw, at_once), strict=True):
        products = torch.bmm(_image_tiles(some_nhwc, rows, columns), filters)
        tiles = _both_sides(_OF_PRODUCTS, products.view(6, 6, -1)).view(4, 4, len(out), rows, columns, outputs)
        tiles = tiles.permute(2, 3, 0, 4, 1, 5)  # [n, rows, 4, columns, 4, o]
        if (height, width) == (4 * rows, 4 * columns):
            out.view(tiles.shape).copy_(tiles)
        else:
            out.copy_(tiles.reshape(len(out), 4 * rows, 4 * columns, outputs)[:, :height, :width])
    return out_nohw  # no view, which could not be changed in place


def _weight_gradient(images_nchw: Tensor, grad_nohw: Tensor) -> Tensor:
    """The filters' gradient [o, c, 3, 3] for that of a convolutional layer's output."""
    inputs, height, width = images_nchw.shape[1:]
    outputs, rows, columns = grad_nohw.shape[1], _count(height), _count(width)
    total = images_nchw.new_zeros(36, inputs, outputs)
    at_once = _images_at_once(rows * columns)
    for some_nhwc, grad_nhwo in zip(_chunks(images_nchw, at_once), _chunks(grad_nohw, at_once), strict=True):
        if (height, width) != (4 * rows, 4 * columns):
            grad_nhwo = F.pad(grad_nhwo, (0, 0, 0, 4 * columns - width, 0, 4 * rows - height))
        tiles = grad_nhwo.reshape(-1, rows, 4, columns, 4, outputs).permute(2, 4, 0, 1, 3, 5).reshape(4, 4, -1)
        products = _both_sides(_OF_PRODUCTS.T, tiles).view(36, -1, outputs)
        total.baddbmm_(_image_tiles(some_nhwc, rows, columns).transpose(1, 2), products)
    return _both_sides(_OF_FILTER.T, total.view(6, 6, -1)).view(3, 3, inputs, outputs).permute(3, 2, 0, 1)


def _image_tiles(images_nhwc: Tensor, rows: int, columns: int) -> Tensor:
    """Tiles of 6x6 pixels that begin every 4, transformed: [36, n * rows * columns, c]."""
    height, width, channels = images_nhwc.shape[1:]
    padded = F.pad(images_nhwc, (0, 0, 1, 4 * columns + 1 - width, 1, 4 * rows + 1 - height))
    tiles = padded.unfold(1, 6, 4).unfold(2, 6, 4).permute(4, 5, 0, 1, 2, 3)  # [6, 6, n, rows, columns, c]
    return _both_sides(_OF_IMAGE, tiles.reshape(6, 6, -1)).view(36, -1, channels)


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


def _count(pixels: int) -> int:
    """How many tiles of 4 pixels cover so many."""
    return -(-pixels // 4)
