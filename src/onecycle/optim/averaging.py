"""The exponential moving average of weights, as torch.optim.swa_utils.AveragedModel is told how to take it."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

Tensors = tuple[Tensor, ...] | list[Tensor]
MultiAvgFn = Callable[[Tensors, Tensors, Tensor | int], None]


def ema_multi_avg_fn(decay: float) -> MultiAvgFn:
    """A `multi_avg_fn` whose decay is (1 + n) / (10 + n) after n updates, and `decay` once that is larger.

    With `decay` from the start the first step's weights would still be most of the average where a training is short.
    As TensorFlow's ExponentialMovingAverage does with `num_updates`.
    """

    def average(averaged: Tensors, current: Tensors, updates: Tensor | int) -> None:
        count = int(updates)
        get_ema_multi_avg_fn(min(decay, (1 + count) / (10 + count)))(averaged, current, updates)

    return average


def averaged_net(net: nn.Module, decay: float) -> AveragedModel:
    """A copy of the net that holds the moving average of its weights and buffers, one update a step."""
    averaged = AveragedModel(net, use_buffers=True)
    average = ema_multi_avg_fn(decay)
    # The model's own counter stays on the CPU; what it hands over would have to be fetched from a GPU at every step.
    averaged.multi_avg_fn = lambda own, current, _: average(own, current, averaged.n_averaged)
    return averaged
