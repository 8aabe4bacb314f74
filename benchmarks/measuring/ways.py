"""A training step the usual way, and with one thing more at a time of those that the loop does."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import torch
from torch import Tensor

import onecycle
from onecycle.data import Batch, ImageSet
from onecycle.hardware import resolve_precision
from onecycle.layers import matrix_units, native

from .flops import step_flop
from .rates import matrix_rate
from .steps import Steps

COLUMNS = (
    *("recipe", "way", "batch", "precision", "ms", "ms_min", "ms_max", "n", "faster", "faster_min", "faster_max"),
    *("images_per_second", "gflops", "matrix_gflops", "share_of_matrix"),
)


@dataclass(frozen=True)
class Way:
    """How a step is computed; what is not named is left as everybody begins."""

    name: str
    channels_last: bool = False
    fast_layers: bool = False
    native: tuple[str, ...] = ()  # which of their C++ files are used
    precision: str = "fp32"
    one_update: bool = False
    keep_memory: bool = False
    compile: str = "none"


def ways(precision: str, device: torch.device, *, one_update: bool) -> list[Way]:
    """From the usual way to the loop's, and that compiled; `one_update` where the optimiser can update all at once."""
    found = [Way("float32, channels first")]
    cpu = device.type == "cpu"
    loops = {"fast_layers": True, "native": ("loops",)} if cpu and native.library("loops") else {}
    units = cpu and precision == "bf16" and matrix_units.is_available()
    more: dict[str, dict[str, Any]] = {
        "channels last": {"channels_last": True},
        precision: {"precision": precision},
        "Winograd's convolutions": {"fast_layers": cpu and precision == "fp32"},
        "loops in C++": loops,
        "full matrix units": {"native": ("loops", "convolution")} if units else {},
        "one update": {"one_update": True},
        "memory kept": {"keep_memory": True},
        "compiled": {"compile": "default"},
    }
    for name, change in more.items():
        if replace(found[-1], **change) != found[-1] and (one_update or name != "one update"):
            found.append(replace(found[-1], name=name, **change))
    return found


class WaySteps(Steps):
    """Steps of a recipe, computed in one of the ways."""

    def __init__(self, recipe: onecycle.Recipe, images: ImageSet, device: torch.device, way: Way) -> None:
        self._layout = torch.channels_last if way.channels_last else torch.contiguous_format
        changed = recipe.evolve(precision=way.precision, compile=way.compile)
        super().__init__(changed, images, device, side=images.image_size)
        self.state.net.to(memory_format=self._layout)  # type: ignore[call-overload]
        self.fast_layers = way.fast_layers and way.compile == "none"
        self._native = way.native
        if not way.one_update:
            for group in self.state.optimizer.param_groups:
                group.update({key: False for key in ("fused", "foreach") if key in group})

    def batches(self) -> Iterator[Batch]:
        """The same images, with their channels where the way has them."""
        for batch in super().batches():
            yield batch._replace(images_nchw=batch.images_nchw.contiguous(memory_format=self._layout))

    def forward(self, batch: Batch) -> Tensor:
        """The logits, by the layers that the way has."""
        library = native.library
        with mock.patch.object(native, "library", lambda name: library(name) if name in self._native else None):
            return super().forward(batch)


def compared(
    recipe: onecycle.Recipe, images: ImageSet, device: torch.device, *, rounds: int, steps: int
) -> list[dict[str, Any]]:
    """A row for each way: in each round all of them take turns, each with a step to warm up and so many that count."""
    precision = resolve_precision(recipe.precision, device)
    optimizer = Steps(recipe, images, device).state.optimizer
    sides = ways(precision, device, one_update=any(group.get("fused") for group in optimizer.param_groups))
    steps_of = [WaySteps(recipe, images, device, way) for way in sides]
    seconds: list[list[list[float]]] = [[] for _ in sides]
    rates: dict[str, list[float]] = {way.precision: [] for way in sides}
    for _ in range(rounds):
        for of_precision, found in rates.items():
            found.append(matrix_rate(device, of_precision))
        for way, made, rounds_of in zip(sides, steps_of, seconds, strict=True):
            rounds_of.append(made.seconds(steps, warmup=1, keep_memory=way.keep_memory))
    flop, batch = step_flop(recipe, images, images.image_size), recipe.data.batch_size
    gflop = batch * flop.an_image + flop.optimizer
    return [
        {"recipe": recipe.name, "way": way.name, "batch": batch, "precision": way.precision}
        | _measured(own, before, batch, gflop, statistics.median(rates[way.precision]))
        for way, own, before in zip(sides, seconds, [[], *seconds], strict=False)
    ]


def _measured(
    rounds: Sequence[list[float]], before: Sequence[list[float]], batch: int, gflop: float, rate: float
) -> dict[str, Any]:
    all_ms = [1000 * one for one in itertools.chain.from_iterable(rounds)]
    ms = statistics.median(all_ms)
    faster = [statistics.median(theirs) / statistics.median(own) for own, theirs in zip(rounds, before, strict=False)]
    gflops = 1000 * gflop / ms
    row = {
        "ms": ms,
        "ms_min": min(all_ms),
        "ms_max": max(all_ms),
        "n": len(all_ms),
        "faster": statistics.median(faster) if faster else None,
        "faster_min": min(faster, default=None),
        "faster_max": max(faster, default=None),
        "images_per_second": 1000 * batch / ms,
        "gflops": gflops,
        "matrix_gflops": rate,
        "share_of_matrix": gflops / rate,
    }
    return {key: float(f"{value:.5g}") if isinstance(value, float) else value for key, value in row.items()}
