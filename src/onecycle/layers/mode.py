"""The context in which PyTorch's layers are computed in one of our ways where that is faster."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from . import activation, matrix_units, native, normalization, pooling, winograd

# Of a tensor, for which PyTorch's own operation takes longer than to call ours, on an Intel Xeon.
_FEWEST_VALUES, _FEWEST_VALUES_OF_NORM = 2**16, 2**21


class FastLayers(TorchFunctionMode):
    """While this is open, PyTorch's layers on a processor take less time, forward and backward, for any net.

    3x3 convolutions take a quarter of the multiplications in float32, by Winograd's minimal filtering; in bfloat16, on
    processors with matrix units (AMX), they fill these, whatever the side of the images is. Max-pooling of 2x2 pixels
    and BatchNorm in training, in bfloat16 ReLU and GELU too, go over their values fewer times, or wait less for them.
    All but Winograd's is C++ that is compiled when it is first needed, in a few seconds, where there is a compiler.

    All that for images whose channels are last in memory, and where it is faster; everything else is computed as ever.
    Results differ from PyTorch's own by rounding, in float32 about 1e-6 of their size, and can be differentiated once.
    Under torch.compile, the transforms of torch.func, or hooks for what is saved, as torch.utils.checkpoint has, it
    does nothing.

    `with onecycle.FastLayers(): logits = net(images)`
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Compute what PyTorch's function `func` is called for."""
        if func in _LAYERS and not torch.compiler.is_compiling():
            return _LAYERS[func](*args, **(kwargs or {}))
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
    fitting = plain and _are_images(input) and weight.device.type == "cpu"
    if not (fitting and weight.shape[1:] == (input.shape[1], 3, 3)):
        return F.conv2d(input, weight, bias, stride, padding, dilation, groups)
    if winograd.is_faster(input, weight):
        out = winograd.convolved(input, weight)
    elif matrix_units.is_faster(input, weight):
        out = matrix_units.convolved(input, weight)
    else:
        return F.conv2d(input, weight, bias, stride, padding, dilation, groups)
    return out if bias is None else out + bias[:, None, None].to(out.dtype)


def _max_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    by_twos = kernel_size in (2, (2, 2)) and stride in (None, 2, (2, 2)) and padding in (0, (0, 0))
    plain = by_twos and dilation in (1, (1, 1)) and not (ceil_mode or return_indices)
    # PyTorch refuses a side of one pixel.
    if plain and min(input.shape[-2:]) > 1 and _are_large_images(input, _FEWEST_VALUES):
        return pooling.max_pooled(input)
    return F.max_pool2d(input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)  # type: ignore[call-overload]


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    vectors = running_mean, running_var, weight, bias
    fitting = training and input.ndim == 4 and all(_is_float32_of(input.shape[1], one) for one in vectors) and eps > 0
    # PyTorch refuses a single pixel, and an eps of 0.
    if fitting and input.numel() > input.shape[1] and _are_large_images(input, _FEWEST_VALUES_OF_NORM):
        return normalization.batch_normed(input, *vectors, momentum, eps)  # type: ignore[arg-type]
    return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


def _relu(input: Tensor, inplace: bool = False) -> Tensor:
    if input.dtype == torch.bfloat16 and _are_large_images(input, _FEWEST_VALUES):
        return activation.relu(input, inplace=inplace)
    return F.relu(input, inplace)


def _gelu(input: Tensor, *, approximate: str = "none") -> Tensor:
    if approximate == "none" and input.dtype == torch.bfloat16 and _are_large_images(input, _FEWEST_VALUES):
        return activation.gelu(input)
    return F.gelu(input, approximate=approximate)


_LAYERS: dict[Any, Callable[..., Any]] = {
    F.conv2d: _conv2d,
    F.max_pool2d: _max_pool2d,
    F.batch_norm: _batch_norm,
    F.relu: _relu,
    F.gelu: _gelu,
}


def _are_large_images(images_nchw: Tensor, fewest_values: int) -> bool:
    """Whether the compiled loops can take these, and take less time."""
    return (
        images_nchw.numel() >= fewest_values
        and _are_images(images_nchw)
        and images_nchw.dtype in (torch.float32, torch.bfloat16)
        and native.library("loops") is not None
    )


def _are_images(images_nchw: Tensor) -> bool:
    """Whether these are images on a processor, channels last, to be computed here."""
    return (
        type(images_nchw) in (Tensor, nn.Parameter)
        and not torch._C._are_functorch_transforms_active()
        and images_nchw.ndim == 4
        and images_nchw.device.type == "cpu"
        and images_nchw.is_contiguous(memory_format=torch.channels_last)
        # A checkpoint computes again outside this context, and refuses what it does not find saved as before.
        and torch._C._autograd._top_saved_tensors_default_hooks(True) is None
    )


def _is_float32_of(channels: int, vector: Tensor | None) -> bool:
    return vector is not None and vector.dtype == torch.float32 and vector.shape == (channels,)
