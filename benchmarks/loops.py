"""Pooling, BatchNorm and activations on a processor: the loops in C++ beside PyTorch's own operations, in time.

    python benchmarks/loops.py [--precision fp32 bf16] [--images 512] [--rounds 7] [--out DIR]

Layers as the custom ResNet has them on images of 32 pixels a side, and fast94's net: forward and backward, channels
last, on normally distributed values. Both sides take turns; `faster` is the median over the rounds, of forward and
backward together, and `used` whether a training would take ours. How far either is from float64 is what
tests/test_fast_layers.py holds. Nothing else should be running. The table goes to
benchmarks/results/loops_HARDWARE.csv, the environment to .json.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from measuring.arguments import RESULTS, positive, run
from measuring.hardware import hardware_slug
from rich.console import Console
from torch import Tensor, nn

import onecycle
from onecycle.files import write_csv, write_json
from onecycle.hardware import environment, resolve_precision, reused_memory
from onecycle.layers import native

LAYERS = {"max-pooling": nn.MaxPool2d(2), "BatchNorm": None, "ReLU": nn.ReLU(inplace=True), "GELU": nn.GELU()}
SHAPES = {
    "max-pooling": [(128, 32), (256, 16), (512, 8), (64, 31), (256, 15)],
    "BatchNorm": [(64, 32), (128, 16), (256, 8), (64, 15), (256, 7), (256, 3)],
    "ReLU": [(64, 32), (128, 16), (256, 8)],
    "GELU": [(24, 31), (64, 15), (256, 7), (256, 3)],
}
COLUMNS = (
    *("layer", "channels", "side", "images", "precision", "pytorch_forward_ms", "ours_forward_ms"),
    *("pytorch_backward_ms", "ours_backward_ms", "n", "faster", "faster_min", "faster_max", "used"),
)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description="Our loops beside PyTorch's own operations.")
    parser.add_argument("--precision", nargs="+", choices=DTYPES, default=(), help="fp32, and bf16 where auto is that")
    parser.add_argument("--images", type=positive, default=512, metavar="N", help="of a batch (512)")
    parser.add_argument("--rounds", type=positive, default=7, metavar="N", help="in each of which both take turns (7)")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="DIR", help="where to keep the files")
    run(parser, measure)


def measure(arguments: argparse.Namespace) -> None:
    """A line for each layer."""
    if native.library("loops") is None:
        raise onecycle.UserError("there are no loops in C++ here: they need a C++ compiler, c++ or what CXX names")
    console, cpu = Console(highlight=False), torch.device("cpu")
    precisions = arguments.precision or dict.fromkeys(("fp32", resolve_precision("auto", cpu)))
    torch.manual_seed(0)
    rows = []
    with reused_memory(cpu):
        for precision, (layer, shapes) in itertools.product(precisions, SHAPES.items()):
            for channels, side in shapes:
                row = compared(layer, channels, side, arguments.images, arguments.rounds, precision)
                rows.append(row)
                where = f"{layer}, {channels} channels, {side} pixels a side, {precision}"
                console.print(f"{where}: {row['faster']} times as fast{'' if row['used'] else ', not used'}")
    path = arguments.out / f"loops_{hardware_slug(cpu)}"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_csv(path.with_name(f"{path.name}.csv"), rows, COLUMNS)
    write_json(path.with_name(f"{path.name}.json"), {"environment": environment(cpu)})


def compared(name: str, channels: int, side: int, images: int, rounds: int, precision: str) -> dict[str, Any]:
    """A layer's line."""
    layer = LAYERS[name] or nn.BatchNorm2d(channels)
    x = torch.randn(images, channels, side, side).to(DTYPES[precision])
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    used = timed(layer, x, ours=True)[2]  # warms up, as the next line does
    timed(layer, x, ours=False)
    found = [(timed(layer, x, ours=False), timed(layer, x, ours=True)) for _ in range(rounds)]
    faster = [(theirs[0] + theirs[1]) / (own[0] + own[1]) for theirs, own in found]
    theirs, own = zip(*found, strict=True)
    return {
        **{"layer": name, "channels": channels, "side": side, "images": images, "precision": precision},
        "pytorch_forward_ms": f"{statistics.median(one[0] for one in theirs):.2f}",
        "ours_forward_ms": f"{statistics.median(one[0] for one in own):.2f}",
        "pytorch_backward_ms": f"{statistics.median(one[1] for one in theirs):.2f}",
        "ours_backward_ms": f"{statistics.median(one[1] for one in own):.2f}",
        "n": rounds,
        "faster": f"{statistics.median(faster):.2f}",
        "faster_min": f"{min(faster):.2f}",
        "faster_max": f"{max(faster):.2f}",
        "used": used,
    }


def timed(layer: nn.Module, x: Tensor, *, ours: bool) -> tuple[float, float, bool]:
    """Milliseconds forward and backward, and whether the loops computed it."""
    leaf, x = x, x.clone()  # as ReLU changes it in place
    with onecycle.FastLayers() if ours else contextlib.nullcontext():
        begin = time.perf_counter()
        out = layer(x)
        forward = time.perf_counter() - begin
    grad = torch.randn_like(out)
    begin = time.perf_counter()
    torch.autograd.grad(out, leaf, grad)
    backward = time.perf_counter() - begin
    return 1000 * forward, 1000 * backward, isinstance(out.grad_fn, torch.autograd.function.BackwardCFunction)


if __name__ == "__main__":
    main()
