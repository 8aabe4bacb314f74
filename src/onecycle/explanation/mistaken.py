"""What a net saw in the images that it got wrong, for the class that it predicted and for the true one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..data import ImageSet, Loader
from ..evaluation import Mistakes
from .grad_cam import class_activations
from .layers import default_layer
from .saliency import integrated_gradients

BATCH_SIZE = 128

Maps = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Activations:
    """Class activation maps of m mistakes at `layer`, for the class predicted and for the true one: [m, h, w] each.

    They are at the layer's own resolution, in 0..1: each map is divided by its maximum; one that is all zero stays so.
    """

    layer: str
    method: str
    of_predicted: Maps
    of_true: Maps

    def __len__(self) -> int:
        return len(self.of_predicted)


@dataclass(frozen=True, eq=False)
class Saliency:
    """Integrated gradients of m mistakes, for the class predicted and for the true one: [m, h, w] each, with signs."""

    of_predicted: Maps
    of_true: Maps

    def __len__(self) -> int:
        return len(self.of_predicted)


def explain(
    net: nn.Module,
    images: ImageSet,
    mistakes: Mistakes,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device | str = "cpu",
    layer: str | None = None,
    method: str = "grad_cam",
    batch_size: int = BATCH_SIZE,
) -> Activations:
    """The class activation maps of the mistakes, in their order; see `class_activation`.

    `mistakes` are of the set `images`; `mean` and `std` (a channel, of pixels in 0..1) are those of the training; the
    net is on `device`. Without mistakes the maps are [0, 1, 1]. Raises UserError as `class_activation` does.
    """
    size = images.image_size
    name = default_layer(net, torch.zeros(1, 3, size, size)) if layer is None else layer

    def of_batch(images_nchw: Tensor, predicted: Tensor, true: Tensor) -> list[Tensor]:
        return class_activations(net, images_nchw, [predicted, true], layer=name, method=method)

    loader = Loader(images.subset(mistakes.index), batch_size=batch_size, mean=mean, std=std, device=device)
    of_predicted, of_true = _of_both(loader, mistakes, of_batch)
    return Activations(name, method, _scaled(of_predicted), _scaled(of_true))


def saliency(
    net: nn.Module,
    images: ImageSet,
    mistakes: Mistakes,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device | str = "cpu",
    steps: int = 50,
    batch_size: int = BATCH_SIZE,
) -> Saliency:
    """The saliency of the mistakes' pixels, in their order, by integrated gradients; see `integrated_gradients`.

    The other arguments are as for `explain`. Raises UserError as `integrated_gradients` does.
    """

    def of_batch(images_nchw: Tensor, predicted: Tensor, true: Tensor) -> list[Tensor]:
        return [integrated_gradients(net, images_nchw, classes, steps=steps) for classes in (predicted, true)]

    loader = Loader(images.subset(mistakes.index), batch_size=batch_size, mean=mean, std=std, device=device)
    return Saliency(*_of_both(loader, mistakes, of_batch))


def _of_both(
    loader: Loader, mistakes: Mistakes, of_batch: Callable[[Tensor, Tensor, Tensor], list[Tensor]]
) -> tuple[Maps, Maps]:
    """The maps that `of_batch` gives for the images and their classes, predicted and true, put together."""
    if not len(mistakes):
        none = np.zeros((0, 1, 1), np.float32)
        return none, none
    targets = torch.from_numpy(np.stack([mistakes.predicted, mistakes.true])).split(loader.batch_size, dim=1)
    maps = [
        torch.stack(of_batch(batch.images_nchw, *classes))
        for batch, classes in zip(loader.in_order(), targets, strict=True)
    ]
    of_predicted, of_true = torch.cat(maps, dim=1).numpy()
    return of_predicted, of_true


def _scaled(maps: Maps) -> Maps:
    """Each map [m, h, w] divided by its maximum, where that is above 0."""
    maxima = maps.max(axis=(1, 2), keepdims=True)
    return np.asarray(maps / np.where(maxima > 0, maxima, 1))
