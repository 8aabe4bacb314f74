"""What a rising rate does to filters behind norms: how long they become, and how far a step still turns them.

    python benchmarks/lr_range_lengths.py [--steps 100] [--optimizers adam sgd]

Sweeps whitened_convnet, with widths 32, 64, 64, over the range test's usual rates on batches of CIFAR-10's training
images. A line a step: the length of a conv's filters over what it was at first, and the length of the step over that of
the filters, both the mean over the convs. The table goes to benchmarks/results/lr_range_lengths_HARDWARE.csv.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from measuring.hardware import hardware_slug
from measuring.held_out import held_out_data

import onecycle
from onecycle import lr_range, registry
from onecycle.data import Augmentation, Batch, Loader
from onecycle.files import write_csv
from onecycle.hardware import resolve_device
from onecycle.models.whitened_convnet import whitened_convnet

RESULTS = Path(__file__).parent / "results"
COLUMNS = ("optimizer", "lr", "loss", "length", "relative_step")
WIDTHS = (32, 64, 64)


def main() -> None:
    """Sweep and tabulate."""
    parser = argparse.ArgumentParser(description="Filters behind norms, along a sweep of the rate.")
    parser.add_argument("--steps", type=int, default=lr_range.STEPS)
    parser.add_argument("--optimizers", nargs="+", choices=["adam", "sgd"], default=["adam", "sgd"])
    arguments = parser.parse_args()
    rows = [row for name in arguments.optimizers for row in swept(name, arguments.steps)]
    write_csv(RESULTS / f"lr_range_lengths_{hardware_slug(resolve_device('auto'))}.csv", rows, COLUMNS)


def swept(name: str, steps: int) -> Iterator[dict[str, Any]]:
    """A line for each step of a sweep with this optimiser."""
    torch.manual_seed(0)
    loader = Loader(held_out_data().train, batch_size=512, augmentation=Augmentation())
    net = whitened_convnet(10, widths=WIDTHS)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's annotations lack it
    net.initialize_from(next(iter(loader.epoch(0))).images_nchw)
    optimizer: torch.optim.Optimizer = registry.load("optimizer", name)(net)
    filters = [one for one in net.parameters() if one.ndim == 4 and one.requires_grad]
    first = lengths(filters)
    start, end = lr_range.default_range(onecycle.recipe("custom_resnet", optimizer={"name": name}))
    for lr, batch in zip(np.geomspace(start, end, steps).tolist(), batches(loader), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = lr
        loss = F.cross_entropy(net(batch.images_nchw), batch.labels)
        optimizer.zero_grad()
        loss.backward()
        before = [one.detach().clone() for one in filters]
        optimizer.step()
        moved = lengths([one.detach() - old for one, old in zip(filters, before, strict=True)])
        yield {
            "optimizer": name,
            "lr": f"{lr:.3g}",
            "loss": round(loss.item(), 4),
            "length": round((lengths(filters) / first).mean().item(), 4),
            "relative_step": round((moved / lengths(before)).mean().item(), 5),
        }


def batches(loader: Loader) -> Iterator[Batch]:
    """Epoch after epoch."""
    for epoch in count():
        yield from loader.epoch(epoch)


def lengths(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Their Frobenius norms."""
    return torch.stack([one.detach().norm() for one in tensors])


if __name__ == "__main__":
    main()
