"""3x3 convolutions in bfloat16 whose filters' gradient is taken of many small images side by side.

A processor's matrix units (AMX) multiply blocks of 32 bfloat16 values at a time. PyTorch's gradient of the filters,
oneDNN's, fills such a block with a row of an image's pixels: on images of 4 pixels a side 28 of 32 are empty. Images
next to each other, with a column of zeros between them, have rows that fill the blocks, and the same gradient.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..processor import abilities

# Where it is faster, and how long a row is best, as benchmarks/convolutions.py finds it on an Intel Xeon with AMX.
_WIDEST = 10  # pixels of a row; a longer one leaves less of a block empty than the copies cost
_FEWEST_PRODUCTS = 64 * 64  # of input and output channels
_FEWEST_IMAGES = 64
_BLOCK = 32


def convolved(images_nchw: Tensor, weight_ochw: Tensor) -> Tensor:
    """Images [n, c, h, w] and filters [o, c, 3, 3] to [n, o, h, w], with zeros around the images, all in bfloat16."""
    images, weight = images_nchw.to(torch.bfloat16), weight_ochw.to(torch.bfloat16)
    out: Tensor = _LongRowsConvolution.apply(images, weight)  # type: ignore[no-untyped-call]
    return out


def is_faster(images_nchw: Tensor, weight_ochw: Tensor) -> bool:
    """Whether PyTorch would compute these in bfloat16 and their gradient, and `convolved` takes less time for it."""
    images, inputs, _, width = images_nchw.shape
    return (
        width <= _WIDEST
        and images >= _FEWEST_IMAGES
        and inputs * len(weight_ochw) >= _FEWEST_PRODUCTS
        and weight_ochw.requires_grad
        and torch.is_grad_enabled()
        and _in_bfloat16(images_nchw, weight_ochw)
        and "amx_tile" in abilities()
    )


def _in_bfloat16(images_nchw: Tensor, weight_ochw: Tensor) -> bool:
    dtypes = {images_nchw.dtype, weight_ochw.dtype}
    if torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16:
        return dtypes <= {torch.float32, torch.bfloat16}  # float64 it leaves as it is
    return dtypes == {torch.bfloat16}


class _LongRowsConvolution(torch.autograd.Function):
    """PyTorch's convolution with another gradient of the filters."""

    @staticmethod
    def forward(images_nchw: Tensor, weight_ochw: Tensor) -> Tensor:
        """The convolution."""
        return torch.conv2d(images_nchw, weight_ochw, padding=1)

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
        grad_nohw = grad_nohw.contiguous(memory_format=torch.channels_last)
        return (
            _gradients(grad_nohw, images_nchw, weight_ochw, [True, False, False])[0] if of_images else None,
            weight_gradient(images_nchw, weight_ochw, grad_nohw) if of_weight else None,
        )


def weight_gradient(images_nchw: Tensor, weight_ochw: Tensor, grad_nohw: Tensor) -> Tensor:
    """The filters' gradient [o, c, 3, 3] for that of the output [n, o, h, w]."""
    width = images_nchw.shape[3] + 1
    # Two blocks where a short row could fill one badly.
    count = max(1, (_BLOCK if 2 * width > _BLOCK // 2 else 2 * _BLOCK) // width)
    rows = _side_by_side(grad_nohw, count), _side_by_side(images_nchw, count)
    return _gradients(*rows, weight_ochw, [False, True, False])[1]


def _gradients(grad_nohw: Tensor, images_nchw: Tensor, weight_ochw: Tensor, mask: list[bool]) -> tuple[Tensor, ...]:
    """Those of images, filters and biases that `mask` asks for."""
    one, zero = [1, 1], [0, 0]
    gradients: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
        grad_nohw, images_nchw, weight_ochw, None, one, one, one, False, zero, 1, mask
    )
    return gradients


def _side_by_side(images_nchw: Tensor, count: int) -> Tensor:
    """Images [n, c, h, w] as [n / count, c, h, count * (w + 1)], a column of zeros behind each; blank ones fill up."""
    images_nhwc = images_nchw.permute(0, 2, 3, 1)
    images, height, width, channels = images_nhwc.shape
    full, left = divmod(images, count)
    wide = images_nhwc.new_zeros(full + (left > 0), height, count, width + 1, channels)
    together = images_nhwc[: full * count].view(full, count, height, width, channels)
    wide[:full, :, :, :width] = together.transpose(1, 2)
    if left:
        wide[full, :, :left, :width] = images_nhwc[full * count :].transpose(0, 1)
    return wide.flatten(2, 3).permute(0, 3, 1, 2)
