"""A net under 200,000 parameters: stride-2 convs for pooling, a depthwise-separable, a dilated, inverted residuals."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from .custom_resnet import Residual
from .norms import EPS, MOMENTUM, Norm, Norms


def compact(
    num_classes: int,
    *,
    norm: Norm = "batch",
    norm_momentum: Annotated[float, Field(gt=0, le=1)] = MOMENTUM,
    norm_eps: Annotated[float, Field(gt=0)] = EPS,
) -> Compact:
    """Build the net. The kinds of norm are `Norms`', the defaults PyTorch's.

    Raises UserError where `norm_momentum` is set for a norm that has none.
    """
    return Compact(num_classes, Norms(norm, norm_momentum, norm_eps))


class Compact(nn.Module):
    """Images [n, 3, h, w] to logits [n, classes]. 190,762 parameters for 10 classes, 23 million multiply-adds.

    Four blocks, at 32x32 pixels on maps of 32, 16, 8 and 4 pixels a side; each but the first begins with a 3x3 conv of
    stride 2. block1: two 3x3 convs. block2: a depthwise-separable conv. block3: a conv of dilation 2, an inverted
    residual. block4: an inverted residual, a 1x1 conv. Average over all pixels; linear. No dropout.

    What is depthwise has stride and dilation 1: others run 5 to 15 times slower on a CPU than a full conv.
    """

    explained_layer = "block4"  # the last maps, of 4 x 4 pixels where images have 32
    head_layer = "linear"  # gives the logits; begins anew where an earlier run had other classes

    def __init__(self, num_classes: int, norms: Norms) -> None:
        super().__init__()
        self.block1 = nn.Sequential(Conv(3, 32, norms), Conv(32, 32, norms))
        self.block2 = nn.Sequential(Conv(32, 64, norms, stride=2), DepthwiseSeparable(64, 64, norms))
        self.block3 = nn.Sequential(
            Conv(64, 64, norms, stride=2), Conv(64, 64, norms, dilation=2), inverted_residual(64, 128, norms)
        )
        self.block4 = nn.Sequential(
            Conv(64, 64, norms, stride=2), inverted_residual(64, 128, norms), Conv(64, 128, norms, size=1)
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(128, num_classes)

    def forward(self, images_nchw: Tensor) -> Tensor:
        """Return the logits [n, classes]."""
        features = self.block4(self.block3(self.block2(self.block1(images_nchw))))
        logits: Tensor = self.linear(self.flatten(self.pool(features)))
        return logits


class Conv(nn.Sequential):
    """A conv without bias that keeps the size, but for its stride; norm; ReLU where it is `active`."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        norms: Norms,
        *,
        size: int = 3,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        active: bool = True,
    ) -> None:
        padding = dilation * (size // 2)
        conv = nn.Conv2d(inputs, outputs, size, stride, padding, dilation, groups, bias=False)
        super().__init__(conv, norms(outputs), *([nn.ReLU(inplace=True)] if active else []))


class DepthwiseSeparable(nn.Sequential):
    """A 3x3 conv of each channel by itself, then a 1x1 conv across them. https://arxiv.org/abs/1704.04861."""

    def __init__(self, inputs: int, outputs: int, norms: Norms) -> None:
        super().__init__(Conv(inputs, inputs, norms, groups=inputs), Conv(inputs, outputs, norms, size=1))


def inverted_residual(channels: int, hidden: int, norms: Norms) -> Residual:
    """MobileNetV2's block: 1x1 to `hidden` channels, 3x3 depthwise, 1x1 back without ReLU, residual around all.

    Source: Sandler et al., https://arxiv.org/abs/1801.04381; with ReLU for its ReLU6, which is for fixed-point numbers.
    """
    return Residual(
        Conv(channels, hidden, norms, size=1),
        Conv(hidden, hidden, norms, groups=hidden),
        Conv(hidden, channels, norms, size=1, active=False),
    )
