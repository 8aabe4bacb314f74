"""Runs airbench94_muon, as it is on CUDA or ported to this processor, and says how accurate and how fast it was.

    python benchmarks/airbench.py FOLDER [--seeds 0-4] [--held-out] [--out DIR]

FOLDER is a checkout of github.com/KellerJordan/cifar10-airbench; the file is expected as it is at commit f1c599c, and
another version is refused. What a port to the CPU changes is said in measuring/airbench.py. With --held-out it trains
on 45,000 training images and is tested on the other 5,000; the test set is then left alone. `fast.py` runs it beside
our recipes. A row for each run goes to DIR/airbench_HARDWARE.csv, where DIR is named.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from measuring.airbench import Peer
from measuring.arguments import cifar10_data, run, seeds
from measuring.hardware import hardware_slug

from onecycle.files import write_csv
from onecycle.hardware import device_name, resolve_device

COLUMNS = ("seed", "accuracy", "accuracy_tta", "train_seconds", "tta_seconds", "seconds")


def main() -> None:
    """Train with each seed."""
    run(argument_parser(), measure)


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description="Run airbench94_muon on this machine.")
    add = parser.add_argument
    add("folder", type=Path, metavar="FOLDER", help="a checkout of github.com/KellerJordan/cifar10-airbench")
    add("--seeds", type=seeds, default=[0], help="such as 0-4")
    add("--epochs", type=float, help="fewer than its 8, to see that it works")
    add("--batch", type=int, help="other than its 2,000, to see that it works")
    add("--images", type=int, help="so many of each set at most, to see that it works")
    add("--held-out", action="store_true", help="leave the test set alone")
    add("--device", default="auto")
    add("--out", type=Path, metavar="DIR", help="keep the rows there")
    return parser


def measure(arguments: argparse.Namespace) -> None:
    """Train, print, keep."""
    device = resolve_device(arguments.device)
    data = cifar10_data(held_out=arguments.held_out, images=arguments.images)
    folder = arguments.folder.expanduser()
    peer = Peer("airbench94_muon", folder, data, device, epochs=arguments.epochs, batch=arguments.batch)
    print(f"{device_name(device)}; {peer.precision}; {peer.pflop():.3g} PFLOP a training")
    rows = []
    for seed in arguments.seeds:
        result = peer.train(seed)
        rows.append(asdict(result))
        accuracies = f"{100 * result.accuracy:.2f}%, {100 * result.accuracy_tta:.2f}% with test-time augmentation"
        print(f"seed {seed}: {accuracies}; {result.train_seconds:.2f} s to train, {result.seconds:.2f} s in all")
        if arguments.out is not None:
            arguments.out.mkdir(parents=True, exist_ok=True)
            path = arguments.out / f"airbench_{hardware_slug(device)}.csv"
            write_csv(path, rows, COLUMNS)
    if arguments.out is not None:
        print(f"Kept: {path}")


if __name__ == "__main__":
    main()
