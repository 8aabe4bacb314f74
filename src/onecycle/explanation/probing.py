"""Forward passes from which gradients are taken, and which leave the net as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain

import torch
from torch import Tensor, nn

from ..errors import UserError


@contextmanager
def probing(net: nn.Module) -> Iterator[Callable[[Tensor], Tensor]]:
    """Give the net's forward from images [n, 3, h, w] to logits [n, classes], in eval mode, with gradients recorded.

    It runs on copies of the parameters, which take no gradients, and of the buffers, on the device and in the dtype of
    the parameters. So frozen nets work, callers may be in torch.no_grad or torch.inference_mode, and the net's training
    flags, buffers and `.grad` are afterwards what they were, also where the forward raises.
    """
    with ExitStack() as stack:
        for module in net.modules():
            # flag by flag, as net.train() would also reach the parts that are in eval mode on purpose
            stack.callback(setattr, module, "training", module.training)
        net.eval()
        # Tensors made in inference mode can take no part in a backward pass; copies made outside of it can.
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        state = {name: one.detach().clone() for name, one in chain(net.named_parameters(), net.named_buffers())}
        yield lambda images_nchw: torch.func.functional_call(net, state, (images_nchw,))


def as_input(net: nn.Module, images_nchw: Tensor) -> Tensor:
    """A copy of the images without history, on the device and in the dtype of the net's parameters."""
    like = next((one for one in net.parameters() if one.is_floating_point()), images_nchw)
    return images_nchw.detach().to(like).clone()


def checked_targets(targets: Tensor, count: int, logits_nk: Tensor) -> Tensor:
    """The targets on the logits' device. Raises UserError where they are not one class of the net's an image."""
    classes = logits_nk.shape[1]
    if targets.shape != (count,) or targets.is_floating_point():
        raise UserError(f"targets are {targets.dtype} {list(targets.shape)}; a class an image, int64 [{count}]")
    if count and not 0 <= int(targets.min()) <= int(targets.max()) < classes:
        raise UserError(
            f"targets run from {int(targets.min())} to {int(targets.max())}; 0 to {classes - 1} is needed, "
            f"as the net has {classes} classes"
        )
    return targets.to(logits_nk.device, torch.int64)
