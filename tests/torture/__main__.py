"""Run the long versions, print a table of what was tried and what was lost, and keep it.

    python -m torture [PART ...] [--seed N] [--share X] [--out FILE] [--page FILE]

Parts are in `PARTS`. With --out the table is kept as CSV, where the rows of parts that are not run now stay; with
--page as well it is put into a page of the documentation. The exit code is 1 where anything was lost.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from rich.console import Console

from onecycle.files import read_csv, write_csv, write_text
from torture.tables import COLUMNS, Row, console_table, in_page, row

PARTS = {
    "kills": "killed and signalled anywhere",
    "damage": "files of a run damaged or unreadable",
    "disks": "disks that are full",
    "archives": "data files and archives that lie",
    "downloads": "servers that cut, stall and lie",
    "strangers": "weights and images from strangers",
    "figures": "numbers that go wrong",
    "fuzz": "recipes and arguments, fuzzed",
    "sameness": "the same again",
    "leaks": "memory, hooks, threads and files left over",
    "sockets": "no network but where it is asked for",
}
_SHOWN = 20  # losses of an attack


def main() -> None:
    """All parts named, one after the other."""
    arguments = argument_parser().parse_args()
    torch.set_num_threads(1)  # the nets are too small for two threads, and processes run side by side
    console = Console(highlight=False)
    made: list[Row] = []
    for part in arguments.parts or PARTS:
        rows = list(_attacked(part, arguments.seed, arguments.share, console))
        made += rows
        if arguments.out:
            others = [one for one in read_csv(arguments.out) if one["part"] != part]
            every = sorted([*others, *rows], key=lambda one: list(PARTS).index(str(one["part"])))
            write_csv(arguments.out, every, COLUMNS)
            if arguments.page:
                write_text(arguments.page, in_page(arguments.page.read_text(encoding="utf-8"), every))
    console.print(console_table(made))
    sys.exit(1 if any(one["lost"] for one in made) else 0)


def _attacked(part: str, seed: int, share: float, console: Console) -> Iterator[Row]:
    """A row for each attack of a part, said as soon as it is over."""
    attacks = importlib.import_module(f"torture.{part}").attacks
    with tempfile.TemporaryDirectory(prefix=f"torture-{part}-") as folder:
        began = time.perf_counter()
        for tally in attacks(Path(folder), seed, share):
            console.print(f"{part}: {tally.attack}: {tally.tried:,} tried, {len(tally.lost)} lost  {tally.figure}")
            for line in tally.lost[:_SHOWN]:
                console.print(f"    lost: {line}", style="red", markup=False)
            yield row(part, tally, time.perf_counter() - began)
            began = time.perf_counter()


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m torture", description="What was tried and what was lost.")
    add = parser.add_argument
    add("parts", nargs="*", choices=[[], *PARTS], metavar="PART", help=f"else all: {', '.join(PARTS)}")
    add("--seed", type=int, default=0)
    add("--share", type=float, default=1.0, help="of the long version's cases, such as 0.01 to see that it works")
    add("--out", type=Path, metavar="FILE", help="where to keep the table as CSV")
    add("--page", type=Path, metavar="FILE", help="the page of the documentation that has the table of --out")
    return parser


if __name__ == "__main__":
    main()
