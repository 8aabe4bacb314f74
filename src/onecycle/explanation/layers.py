"""The layers of a net by name, and the one whose maps are looked at where none is named."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from ..errors import UserError, suggestion
from .probing import as_input, probing


def default_layer(net: nn.Module, example_nchw: Tensor | None = None) -> str:
    """The layer whose maps explain the net: a name out of `net.named_modules()`.

    A net names its own by the class attribute `explained_layer`. Of others it is, in the order in which the layers of
    one forward pass end, the last that runs once and gives maps [n, c, h, w] of more than one pixel. The pass is of
    `example_nchw`, or of black images of 32 x 32 pixels. Raises UserError where no layer is such.
    """
    own = getattr(net, "explained_layer", None)
    if isinstance(own, str):
        return own
    found = map_layers(net, example_nchw)
    if not found:
        raise UserError(
            f"{type(net).__name__} has no layer that gives maps of more than one pixel; "
            "class activation maps need a convolutional net"
        )
    return found[-1]


def map_layers(net: nn.Module, example_nchw: Tensor | None = None) -> list[str]:
    """The layers that run once and give maps [n, c, h, w] of more than one pixel, in the order in which they end.

    They are seen in one forward pass, of `example_nchw` or of black images of 32 x 32 pixels.
    """
    example = torch.zeros(1, 3, 32, 32) if example_nchw is None else example_nchw
    ended: list[str] = []
    calls: Counter[str] = Counter()

    def note(name: str, output: object) -> None:
        calls[name] += 1
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
            ended.append(name)

    with ExitStack() as stack:
        for name, module in _layers(net).items():
            hook = module.register_forward_hook(lambda _module, _inputs, output, name=name: note(name, output))
            stack.callback(hook.remove)
        with probing(net) as forward:
            forward(as_input(net, example))
    return [name for name in ended if calls[name] == 1]


def layer_of(net: nn.Module, name: str) -> nn.Module:
    """The layer of this name. Raises UserError with the nearest name where there is none."""
    layers = _layers(net)
    if name not in layers:
        raise UserError(f"layer {name!r} is unknown to {type(net).__name__}; {suggestion(name, layers)}")
    return layers[name]


def _layers(net: nn.Module) -> dict[str, nn.Module]:
    """Every layer by its name, but for the net itself."""
    return {name: module for name, module in net.named_modules() if name}
