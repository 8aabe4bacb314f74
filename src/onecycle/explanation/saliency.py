"""Saliency of single pixels, through captum (extra `explain`)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import UserError
from .probing import as_input, checked_targets, probing

_AT_ONCE = 128  # images in a pass, whose maps of all layers are kept: half a gigabyte for the custom ResNet


def integrated_gradients(net: nn.Module, images_nchw: Tensor, targets: Tensor, *, steps: int = 50) -> Tensor:
    """How much each pixel adds to the logit of its image's target class: float32 [n, h, w], on the CPU.

    The gradient times the way, along the straight line from the baseline to the image, in `steps` points: Sundararajan
    et al., https://arxiv.org/abs/1703.01365, equation 1. The baseline is 0 after normalising, an image of the training
    set's mean colour. The channels are summed with their signs: what is below 0 speaks against the class, and an
    image's pixels sum to its logit less that of the baseline, the closer the more steps there are.

    `images_nchw` and `targets` are as for `class_activation`, the net is left as it was. Raises UserError where captum
    is missing, where `steps` is below 1, and where the targets are no classes of the net's.
    """
    try:
        from captum.attr import IntegratedGradients
    except ImportError:
        raise UserError("integrated gradients need captum; pip install 'onecycle[explain]'") from None
    if steps < 1:
        raise UserError(f"steps {steps} is below 1")
    with probing(net) as forward:
        images = as_input(net, images_nchw)
        with torch.no_grad():
            targets = checked_targets(targets, len(images), forward(images[:1]))
        method = IntegratedGradients(forward)
        found = [
            method.attribute(some.requires_grad_(), target=classes, n_steps=steps, internal_batch_size=_AT_ONCE)
            for some, classes in zip(images.split(_AT_ONCE), targets.split(_AT_ONCE), strict=True)
        ]
    return torch.cat(found).detach().sum(1).float().cpu()
