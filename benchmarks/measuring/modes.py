"""How a recipe's net is best compiled on a device: whole steps timed in modes of torch.compile, at its plan's sides."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

import onecycle
from onecycle.data import Augmentation, ImageSet
from onecycle.hardware import device_name

from .steps import Steps

COLUMNS = ("recipe", "compile", "side", "epochs", "batch", "ms", "ms_min", "ms_max", "n", "compile_seconds", "hardware")


def timed(
    recipe: onecycle.Recipe, images: ImageSet, device: torch.device, modes: Sequence[str], *, steps: int, warmup: int
) -> Iterator[dict[str, Any]]:
    """A row for each mode and side; a mode that does not work here has none."""
    augmentation = Augmentation(**recipe.augment.model_dump())
    sides = Counter(augmentation.side(epoch, images.image_size) for epoch in range(recipe.epochs))
    whole = recipe.evolve(data={"drop_last": True})
    for mode in modes:
        for side, epochs in sorted(sides.items()):
            try:
                made = Steps(whole.evolve(compile=mode), images, device, side=side)
            except onecycle.UserError as error:
                print(f"{recipe.name}: {error}")
                break
            ms = [1000 * seconds for seconds in made.seconds(steps, warmup)]
            row = {
                "recipe": recipe.name,
                "compile": mode,
                "side": side,
                "epochs": epochs,
                "batch": recipe.data.batch_size,
                "ms": statistics.median(ms),
                "ms_min": min(ms),
                "ms_max": max(ms),
                "n": len(ms),
                "compile_seconds": made.compile_seconds,
                "hardware": device_name(device),
            }
            yield {key: float(f"{value:.5g}") if isinstance(value, float) else value for key, value in row.items()}


def fastest(rows: Sequence[Mapping[str, Any]]) -> str:
    """The mode whose steps take the least time over the plan, of those that have a row for each side."""
    by_mode: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        by_mode[row["compile"]].append(row)
    sides = max(map(len, by_mode.values()))
    whole = {mode: own for mode, own in by_mode.items() if len(own) == sides}
    return min(whole, key=lambda mode: sum(row["epochs"] * row["ms"] for row in whole[mode]))
