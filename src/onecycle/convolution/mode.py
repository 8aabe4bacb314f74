"""The context in which PyTorch's 3x3 convolutions are computed in one of our ways where that is faster."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from . import long_rows, winograd


class FastConvolutions(TorchFunctionMode):
    """While this is open, PyTorch's 3x3 convolutions on a processor take less time, forward and backward, for any net.

    In float32 they take a quarter of the multiplications, by Winograd's minimal filtering; in bfloat16, on processors
    with matrix units (AMX), the gradients of filters of small images are taken of many images side by side. Either
    where stride, dilation and groups are 1, the padding is 1 and the channels are last in memory, and where it is
    faster; everything else is computed as ever. Results differ from PyTorch's own by rounding, in float32 about 1e-6 of
    their size, and can be differentiated once. Under torch.compile or the transforms of torch.func it does nothing.

    `with onecycle.FastConvolutions(): logits = net(images)`
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
    if not (plain and _is_plain(input, weight)):
        return F.conv2d(input, weight, bias, stride, padding, dilation, groups)
    if winograd.is_faster(input, weight):
        out = winograd.convolved(input, weight)
    elif long_rows.is_faster(input, weight):
        out = long_rows.convolved(input, weight)
    else:
        return F.conv2d(input, weight, bias, stride, padding, dilation, groups)
    return out if bias is None else out + bias[:, None, None].to(out.dtype)


def _is_plain(images_nchw: Tensor, weight_ochw: Tensor) -> bool:
    """Whether these are images on a processor, channels last, and filters of 3x3 for them, to be computed here."""
    return (
        images_nchw.ndim == 4
        and weight_ochw.shape[1:] == (images_nchw.shape[1], 3, 3)
        and images_nchw.device.type == weight_ochw.device.type == "cpu"
        and images_nchw.is_contiguous(memory_format=torch.channels_last)
        and not torch._C._are_functorch_transforms_active()
    )
