"""Augmentation alone: ours a batch at a time, and the usual one, an image at a time in worker processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from onecycle.data import Augmentation, Dataset, ImageSet, Loader

from .settings import Samples, Settings


def measure_augmentation(settings: Settings, images: Dataset, samples: Samples) -> None:
    """Whole epochs of our loader, planning included, its kinds in turn, with the usual one while it takes part."""
    loaders = {
        f"augment_{padding}_{name}": our_loader(settings.batch, images.train, padding, dtype)
        for name, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32))
        for padding in ("zeros", "reflect")
    }
    pipeline = usual_pipeline(images.train)
    for epoch in range(settings.epochs + 1):
        rates = {name: our_rate(loader, epoch) for name, loader in loaders.items()}
        if epoch == 0:
            continue  # the warm-up
        if pipeline and epoch <= settings.usual_epochs:
            rates["augment_usual"] = usual_rate(settings, pipeline)
        for name, rate in rates.items():
            samples[name].append([rate])


def our_rate(loader: Loader, epoch: int) -> float:
    """Images/s over an epoch."""
    begin = time.perf_counter()
    seen = sum(len(batch.labels) for batch in loader.epoch(epoch))
    return seen / (time.perf_counter() - begin)


def our_loader(batch_size: int, images: ImageSet, padding: Any, dtype: torch.dtype) -> Loader:
    """Crop, flip, cutout and normalisation, as the recipes have them."""
    return Loader(images, batch_size=batch_size, augmentation=Augmentation(padding=padding), dtype=dtype)


def usual_rate(settings: Settings, pipeline: PerImage) -> float:
    """Images/s over an epoch, without the first batches, for which the workers had to start."""
    batches = iter(usual_loader(settings.batch, pipeline))
    for _ in range(settings.usual_warmup_batches):
        next(batches)
    begin = time.perf_counter()
    seen = sum(len(labels) for _, labels in batches)
    return seen / (time.perf_counter() - begin)


def usual_loader(batch_size: int, pipeline: PerImage) -> DataLoader[tuple[Tensor, Tensor]]:
    """Two workers, shuffled, over the whole set: in a shorter one the last batches would be ready beforehand."""
    return DataLoader(pipeline, batch_size, shuffle=True, num_workers=2)  # type: ignore[arg-type]


def usual_pipeline(images: ImageSet) -> PerImage | None:
    """The same augmentation by albumentations; None where that is not installed."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # or importing it asks the network for a newer version
    try:
        import albumentations
        from albumentations.pytorch import ToTensorV2
    except ImportError:
        return None
    mean, std = images.channel_statistics()
    steps = [
        albumentations.PadIfNeeded(40, 40, fill=0),
        albumentations.RandomCrop(32, 32),
        albumentations.HorizontalFlip(p=0.5),
        albumentations.CoarseDropout(
            num_holes_range=(1, 1),
            hole_height_range=(8, 8),
            hole_width_range=(8, 8),
            fill=tuple(255 * level for level in mean),
            p=1.0,
        ),
        albumentations.Normalize(mean, std),
        ToTensorV2(),
    ]
    return PerImage(images, albumentations.Compose(steps))


class PerImage(TorchDataset[tuple[Tensor, int]]):
    """Images that are augmented one by one."""

    def __init__(self, images: ImageSet, transform: Callable[..., dict[str, Any]]) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(image=self.images.images_nhwc[index])["image"], int(self.images.labels[index])
