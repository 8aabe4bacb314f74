"""3x3 convolutions in bfloat16, forward and backward, by a processor's matrix units (AMX): convolution.cpp has them.

PyTorch's, oneDNN's, fill a tile of these units with pixels of an image's row, and leave most of it empty where images
are small. Here a tile has one pixel of many images, so that it is full whatever the side of an image is.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..processor import abilities
from . import native

_NEEDED = frozenset({"amx_tile", "amx_bf16", "avx512f", "avx512bw", "avx512_bf16"})
# Where it is faster, as benchmarks/convolutions.py finds it on an Intel Xeon.
_FEWEST_IMAGES = 64
_FEWEST_PRODUCTS = 32 * 32  # of input and output channels
_BLOCK = 32  # channels of a pair of tiles
_GROUP = 32  # images whose part of the filters' gradient one thread adds up
_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA = 158, 0x1023, 18  # of Linux, on x86-64


def convolved(images_nchw: Tensor, weight_ochw: Tensor) -> Tensor:
    """Images [n, c, h, w] and filters [o, c, 3, 3] to bfloat16 [n, o, h, w], with zeros around the images.

    Both are rounded to bfloat16, products are added in float32; the gradients have the types that these have.
    """
    out: Tensor = _Convolution.apply(images_nchw, weight_ochw)  # type: ignore[no-untyped-call]
    return out


def is_faster(images_nchw: Tensor, weight_ochw: Tensor) -> bool:
    """Whether PyTorch would compute these in bfloat16, and `convolved` can and takes less time for it."""
    return (
        len(images_nchw) >= _FEWEST_IMAGES
        and weight_ochw.shape[:2].numel() >= _FEWEST_PRODUCTS
        and images_nchw.numel() > 0
        and _in_bfloat16(images_nchw, weight_ochw)
        and is_available()
    )


def is_available() -> bool:
    """Whether this processor has matrix units that this process may use, and there is a C++ compiler."""
    return _may_be_used() and native.library("convolution") is not None


@functools.cache
def _may_be_used() -> bool:
    # Linux gives a process the memory for tiles when it asks for it.
    return abilities() >= _NEEDED and not ctypes.CDLL(None).syscall(_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA)


def _in_bfloat16(images_nchw: Tensor, weight_ochw: Tensor) -> bool:
    dtypes = {images_nchw.dtype, weight_ochw.dtype}
    if torch.is_autocast_enabled("cpu"):  # which leaves float64 as it is
        return torch.get_autocast_dtype("cpu") == torch.bfloat16 and dtypes <= {torch.float32, torch.bfloat16}
    return dtypes == {torch.bfloat16}


class _Convolution(torch.autograd.Function):
    """The convolution and its gradients."""

    @staticmethod
    def forward(ctx: Any, images_nchw: Tensor, weight_ochw: Tensor) -> Tensor:
        """The convolution."""
        images, weight = _rounded(images_nchw), _rounded(weight_ochw)
        ctx.save_for_backward(images, weight)
        ctx.dtypes = images_nchw.dtype, weight_ochw.dtype
        return _correlated(images, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_nohw: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """The gradients for images and filters."""
        images, weight = ctx.saved_tensors
        grad = _rounded(grad_nohw)
        of_images, of_weight = ctx.needs_input_grad
        return (
            _correlated(grad, weight, turned=True).to(ctx.dtypes[0]) if of_images else None,
            _weight_gradient(images, grad).to(ctx.dtypes[1]) if of_weight else None,
        )


def _rounded(tensor: Tensor) -> Tensor:
    return tensor.to(torch.bfloat16).contiguous(memory_format=torch.channels_last)


def _correlated(images_nchw: Tensor, weight_ochw: Tensor, *, turned: bool = False) -> Tensor:
    """What a convolutional layer computes [n, o, h, w]; turned, the gradient of what it is given [n, c, h, w]."""
    outputs, inputs = weight_ochw.shape[:2]
    count = 9 * _blocks(outputs) * _blocks(inputs) * _BLOCK**2
    filters = torch.empty(count, dtype=torch.bfloat16, device="cpu")
    native.call("convolution", "pack_filters", filters.dtype, weight_ochw, filters, outputs, inputs, int(turned))
    if turned:
        outputs, inputs = inputs, outputs
    images, _, height, width = images_nchw.shape
    shape = images, outputs, height, width
    out = torch.empty(shape, dtype=torch.bfloat16, device="cpu", memory_format=torch.channels_last)
    sizes = images, height, width, inputs, outputs
    native.call("convolution", "correlate", out.dtype, images_nchw, filters, out, *sizes)
    return out


def _weight_gradient(images_nchw: Tensor, grad_nohw: Tensor) -> Tensor:
    """The filters' gradient [o, c, 3, 3], in float32, for that of a convolutional layer's output."""
    images, inputs, height, width = images_nchw.shape
    outputs = grad_nohw.shape[1]
    parts = min(torch.get_num_threads(), -(-images // _GROUP))
    shape = parts, 3, 2 * _blocks(inputs), _blocks(outputs), 3, 2, _BLOCK // 2, _BLOCK // 2
    sums = torch.empty(shape, dtype=torch.float32, device="cpu")
    sizes = images, height, width, inputs, outputs
    native.call("convolution", "filter_gradient", torch.bfloat16, images_nchw, grad_nohw, sums, *sizes)
    by_pixel = sums.sum(0).permute(2, 4, 6, 0, 3, 1, 5).flatten(5).flatten(0, 2)  # outputs, rows, columns, inputs
    return by_pixel[:outputs, :, :, :inputs].permute(0, 3, 1, 2)


def _blocks(channels: int) -> int:
    return -(-channels // _BLOCK)
