"""A net as one writes it in an afternoon, without norms: where a rate too high is not made up for by longer weights."""

from __future__ import annotations

from itertools import pairwise

from torch import nn


def plain(num_classes: int, *, widths: tuple[int, int, int] = (32, 64, 128)) -> nn.Module:
    """Three convs 3x3, each with ReLU and a max-pool, PyTorch's own first weights, a linear layer."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise((3, *widths)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], num_classes))
