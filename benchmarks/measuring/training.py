"""Training: the machine's own rate, our loop, the usual way, and steps with nothing around them."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import onecycle
from onecycle.data import Batch, Dataset

from .augmentation import our_loader, usual_loader, usual_pipeline
from .clocks import StepClock
from .compact_net import compact_net
from .flops import training_gflop_of
from .rates import matrix_gflops
from .settings import AUTOCAST_DTYPE, CPU, LABEL_SMOOTHING, PRECISION, Samples, Settings


def measure_matmul(settings: Settings, images: Dataset, samples: Samples) -> None:
    """Float32 and bfloat16 matrix products in turn."""
    for _ in range(settings.rounds):
        for precision in ("fp32", "bf16"):
            samples[f"matmul_{precision}"].append(matmul_gflops(settings, precision))


def measure_training(settings: Settings, images: Dataset, samples: Samples) -> None:
    """Our loop and the usual way in turn, with matrix products before each: the rate of a machine drifts."""
    gflop = training_gflop(settings)
    pipeline = usual_pipeline(images.train)
    for _ in range(settings.rounds):
        samples["matmul_beside_training"].append(matmul_gflops(settings, PRECISION))
        times = our_steps(settings, images, settings.net(), settings.train_steps, settings.train_warmup)
        rates = [settings.batch / seconds for seconds in times]
        samples["train"].append(rates)
        samples["train_gflops"].append([gflop * rate for rate in rates])
        if pipeline:
            loader = usual_loader(settings.batch, pipeline)
            times = usual_steps(settings.net(), loader, settings.usual_steps, settings.usual_warmup)
            samples["train_usual"].append([settings.batch / seconds for seconds in times])


def measure_loop(settings: Settings, images: Dataset, samples: Samples) -> None:
    """On the compact net: our loop, the bare step on one batch, the bare step on what our loader augments, in turn."""
    steps, warmup = settings.loop_steps, settings.loop_warmup
    loader = our_loader(settings.batch, images.train, "reflect", AUTOCAST_DTYPE or torch.float32)
    batch = next(loader.epoch(0))
    sides: dict[str, Callable[[int], list[float]]] = {
        "loop": lambda epoch: our_steps(settings, images, compact_net(), steps, warmup),
        "loop_bare": lambda epoch: bare_steps(compact_net(), itertools.repeat(batch), steps, warmup),
        "loop_bare_augmented": lambda epoch: bare_steps(compact_net(), loader.epoch(epoch), steps, warmup),
    }
    for epoch in range(settings.loop_rounds):
        # Every other round goes backwards, so that a machine that becomes slower or faster favours no side.
        for name in list(sides)[:: -1 if epoch % 2 else 1]:
            samples[name].append(_ms_of_blocks(sides[name](epoch), settings.loop_block))
    samples["loop_beside_augmented"] += samples["loop"]


def matmul_gflops(settings: Settings, precision: str) -> list[float]:
    """GFLOP/s of single products of two square matrices."""
    return matrix_gflops(CPU, precision, side=settings.matrix, products=settings.matrix_products)


def training_gflop(settings: Settings) -> float:
    """GFLOP to train the net on one image, counted from its convolutions and matrix products alone.

    For the custom ResNet 2.272: forward 2 x 379.26 M multiply-adds; backward twice that, for the gradients of inputs
    and of weights; less 2 x 1.77 M, as the first convolution's input, the images, needs no gradient.
    """
    with torch.device("meta"):
        return training_gflop_of(settings.net(), torch.empty(2, 3, 32, 32))


def our_steps(settings: Settings, images: Dataset, net: nn.Module, steps: int, warmup: int) -> list[float]:
    """Seconds a step of `onecycle.train` with the recipe custom_resnet."""
    changes: dict[str, Any] = {
        "data.batch_size": settings.batch,
        "data.train_limit": (warmup + steps + 1) * settings.batch,
        "schedule.epochs": 1,
        "schedule.peak_epoch": 0.5,
        "loss.label_smoothing": LABEL_SMOOTHING,
        "evaluate_every": 0,
    }
    with tempfile.TemporaryDirectory() as folder, StepClock(net, warmup) as clock:
        silent = onecycle.Observer()
        out = Path(folder) / "run"
        onecycle.train(
            "custom_resnet", model=net, data=images, out=out, device="cpu", report=False, observer=silent, **changes
        )
    return clock.seconds


def usual_steps(net: nn.Module, loader: Iterable[tuple[Tensor, Tensor]], steps: int, warmup: int) -> list[float]:
    """Seconds a step of the loop that everybody writes: float32, NCHW, Adam."""
    net.train()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    with StepClock(net, warmup) as clock:
        for images_nchw, labels in itertools.islice(loader, warmup + steps + 1):
            optimizer.zero_grad()
            loss = F.cross_entropy(net(images_nchw), labels, label_smoothing=LABEL_SMOOTHING)
            loss.backward()
            optimizer.step()
    return clock.seconds


def bare_steps(net: nn.Module, batches: Iterable[Batch], steps: int, warmup: int) -> list[float]:
    """Seconds a step of nothing but forward, backward and update, in our precision, memory format and optimiser."""
    net.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.05, fused=True)
    with StepClock(net, warmup) as clock:
        for images_nchw, labels, _ in itertools.islice(batches, warmup + steps + 1):
            with torch.autocast("cpu", AUTOCAST_DTYPE, enabled=AUTOCAST_DTYPE is not None):
                logits_nk = net(images_nchw)
            loss = F.cross_entropy(logits_nk.float(), labels, label_smoothing=LABEL_SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return clock.seconds


def _ms_of_blocks(seconds: list[float], block: int) -> list[float]:
    """Milliseconds a step, a mean for each block of steps."""
    return [1000 * sum(seconds[begin : begin + block]) / block for begin in range(0, len(seconds) - block + 1, block)]
