"""The custom ResNet of the CIFAR-10 assignment: 6,573,130 parameters, 379 million multiply-adds at 32x32 pixels."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn


def custom_resnet(
    num_classes: int,
    *,
    norm_momentum: Annotated[float, Field(gt=0, le=1)] = 0.1,
    norm_eps: Annotated[float, Field(gt=0)] = 1e-5,
    logit_scale: float = 1.0,
) -> CustomResNet:
    """Build the net. The norm's defaults are PyTorch's; `logit_scale` multiplies the linear layer's output."""
    return CustomResNet(num_classes, norm_momentum, norm_eps, logit_scale)


class CustomResNet(nn.Module):
    """Images [n, 3, h, w] of 32x32 pixels or more to logits [n, classes].

    prep: conv 64; layer1: conv 128, pool, + two convs around which it is residual; layer2: conv 256, pool; layer3: as
    layer1 with 512; max-pool to one pixel; linear. Every conv is 3x3 without bias, followed by [max-pool,]
    BatchNorm and ReLU.
    """

    def __init__(self, num_classes: int, norm_momentum: float, norm_eps: float, logit_scale: float) -> None:
        super().__init__()

        def block(inputs: int, outputs: int, *, pool: bool) -> ConvBlock:
            return ConvBlock(inputs, outputs, pool, norm_momentum, norm_eps)

        def residual(channels: int) -> Residual:
            return Residual(block(channels, channels, pool=False), block(channels, channels, pool=False))

        self.prep = block(3, 64, pool=False)
        self.layer1 = nn.Sequential(block(64, 128, pool=True), residual(128))
        self.layer2 = block(128, 256, pool=True)
        self.layer3 = nn.Sequential(block(256, 512, pool=True), residual(512))
        self.pool = nn.AdaptiveMaxPool2d(1)  # the assignment's max-pool 4, at 32x32 pixels
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(512, num_classes)
        self.logit_scale = logit_scale

    def forward(self, images_nchw: Tensor) -> Tensor:
        """Return the logits [n, classes]."""
        features = self.layer3(self.layer2(self.layer1(self.prep(images_nchw))))
        logits: Tensor = self.linear(self.flatten(self.pool(features)))
        return logits if self.logit_scale == 1 else logits * self.logit_scale


class ConvBlock(nn.Sequential):
    """conv 3x3, max-pool where asked, BatchNorm, ReLU."""

    def __init__(self, inputs: int, outputs: int, pool: bool, norm_momentum: float, norm_eps: float) -> None:
        conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        norm = nn.BatchNorm2d(outputs, eps=norm_eps, momentum=norm_momentum)
        # The pooling comes before norm and ReLU: they then run on a quarter of the pixels.
        super().__init__(conv, *([nn.MaxPool2d(2)] if pool else []), norm, nn.ReLU(inplace=True))


class Residual(nn.Sequential):
    """x + blocks(x)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the shape of x."""
        out: Tensor = x + super().forward(x)  # type: ignore[no-untyped-call]
        return out
