"""Whether a net still has the weights that it was built with, so that it may take its first ones from the images."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

_VALUES = 64  # of each tensor


def sample(net: nn.Module) -> Tensor:
    """A few values of each weight and buffer, float32 on the CPU."""
    known = [one for one in net.state_dict().values() if not is_lazy(one)]
    return torch.cat([torch.zeros(0), *(one.detach().flatten()[:_VALUES].float().cpu() for one in known)])


def untouched(net: nn.Module, drawn: Tensor) -> bool:
    """Whether the net's sample is still `drawn`, but for the rounding of a Trainer's precision.

    Not so once it has trained or been initialised, nor where a trained net's weights were loaded into it.
    """
    now = sample(net)
    return len(now) == len(drawn) and torch.allclose(now, drawn, rtol=1e-2, atol=1e-6)
