"""3x3 convolutions on a processor: ours beside PyTorch's own, in time and in accuracy.

    python benchmarks/convolutions.py [--precision fp32 bf16] [--images 256] [--rounds 5] [--out DIR]

In float32 ours are Winograd's, in bfloat16 those that fill a processor's matrix units, where it has some.

Layers of the custom ResNet on images of 32 and of 24 pixels a side, and of fast94's net on 32 and on 20: forward and
backward, for images and filters, channels last, on normally distributed values. Both sides take turns; `faster` is the
median over the rounds, `used` whether a training would take ours. Errors are of the norm of outputs and gradients
together, beside float64. So are those of the gradient of the whole custom ResNet with its first weights, which the
.json holds, in float32 and in bfloat16, each by PyTorch and by ours. Nothing else should be running. The table goes to
benchmarks/results/convolutions_HARDWARE.csv.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from measuring.arguments import RESULTS, positive, run
from measuring.hardware import hardware_slug
from rich.console import Console
from torch import Tensor, nn

import onecycle
from onecycle.files import write_csv, write_json
from onecycle.hardware import autocast, environment, reused_memory
from onecycle.layers import matrix_units, winograd

LAYERS = {
    "custom_resnet, 32": [(64, 128, 32), (128, 128, 16), (128, 256, 16), (256, 512, 8), (512, 512, 4)],
    "custom_resnet, 24": [(64, 128, 24), (128, 128, 12), (128, 256, 12), (256, 512, 6), (512, 512, 3)],
    "fast94, 32": [(24, 64, 31), (64, 64, 15), (64, 256, 15), (256, 256, 7), (256, 256, 3)],
    "fast94, 20": [(24, 64, 19), (64, 64, 9), (64, 256, 9), (256, 256, 4), (256, 256, 2)],
}
COLUMNS = (
    *("net", "inputs", "outputs", "side", "images", "precision", "pytorch_ms", "ours_ms", "n"),
    *("faster", "faster_min", "faster_max", "used", "pytorch_error", "ours_error"),
)
OURS = {"fp32": (torch.float32, winograd), "bf16": (torch.bfloat16, matrix_units)}
Convolve = Callable[[Tensor, Tensor], Tensor]


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description="Our convolutions beside PyTorch's own.")
    parser.add_argument(
        "--precision", nargs="+", choices=OURS, default=(), help="fp32, and bf16 where there are matrix units"
    )
    parser.add_argument("--images", type=positive, default=256, metavar="N", help="of a batch (256)")
    parser.add_argument("--rounds", type=positive, default=5, metavar="N", help="in each of which both take turns (5)")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="DIR", help="where to keep the files")
    run(parser, measure)


def measure(arguments: argparse.Namespace) -> None:
    """A line for each layer."""
    console, cpu = Console(highlight=False), torch.device("cpu")
    if "bf16" in arguments.precision and not matrix_units.is_available():
        raise onecycle.UserError("ours in bf16 need a processor with matrix units (AMX) and a C++ compiler; fp32 here")
    precisions = arguments.precision or ("fp32", *(["bf16"] if matrix_units.is_available() else []))
    torch.manual_seed(0)
    rows = []
    with reused_memory(cpu):
        for precision, (net, layers) in itertools.product(precisions, LAYERS.items()):
            for layer in layers:
                rows.append(row := {"net": net} | compared(*layer, arguments.images, arguments.rounds, precision))
                where = "{net}: {inputs} to {outputs} channels, {side} pixels a side, {precision}".format(**row)
                console.print(f"{where}: {row['pytorch_ms']} ms, {row['ours_ms']} ms, {row['faster']} times as fast")
    path = arguments.out / f"convolutions_{hardware_slug(cpu)}"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_csv(path.with_name(f"{path.name}.csv"), rows, COLUMNS)
    errors = gradient_errors()
    write_json(path.with_name(f"{path.name}.json"), {"environment": environment(cpu), "gradient_errors": errors})
    console.print(f"the whole custom ResNet's gradient beside float64: {errors}")


def compared(inputs: int, outputs: int, side: int, images: int, rounds: int, precision: str) -> dict[str, Any]:
    """A layer's line."""
    dtype, ours = OURS[precision]
    weight = channels_last(outputs, inputs, 3) / (9 * inputs) ** 0.5
    drawn = channels_last(images, inputs, side), weight, channels_last(images, outputs, side)
    x, weight, grad = (one.to(dtype) for one in drawn)
    values = x.requires_grad_(), weight.requires_grad_(), grad
    ways: tuple[Convolve, Convolve] = (pytorch, ours.convolved)
    found = [computed(way, *values) for way in ways]  # to warm up
    truth = computed(pytorch, *(one.detach().double().requires_grad_() for one in values))
    errors = [error(one, truth) for one in found]
    ms: list[list[float]] = [[], []]
    for _ in range(rounds):
        for way, own in zip(ways, ms, strict=True):
            begin = time.perf_counter()
            computed(way, *values)
            own.append(1000 * (time.perf_counter() - begin))
    faster = [theirs / ours for theirs, ours in zip(*ms, strict=True)]
    return {
        **{"inputs": inputs, "outputs": outputs, "side": side, "images": images, "precision": precision},
        "pytorch_ms": f"{statistics.median(ms[0]):.1f}",
        "ours_ms": f"{statistics.median(ms[1]):.1f}",
        "n": rounds,
        "faster": f"{statistics.median(faster):.2f}",
        "faster_min": f"{min(faster):.2f}",
        "faster_max": f"{max(faster):.2f}",
        "used": ours.is_faster(x, weight),
        "pytorch_error": f"{errors[0]:.2g}",
        "ours_error": f"{errors[1]:.2g}",
    }


def channels_last(first: int, channels: int, side: int) -> Tensor:
    """Normally distributed values."""
    return torch.randn(first, channels, side, side).contiguous(memory_format=torch.channels_last)


def pytorch(x: Tensor, weight: Tensor) -> Tensor:
    """The same by PyTorch."""
    return F.conv2d(x, weight, padding=1)


def computed(convolve: Convolve, x: Tensor, weight: Tensor, grad: Tensor) -> tuple[Tensor, ...]:
    """The output and both gradients."""
    out = convolve(x, weight)
    return out, *torch.autograd.grad(out, (x, weight), grad)


def error(found: Sequence[Tensor], truth: Sequence[Tensor]) -> float:
    """The norm of the difference over that of the truth, the mean over the tensors."""
    errors = [(one - other).norm() / other.norm() for one, other in zip(found, truth, strict=True)]
    return torch.stack(errors).mean().item()


def gradient_errors(images: int = 64) -> dict[str, float]:
    """Of the custom ResNet's cross-entropy on random images: the relative error of all gradients as one vector."""
    torch.manual_seed(0)
    net = onecycle.models.custom_resnet(10).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x, labels = channels_last(images, 3, 32), torch.arange(images) % 10
    ways: dict[str, contextlib.AbstractContextManager[Any]] = {
        "pytorch": contextlib.nullcontext(),
        "ours": onecycle.FastLayers(),
    }
    found = {}
    for precision in OURS:
        for name, way in ways.items():
            with autocast(precision, torch.device("cpu")), way:
                found[f"{name}_{precision}"] = gradient(net, x, labels)
    truth = gradient(net.double(), x.double(), labels)
    return {name: float(f"{error([one], [truth]):.2g}") for name, one in found.items()}


def gradient(net: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    """All gradients in a row."""
    net.zero_grad()
    F.cross_entropy(net(x), labels).backward()
    return torch.cat([one.grad.flatten().double() for one in net.parameters() if one.grad is not None])


if __name__ == "__main__":
    main()
