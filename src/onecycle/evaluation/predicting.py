"""A set's logits from a net, predicted once: every metric is read from them."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data import Loader
from ..distributed import World

Forward = Callable[[Tensor], Tensor]

_ALONE = World(torch.device("cpu"))


def predict_logits(
    net: nn.Module,
    loader: Loader,
    *,
    tta: str = "none",
    samples: Tensor | None = None,
    on_batch: Callable[[], None] = lambda: None,
    world: World = _ALONE,
) -> Tensor:
    """Float32 logits [n, classes] on the CPU, in the set's order or that of `samples`, without augmentation.

    `tta` is "none", "flip" or "flip_shift", see `with_tta`. `on_batch` is called after each batch; what it raises ends
    the evaluation. The net is left in the mode in which it came. The processes of a `world` predict a run of batches
    each, the same that one process would make; rank 0 gets the logits of all, the others their own.
    """
    wanted = torch.arange(loader.samples) if samples is None else samples
    dealt = world.split(wanted.split(loader.batch_size))
    own = dealt[world.rank]
    logits = [torch.empty(0)]
    training = net.training
    forward = with_tta(net, tta)
    net.eval()
    try:
        with torch.inference_mode():
            if own:
                logits = []
                for batch in loader.in_order(torch.cat(list(own))):
                    logits.append(forward(batch.images_nchw).float())
                    on_batch()
            for _ in range(max(map(len, dealt)) - len(own)):  # as often as those that have a batch more
                on_batch()
            return world.gather_rows(torch.cat(logits).cpu(), [sum(map(len, part)) for part in dealt])
    finally:
        net.train(training)


def predict_unsure(
    net: nn.Module,
    loader: Loader,
    logits_nk: Tensor,
    *,
    tta: str,
    share: float = 1.0,
    on_batch: Callable[[], None] = lambda: None,
    world: World = _ALONE,
) -> Tensor:
    """The logits with those of the least sure `share` of the images averaged over views, as `with_tta` says.

    `logits_nk` are those of the images as they are. In a `world` this is so on rank 0; others get what they gave.
    """
    unsure = world.run_on_first(lambda: least_sure(logits_nk, share))
    views = predict_logits(net, loader, tta=tta, samples=unsure, on_batch=on_batch, world=world)
    return logits_nk.index_copy(0, unsure, views) if world.first else logits_nk


def least_sure(logits_nk: Tensor, share: float) -> Tensor:
    """The rows [m], ascending, of that share of all, at least one, whose two largest probabilities are nearest.

    After https://github.com/hiverge/cifar10-speedrun, which goes by the largest probability alone.
    """
    largest = logits_nk.softmax(1).topk(min(2, logits_nk.shape[1])).values
    margin = largest[:, 0] - largest[:, -1]
    return margin.argsort(stable=True)[: max(round(share * len(margin)), 1)].sort().values


def accuracy(logits_nk: Tensor, labels: Tensor) -> float:
    """The fraction of rows whose largest logit is the label's."""
    return (logits_nk.argmax(1) == labels).double().mean().item()


def cross_entropy(logits_nk: Tensor, labels: Tensor) -> float:
    """Mean cross-entropy in nats, without label smoothing."""
    return F.cross_entropy(logits_nk.double(), labels).item()


def with_tta(forward: Forward, tta: str) -> Forward:
    """Average the logits over views of the images.

    "flip": the image and its mirror. "flip_shift": these, and both shifted by one pixel up-left and down-right with
    reflected edges, the unshifted ones weighing half; as airbench does, https://arxiv.org/abs/2404.00498.
    """

    def mirrored(images: Tensor) -> Tensor:
        return (forward(images) + forward(images.flip(3))) / 2

    def shifted(images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        padded = F.pad(images, (1, 1, 1, 1), mode="reflect").contiguous(memory_format=torch.channels_last)
        corners = [padded[:, :, :height, :width], padded[:, :, 2:, 2:]]
        return mirrored(images) / 2 + (mirrored(corners[0]) + mirrored(corners[1])) / 4

    return {"none": forward, "flip": mirrored, "flip_shift": shifted}[tta]
