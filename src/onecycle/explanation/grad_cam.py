"""Class activation maps from gradients: where in a layer's maps a net finds what speaks for a class.

Shapes: n images, a layer's maps [n, c, h, w], a class activation map an image [n, h, w].
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import UserError, suggestion
from .layers import default_layer, layer_of
from .probing import as_input, checked_targets, probing

METHODS = ("grad_cam", "grad_cam++")


def class_activation(
    net: nn.Module, images_nchw: Tensor, targets: Tensor, *, layer: str | None = None, method: str = "grad_cam"
) -> Tensor:
    """What in each image speaks for its target class: float32 maps [n, h, w] of the layer's size, on the CPU, >= 0.

    `images_nchw` is normalised as the net's training images were; `targets` is a class an image, int64 [n]; `layer` is
    a name out of `net.named_modules()`, by default `default_layer`'s. Each map is a weighted sum of the layer's maps,
    without what is negative, and is not scaled. "grad_cam" weighs by the mean gradient over a map's pixels: Selvaraju
    et al., https://arxiv.org/abs/1610.02391, equations 1 and 2. "grad_cam++" weighs the pixels too, and is for layers
    that end in a ReLU: Chattopadhay et al., https://arxiv.org/abs/1710.11063, equations 5 and 19 for the class score
    Y = exp(logit), less the factor exp(logit), one an image, which would overflow and is gone once a map is scaled.

    The gradient is that of the target's entry in what the net returns: of its logit, or of its log-probability where
    the net ends in a log-softmax. An image's map does not depend on the others in the batch, and the net is left as it
    was. Raises UserError where the layer or the method is unknown, where the layer gives no maps [n, c, h, w], runs
    more than once or not at all or has no part in the result, and where the targets are no classes of the net's.
    """
    return class_activations(net, images_nchw, [targets], layer=layer, method=method)[0]


def class_activations(
    net: nn.Module,
    images_nchw: Tensor,
    targets: Sequence[Tensor],
    *,
    layer: str | None = None,
    method: str = "grad_cam",
) -> list[Tensor]:
    """As `class_activation` for several targets of each image, by a single forward pass."""
    if method not in METHODS:
        raise UserError(f"method {method!r} is unknown; {suggestion(method, METHODS)}")
    name = default_layer(net, images_nchw[:1]) if layer is None else layer
    weigh = _grad_cam_weights if method == "grad_cam" else _grad_cam_pp_weights
    with probing(net) as forward:
        features: list[Tensor] = []

        def cut(_layer: nn.Module, _inputs: object, output: object) -> Tensor:
            if not isinstance(output, Tensor) or output.ndim != 4:
                shape = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
                raise UserError(f"layer {name!r} gives {shape}; a layer that gives maps [n, c, h, w] is needed")
            # All that follows starts from here: what comes before needs no gradients. It gets a copy, as an in-place
            # ReLU would write over the maps.
            features.append(output.detach().requires_grad_())
            return features[-1].clone()

        hook = layer_of(net, name).register_forward_hook(cut)
        try:
            logits_nk = forward(as_input(net, images_nchw))
        finally:
            hook.remove()
        if len(features) != 1:
            raise UserError(f"layer {name!r} runs {len(features)} times in a pass; a layer that runs once is needed")
        features_nchw = features[0]
        found = []
        for classes in targets:
            gradients_nchw = _gradients(
                logits_nk, checked_targets(classes, len(images_nchw), logits_nk), features_nchw, name
            )
            maps, gradients = features_nchw.detach().float(), gradients_nchw.float()
            found.append((weigh(maps, gradients) * maps).sum(1).relu().cpu())
    return found


def _gradients(logits_nk: Tensor, targets: Tensor, features_nchw: Tensor, name: str) -> Tensor:
    """Of each image's target logit; the sum keeps the images apart, as a logit depends on its own image alone."""
    score = logits_nk.gather(1, targets[:, None]).sum()
    if score.requires_grad:
        (gradients,) = torch.autograd.grad(score, features_nchw, retain_graph=True, allow_unused=True)
        if gradients is not None:
            return gradients
    raise UserError(f"layer {name!r} has no part in the logits; name one that they are computed from")


def _grad_cam_weights(features_nchw: Tensor, gradients_nchw: Tensor) -> Tensor:
    """Equation 1: [n, c, 1, 1]."""
    return gradients_nchw.mean((2, 3), keepdim=True)


def _grad_cam_pp_weights(features_nchw: Tensor, gradients_nchw: Tensor) -> Tensor:
    """Equation 5 with the alphas of equation 19: [n, c, 1, 1].

    With g the gradient of the logit, alpha = g^2 / (2 g^2 + g^3 sum(A)) = 1 / (2 + g sum(A)), which stays finite where
    powers of g would underflow. Only a positive g counts: over maps A >= 0 the divisor is 2 or more. Over others it may
    be 0; alpha is then 0.
    """
    divisors = 2 + gradients_nchw * features_nchw.sum((2, 3), keepdim=True)
    return (gradients_nchw.relu() / divisors.masked_fill(divisors == 0, torch.inf)).sum((2, 3), keepdim=True)
