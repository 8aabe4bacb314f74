"""What the command lines of the benchmarks share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch

import onecycle
from onecycle.data import Dataset

from .airbench import SOURCES, Peer
from .held_out import held_out_data
from .sides import Theirs

RESULTS = Path(__file__).parents[1] / "results"


def run(parser: argparse.ArgumentParser, measure: Callable[[argparse.Namespace], None]) -> None:
    """Measure what the command line asks for; what cannot work is said as argparse says it, with exit code 2."""
    arguments = parser.parse_args()
    try:
        measure(arguments)
    except (onecycle.UserError, onecycle.TrainingFailed) as error:
        parser.error(str(error))


def seeds(text: str) -> list[int]:
    """0-4, or 0,2,5, or both mixed."""
    found: list[int] = []
    try:
        for part in text.split(","):
            first, dash, last = part.partition("-")
            found += range(int(first), int(last if dash else first) + 1)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} are no seeds; such as 0-4 or 0,2,5") from None
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no seed at all; such as 0-4")
    return list(dict.fromkeys(found))


def positive(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: a whole number from 1 on is needed")
    return int(text)


def add_peers(parser: argparse.ArgumentParser) -> None:
    """Options that name the folders of the peers."""
    parser.add_argument(
        "--airbench", type=Path, metavar="FOLDER", help=f"a checkout of {SOURCES['airbench94_muon'].repository}"
    )
    parser.add_argument("--hiverge", type=Path, metavar="FOLDER", help=f"a checkout of {SOURCES['hiverge'].repository}")
    parser.add_argument("--airbench96", action="store_true", help="airbench96_faster too, of the same folder")


def peers(arguments: argparse.Namespace, data: Dataset, device: torch.device, **limits: int) -> list[Theirs]:
    """The peers whose folders are named. Raises UserError where --airbench96 has no folder."""
    folders = {"airbench94_muon": arguments.airbench, "hiverge": arguments.hiverge}
    if arguments.airbench96:
        if arguments.airbench is None:
            raise onecycle.UserError("--airbench96 needs the folder too: --airbench FOLDER")
        folders["airbench96_faster"] = arguments.airbench
    return [_theirs(name, folder, data, device, limits) for name, folder in folders.items() if folder is not None]


def cifar10_data(*, held_out: bool, images: int | None = None) -> Dataset:
    """CIFAR-10, or its training set in the two parts on which choices are made; `images` of each at most."""
    data = held_out_data() if held_out else onecycle.data.cifar10()
    if images is None:
        return data
    first = [one.subset(np.arange(min(images, len(one)))) for one in data]
    return Dataset(*first)


def unlike(names: Iterable[str]) -> None:
    """Raise UserError where two of the sides have one name: their runs would lie in one folder."""
    known: set[str] = set()
    for name in names:
        if name in known:
            raise onecycle.UserError(f"{name}: there twice; name one recipe file differently")
        known.add(name)


def _theirs(name: str, folder: Path, data: Dataset, device: torch.device, limits: dict[str, int]) -> Theirs:
    peer = Peer(name, folder.expanduser(), data, device, **limits)
    return Theirs(name, lambda: peer)
