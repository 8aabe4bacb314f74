"""How the cost of a step grows with the batch, the net's width and the image side; and an epoch's, with the set."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import onecycle
from onecycle.data import Augmentation, ImageSet, Loader
from onecycle.hardware import AUTOCAST_DTYPES, resolve_precision, reused_memory, synchronize

from .flops import step_flop
from .rates import matrix_rate
from .steps import Steps

COLUMNS = (
    *("recipe", "varied", "value", "batch", "side", "seconds", "seconds_min", "seconds_max", "n", "images_per_second"),
    *("gflop", "gflops", "matrix_gflops", "share_of_matrix", "precision"),
)
BATCH, WIDTH, SIDE = "batch", "width", "side"
PLANNING, AUGMENTING = "set: planning an epoch", "set: planning and augmenting an epoch"


@dataclass(frozen=True)
class Range:
    """What is measured, and how often: steps after the warm-up, epochs after the first."""

    batches: Sequence[int] = (32, 64, 128, 256, 512, 1024)
    widths: Sequence[float] = (0.25, 0.5, 1.0, 1.5, 2.0)  # times the net's own
    sides: Sequence[int] = (16, 20, 24, 28, 32, 40, 48)
    sets: Sequence[int] = (1000, 5000, 10_000, 20_000, 50_000)
    steps: int = 3
    warmup: int = 1
    epochs: int = 3
    batch: int | None = None  # where it is not varied; None: the recipe's


def grown(recipe: onecycle.Recipe, images: ImageSet, device: torch.device, over: Range) -> Iterator[dict[str, Any]]:
    """The rows of a recipe, one by one. A net is made wider where it has `widths`, and left out there otherwise."""
    batch, size = over.batch or recipe.data.batch_size, images.image_size
    rate = matrix_rate(device, resolve_precision(recipe.precision, device))
    for value in over.batches:
        yield _step_row(recipe, images, device, over, rate, varied=BATCH, value=value, batch=value, side=size)
    widths = recipe.model.options.get("widths")
    for factor in over.widths if widths else ():
        wider = recipe.evolve(model={"widths": tuple(max(1, round(factor * width)) for width in widths or ())})
        yield _step_row(wider, images, device, over, rate, varied=WIDTH, value=factor, batch=batch, side=size)
    for side in over.sides:
        yield _step_row(recipe, images, device, over, rate, varied=SIDE, value=side, batch=batch, side=side)
    for count in over.sets:
        if count <= len(images):
            yield from _set_rows(recipe, images.subset(np.arange(count)), device, over, batch)


def _step_row(
    recipe: onecycle.Recipe,
    images: ImageSet,
    device: torch.device,
    over: Range,
    rate: float,
    *,
    varied: str,
    value: float,
    batch: int,
    side: int,
) -> dict[str, Any]:
    """Whole steps, augmentation and optimiser included."""
    batched = recipe.evolve(data={"batch_size": batch, "drop_last": True})
    few = images.subset(np.arange(min(2 * batch, len(images))))
    steps = Steps(batched, few, device, side=side)
    seconds = steps.seconds(over.steps, over.warmup)
    flop = step_flop(recipe, images, side)
    gflop = batch * flop.an_image + flop.optimizer
    gflops = gflop / statistics.median(seconds)
    return _row(
        recipe,
        {"varied": varied, "value": value, "batch": batch, "side": side},
        seconds,
        images=batch,
        gflop=gflop,
        gflops=gflops,
        matrix_gflops=rate,
        share_of_matrix=gflops / rate,
        precision=steps.recipe.precision,
    )


def _set_rows(
    recipe: onecycle.Recipe, images: ImageSet, device: torch.device, over: Range, batch: int
) -> Iterator[dict[str, Any]]:
    """What an epoch costs before any net: the plan alone, and with the augmentation of all its batches."""
    precision = resolve_precision(recipe.precision, device)
    loader = Loader(
        images,
        batch_size=min(batch, len(images)),
        augmentation=Augmentation(**recipe.augment.model_dump()),
        device=device,
        dtype=AUTOCAST_DTYPES.get(precision, torch.float32),
    )
    actions: dict[str, Callable[[int], object]] = {
        PLANNING: loader.plan,
        AUGMENTING: lambda epoch: sum(len(one.labels) for one in loader.epoch(epoch)),
    }
    for varied, action in actions.items():
        seconds = []
        with reused_memory(device):
            for epoch in range(over.epochs + 1):
                begin = time.perf_counter()
                action(epoch)
                synchronize(device)
                seconds.append(time.perf_counter() - begin)
        about = {"varied": varied, "value": len(images), "batch": loader.batch_size, "side": None}
        yield _row(recipe, about, seconds[1:], images=len(images), precision=precision)


def _row(
    recipe: onecycle.Recipe, about: dict[str, Any], seconds: Sequence[float], *, images: int, **more: Any
) -> dict[str, Any]:
    median = statistics.median(seconds)
    row = {
        "recipe": recipe.name,
        **about,
        "seconds": median,
        "seconds_min": min(seconds),
        "seconds_max": max(seconds),
        "n": len(seconds),
        "images_per_second": images / median,
        **more,
    }
    return {key: float(f"{value:.5g}") if isinstance(value, float) else value for key, value in row.items()}
