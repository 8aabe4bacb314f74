"""A convolutional net of six trained convs behind fixed whitening: little arithmetic, learned in a few epochs."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

Activation = Literal["gelu", "silu", "relu"]
Width = Annotated[int, Field(ge=1, le=4096)]

_ACTIVATIONS: dict[str, type[nn.Module]] = {"gelu": nn.GELU, "silu": nn.SiLU, "relu": nn.ReLU}
_EIGENVALUE_EPS = 5e-4  # added to a patch's variance along each eigenvector, so that noise is not blown up


def whitened_convnet(
    num_classes: int,
    *,
    widths: tuple[Width, Width, Width] = (64, 256, 256),
    activation: Activation = "gelu",
    norm_momentum: Annotated[float, Field(gt=0, le=1)] = 0.4,
    norm_eps: Annotated[float, Field(gt=0)] = 1e-5,
) -> WhitenedConvNet:
    """Build the net; `widths` are the channels of its three stages.

    `norm_momentum` is the weight of a batch in BatchNorm's running statistics; the norms have shifts and no scales.
    Source: airbench94, https://arxiv.org/abs/2404.00498, which goes back to David Page's and Tysam's nets.
    """
    return WhitenedConvNet(num_classes, widths, activation=activation, norm_momentum=norm_momentum, norm_eps=norm_eps)


class WhitenedConvNet(nn.Module):
    """Images [n, 3, h, w] of 9x9 pixels or more to logits [n, classes].

    whitening: conv 2x2 to 24 channels, fixed; three stages of conv 3x3, max-pool, norm, activation, conv 3x3, norm,
    activation; max-pool to one pixel; linear without bias. A stage's filters begin as the identity where they can, the
    linear layer small.
    """

    explained_layer = "stage3"
    head_layer = "linear"  # gives the logits; begins anew where an earlier run had other classes

    def __init__(
        self,
        num_classes: int,
        widths: tuple[int, int, int],
        *,
        activation: Activation,
        norm_momentum: float,
        norm_eps: float,
    ) -> None:
        super().__init__()

        def stage(inputs: int, outputs: int) -> nn.Sequential:
            return nn.Sequential(
                _conv(inputs, outputs),
                nn.MaxPool2d(2),
                ShiftedNorm(outputs, norm_eps, norm_momentum),
                _ACTIVATIONS[activation](),
                _conv(outputs, outputs),
                ShiftedNorm(outputs, norm_eps, norm_momentum),
                _ACTIVATIONS[activation](),
            )

        self.whitening = Whitening()
        self.activation = _ACTIVATIONS[activation]()
        self.stage1 = stage(self.whitening.out_channels, widths[0])
        self.stage2 = stage(widths[0], widths[1])
        self.stage3 = stage(widths[1], widths[2])
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(widths[2], num_classes, bias=False)
        # Weights and logits are both scaled by 1 / sqrt(width). airbench has 1 and 1 / width: the same function, of
        # weights that are larger than all else that AdamW trains.
        self.logit_scale = widths[2] ** -0.5
        nn.init.normal_(self.linear.weight, std=self.logit_scale)

    def initialize_from(self, images_nchw: Tensor) -> None:
        """Set the whitening from normalised training images [n, 3, h, w], before the first step."""
        self.whitening.initialize_from(images_nchw)

    def forward(self, images_nchw: Tensor) -> Tensor:
        """Return the logits [n, classes]."""
        features = self.stage3(self.stage2(self.stage1(self.activation(self.whitening(images_nchw)))))
        logits: Tensor = self.linear(self.flatten(self.pool(features))) * self.logit_scale
        return logits


class Whitening(nn.Conv2d):
    """Patches of 2x2 pixels projected on their eigenvectors, each scaled to variance 1, and the negatives of these.

    Random directions of length 1 until `initialize_from` is called. It does not train.
    """

    def __init__(self, side: int = 2) -> None:
        super().__init__(3, 2 * 3 * side**2, side, bias=False)
        directions = nn.init.orthogonal_(torch.empty(3 * side**2, 3 * side**2)).view(-1, 3, side, side)
        self.weight = nn.Parameter(torch.cat([directions, -directions]), requires_grad=False)

    @torch.no_grad()
    def initialize_from(self, images_nchw: Tensor) -> None:
        """Take the eigenvectors from the patches of images [n, 3, h, w], by their second moments."""
        size = self.weight.shape[1:]
        patches = images_nchw.float().unfold(2, size[1], 1).unfold(3, size[2], 1)  # [n, 3, rows, columns, side, side]
        vectors = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, size.numel())
        moments = (vectors.T @ vectors).double() / len(vectors)
        eigenvalues, eigenvectors = torch.linalg.eigh(moments)
        filters = (eigenvectors / (eigenvalues + _EIGENVALUE_EPS).sqrt()).T.reshape(-1, *size)
        self.weight.copy_(torch.cat([filters, -filters]))


class ShiftedNorm(nn.BatchNorm2d):
    """BatchNorm with a shift and no scale."""

    def __init__(self, channels: int, eps: float, momentum: float) -> None:
        super().__init__(channels, eps=eps, momentum=momentum)
        self.weight.requires_grad_(False)


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    nn.init.dirac_(conv.weight.data[: min(inputs, outputs)])
    return conv
