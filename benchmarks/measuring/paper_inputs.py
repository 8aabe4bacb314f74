"""What the model of paper.py is given: figures read from benchmarks/results or counted, and the three trainings."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

import onecycle
from onecycle.checkpoint import save_state
from onecycle.data import Loader
from onecycle.files import read_csv, read_json
from onecycle.preparation import build_schedule
from onecycle.state import TrainingState

from .arguments import RESULTS
from .images import random_images
from .paper import Net, Task

HARDWARE = "amd-epyc-2-threads"
BACKWARD = 2 / 3  # of a step's multiplications


@dataclass(frozen=True)
class Counted:
    """What is measured or counted."""

    parameters: int
    parameters_1000: int  # with a thousand classes
    gflop: float  # an image of 32 x 32 pixels, forward and backward
    ready: float  # share of the gradients' bytes that are there when ...
    coming: float  # ... this share of the multiplications of the backward pass is still to come
    checkpoint: int  # bytes, with AdamW's two moments
    rate: float  # images/s of training on two cores
    augmenting: float  # images/s of augmentation on two cores
    plan: float  # seconds an image to draw a plan
    reading: float  # seconds a byte until the first step of a mapped set


def counted() -> Counted:
    """Read the results, build the net, write a checkpoint."""
    measured = {row["name"]: float(row["value"]) for row in read_csv(RESULTS / f"throughput_{HARDWARE}.csv")}
    large = read_json(RESULTS / f"large_set_{HARDWARE}.json")
    prepare = next(row for row in read_csv(RESULTS / f"large_set_{HARDWARE}.csv") if row["block"] == "prepare")
    layers = [row for row in onecycle.summarize_net("custom_resnet").rows if row.multiply_adds]
    late = [row for row in layers if (row.output_shape or ())[-1] < 16]  # layer3 and linear: small maps, most weights
    weights, work = (sum(getattr(row, what) for row in layers) for what in ("parameters", "multiply_adds"))
    return Counted(
        parameters=onecycle.summarize_net("custom_resnet").parameters,
        parameters_1000=sum(one.numel() for one in onecycle.models.custom_resnet(1000).parameters()),
        gflop=read_json(RESULTS / f"throughput_{HARDWARE}.json")["gflop_per_image"],
        ready=sum(row.parameters or 0 for row in late) / weights,
        coming=1 - sum(row.multiply_adds or 0 for row in late) / work,
        checkpoint=checkpoint_bytes(),
        rate=measured["train"],
        augmenting=measured["augment_reflect_bf16"],
        plan=large["plan_s"] / large["settings"]["images"],
        reading=float(prepare["seconds"]) / large["set_bytes"],
    )


def checkpoint_bytes() -> int:
    """The size of the recipe's checkpoint after a step."""
    recipe = onecycle.recipe("custom_resnet")
    device = torch.device("cpu")
    state = TrainingState.new(recipe, onecycle.models.custom_resnet(10), build_schedule(recipe, 98), device)
    batch = next(Loader(random_images(4, seed=0), batch_size=4).in_order())
    torch.nn.functional.cross_entropy(state.net(batch.images_nchw), batch.labels).backward()
    state.optimizer.step()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.safetensors"
        save_state(path, state.to_dict())
        return path.stat().st_size


def tasks(known: Counted) -> list[Task]:
    """The three trainings of the page."""
    hidden, last = known.coming * BACKWARD, 1 - known.ready
    small = Net(known.gflop * 1e9, 4 * known.parameters, hidden, last)
    large = Net(4 * known.gflop * 1e9, 4 * known.parameters_1000, hidden, last)

    def task(name: str, images: int, side: int, net: Net, epochs: float, batch: int, critical: float) -> Task:
        size = 3 * side**2
        return Task(
            name, images, size, net, epochs, batch, critical, known.plan * images, known.reading * images * size
        )

    return [
        task("CIFAR-10, 32 x 32", 50_000, 32, small, 24, 512, 2_000),
        task("1.28 million, 64 x 64", 1_280_000, 64, large, 18, 1_024, 20_000),
        task("100 million, 64 x 64", 100_000_000, 64, large, 3, 1_024, 50_000),
    ]
