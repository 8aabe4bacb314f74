"""Floating-point operations of training, counted by PyTorch from convolutions and matrix products alone.

A multiply-add is two. What has no product, such as norms and augmentation, is left out, as everywhere in this field; a
convolution counts as what it is by definition, also where it is computed with fewer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import onecycle
from onecycle.data import Augmentation, ImageSet, Loader
from onecycle.hardware import resolve_precision

from .steps import Steps

_COUNTED_IMAGES = 2  # a count is the same for every image


@dataclass(frozen=True)
class StepFlop:
    """GFLOP of a step: for each of its images, and of the optimiser, whatever the batch."""

    an_image: float
    optimizer: float


def training_gflop_of(net: nn.Module, images_nchw: Tensor) -> float:
    """GFLOP an image, forward and backward, on any device, also "meta"; a frozen first conv has no backward."""
    with FlopCounterMode(display=False) as counter:
        net(images_nchw).sum().backward()
    return float(counter.get_total_flops()) / len(images_nchw) / 1e9


def muon_gflop(matrices: Sequence[tuple[int, int]], iterations: int) -> float:
    """GFLOP of the peers' Newton-Schulz steps on matrices of these rows and columns: X X', its square, that times X."""
    flop = 0
    for rows, columns in matrices:
        short, long = sorted((rows, columns))
        flop += iterations * (2 * 2 * short**2 * long + 2 * short**3)
    return flop / 1e9


def step_flop(recipe: onecycle.Recipe, images: ImageSet, side: int) -> StepFlop:
    """Counted on a real step of the recipe with images of that side, on the CPU."""
    cpu = torch.device("cpu")
    precision = "fp32" if recipe.precision == "fp16" else resolve_precision(recipe.precision, cpu)
    few = recipe.evolve(precision=precision, compile="none", data={"batch_size": _COUNTED_IMAGES, "train_limit": None})
    steps = Steps(few, images.subset(np.arange(_COUNTED_IMAGES)), cpu, side=side)
    steps.fast_layers = False
    batch = next(steps.batches())
    with FlopCounterMode(display=False) as counter:
        loss = steps.loss(steps.forward(batch), batch)
        steps.backward(loss)
    of_images = counter.get_total_flops()
    with FlopCounterMode(display=False) as counter:
        steps.update()
    return StepFlop(of_images / _COUNTED_IMAGES / 1e9, counter.get_total_flops() / 1e9)


def run_pflop(recipe: onecycle.Recipe, images: ImageSet) -> float:
    """PFLOP of a whole training on these images, at each epoch's own side; evaluation is left out."""
    augmentation = Augmentation(**recipe.augment.model_dump())
    data = recipe.data
    loader = Loader(images, batch_size=data.batch_size, drop_last=data.drop_last, hardest=data.hardest)
    sides = [augmentation.side(epoch, images.image_size) for epoch in range(recipe.epochs)]
    by_side = {side: step_flop(recipe, images, side) for side in sorted(set(sides))}
    gflop = (
        loader.seen(epoch) * by_side[side].an_image + loader.steps(epoch) * by_side[side].optimizer
        for epoch, side in enumerate(sides)
    )
    return sum(gflop) / 1e6
