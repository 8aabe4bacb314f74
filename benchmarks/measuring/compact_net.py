"""A small net, on which there is little to hide a loop's own cost behind."""

from __future__ import annotations

from torch import nn


def compact_net() -> nn.Module:
    """About 100,000 parameters: convolutions of stride 2 and depthwise-separable ones, as the course's small nets."""
    net = nn.Sequential(
        *_block(3, 32),
        *_block(32, 32),
        *_block(32, 64, stride=2),
        *_separable(64, 64),
        *_block(64, 64, stride=2),
        *_separable(64, 128),
        *_separable(128, 128),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(128, 10),
    )
    assert sum(parameter.numel() for parameter in net.parameters()) < 200_000
    return net


def _block(inputs: int, outputs: int, *, stride: int = 1, groups: int = 1, size: int = 3) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


def _separable(inputs: int, outputs: int) -> list[nn.Module]:
    return [*_block(inputs, inputs, groups=inputs), *_block(inputs, outputs, size=1)]
