"""Training from a map that is larger than the memory that the process may have, beside a set in memory.

    python benchmarks/large_set.py [--images N] [--side S] [--limit MIB] [--folder DIR] [--quick] [--out DIR]

Random images and labels are written to images.npy and labels.npy, a million of 64 x 64 pixels (12.3 GB) unless told
otherwise, and removed in the end. Two processes then train the compact net with `onecycle.train`, a block of steps in
turn: one from the map, of which a stratified fifth is put by for testing, as always, and which may have no more memory
of its own than the limit; one from the first of these images, in memory. Then the same with the map's pages dropped
before each block, so that the disk has to be read. The seconds are of whole steps, loading and bookkeeping included.

The limit is RLIMIT_DATA: private, writable memory; the pages of a mapped file are the system's, and can be taken back.
To bound these too, run it all in a control group: systemd-run --scope -p MemoryMax=6G python benchmarks/large_set.py

Nothing else should be running. A row for each block goes to benchmarks/results/large_set_HARDWARE.csv, the settings,
the environment and the medians to .json.
"""

from __future__ import annotations

import argparse
import functools
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from measuring.arguments import RESULTS, positive, run
from measuring.blocks import Block, BlockwiseTraining
from measuring.hardware import hardware_slug
from measuring.settings import CPU
from rich.console import Console

import onecycle
from onecycle.data import ImageSet, own_images, plan_epoch
from onecycle.files import sync, write_csv, write_json
from onecycle.hardware import environment

COLUMNS = ("side", "block", "steps", "batch", "seconds", "images_per_second", "anonymous_mib", "file_mib")
QUICK = {"images": 18_000, "limit": 192, "batch": 4, "steps": 2, "blocks": 2, "cold_blocks": 1, "in_memory": 1000}
ROOM = 20e9  # bytes that are left free on the disk
CLASSES = 10


def main() -> None:
    """Make the set, measure, print, keep, remove the set."""
    run(argument_parser(), measure)


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description="Training from a map that is larger than memory.")
    add = parser.add_argument
    add("--images", type=positive, default=1_000_000)
    add("--side", type=positive, default=64, help="pixels (64)")
    add(
        "--limit", type=positive, default=3072, metavar="MIB", help="of own memory for the training from the map (3072)"
    )
    add("--in-memory", type=positive, default=50_000, metavar="N", help="images of the set in memory, at most (50000)")
    add("--batch", type=positive, default=128)
    add("--steps", type=positive, default=10, help="in a block (10)")
    add("--blocks", type=positive, default=16, help="of each side, after the warm-up of one (16)")
    add("--cold-blocks", type=positive, default=4, help="of each side, the map's pages dropped before each (4)")
    add("--folder", type=Path, help="where to write the set (the folder for temporary files)")
    add("--quick", action="store_true", help="everything tiny, to see that it works; its figures mean nothing")
    add("--out", type=Path, default=RESULTS, metavar="DIR", help="where to keep the files (benchmarks/results)")
    return parser


def measure(arguments: argparse.Namespace) -> None:
    """Both sides in turn."""
    if not sys.platform.startswith("linux"):
        raise onecycle.UserError("RssAnon and the limit are Linux's; another system has neither")
    if arguments.quick:
        vars(arguments).update(QUICK)
    settings = {name: value for name, value in vars(arguments).items() if name not in ("folder", "out")}
    size = arguments.images * arguments.side**2 * 3
    console = Console(highlight=False)
    with generated(arguments.images, arguments.side, arguments.folder) as (images_npy, written_s):
        console.print(f"{arguments.images:,} images, {size / 1e9:.2f} GB, written in {written_s:.0f} s")
        plan = planning(arguments.images, arguments.side)
        rows = list(measured(arguments, images_npy, console))
    found = summary(rows) | plan | {"set_bytes": size, "written_s": written_s, "limit": "RLIMIT_DATA"}
    path = arguments.out / f"large_set_{hardware_slug(CPU)}"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_csv(path.with_name(f"{path.name}.csv"), rows, COLUMNS)
    write_json(path.with_name(f"{path.name}.json"), {"environment": environment(CPU), "settings": settings} | found)
    for name, value in found.items():
        console.print(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")
    console.print(f"Kept: {path}.csv and .json", soft_wrap=True)


def measured(arguments: argparse.Namespace, images_npy: Path, console: Console) -> Iterator[dict[str, Any]]:
    """A row for what comes before the first step, and for each block."""
    load = functools.partial(mapped, images_npy, arguments.side)
    in_memory = min(arguments.in_memory, arguments.images)
    shape = {"batch": arguments.batch, "steps": arguments.steps}
    sides = {
        "map": BlockwiseTraining(load, limit_mib=arguments.limit, **shape),
        "memory": BlockwiseTraining(functools.partial(first_of, load, in_memory), **shape),
    }

    def row(side: str, block: int | str, found: Block) -> dict[str, Any]:
        trained = 0 if block == "prepare" else arguments.steps * arguments.batch
        rate = trained / found.seconds
        console.print(
            f"{side}, {block}: {found.seconds:.2f} s, {rate:,.0f} images/s, {found.anonymous_mib:,.0f} MiB of its own, "
            f"{found.file_mib:,.0f} MiB of files"
        )
        return {
            "side": side,
            "block": block,
            "steps": trained // arguments.batch,
            "batch": arguments.batch,
            "seconds": round(found.seconds, 4),
            "images_per_second": round(rate, 2),
            "anonymous_mib": round(found.anonymous_mib, 1),
            "file_mib": round(found.file_mib, 1),
        }

    for name, side in sides.items():  # both at once, as it is not what is compared
        yield row(name, "prepare", side.prepare())
    for side in sides.values():
        side.work()  # to warm up
    for block in range(arguments.blocks):
        # Every other block the other way round, so that a machine that becomes slower or faster favours no side.
        for name in list(sides)[:: -1 if block % 2 else 1]:
            yield row(name, block, sides[name].work())
    for block in range(arguments.blocks, arguments.blocks + arguments.cold_blocks):
        sides["map"].evict()
        for name in list(sides)[:: -1 if block % 2 else 1]:
            yield row(f"{name}_cold" if name == "map" else "memory_beside_cold", block, sides[name].work())
    for side in sides.values():
        side.end()


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians of the sides' images/s, and of their ratios block by block; the map's own memory from first to last."""
    rates: dict[str, list[float]] = {}
    for row in rows:
        if row["block"] != "prepare":
            rates.setdefault(row["side"], []).append(row["images_per_second"])
    found: dict[str, Any] = {f"{name}_images_per_second": statistics.median(of) for name, of in rates.items()}
    for one, other in (("map", "memory"), ("map_cold", "memory_beside_cold")):
        ratios = [mine / theirs for mine, theirs in zip(rates[one], rates[other], strict=True)]
        found[f"{one}_to_memory"] = statistics.median(ratios)
        found |= {f"{one}_to_memory_least": min(ratios), f"{one}_to_memory_most": max(ratios)}
    held = [row["anonymous_mib"] for row in rows if row["side"].startswith("map")]
    return found | {
        "map_anonymous_mib_preparing": held[0],
        "map_anonymous_mib_first_block": held[1],
        "map_anonymous_mib_last_block": held[-1],
        "map_anonymous_mib_most": max(held),
    }


def planning(images: int, side: int) -> dict[str, float]:
    """Seconds to draw an epoch's plan for all images, and the bytes an image that it takes."""
    begin = time.perf_counter()
    plan = plan_epoch(
        0, 0, samples=images, image_size=side, crop_padding=4, flip="random", cutout=8, cutout_probability=1.0
    )
    seconds = time.perf_counter() - begin
    own = sum(values.nbytes for values in vars(plan).values() if values.base is None)
    return {"plan_s": seconds, "plan_bytes_an_image": own / images}


@contextmanager
def generated(images: int, side: int, folder: Path | None) -> Iterator[tuple[Path, float]]:
    """images.npy of random pixels with labels.npy beside it, and the seconds that took; both are removed afterwards.

    Raises UserError where the disk would be left with less than ROOM.
    """
    place = Path(tempfile.mkdtemp(prefix="large_set_", dir=folder))
    try:
        free = shutil.disk_usage(place).free
        if free < images * side**2 * 3 + ROOM:
            raise onecycle.UserError(f"{place}: {free / 1e9:.1f} GB are free; fewer --images, or another --folder")
        begin = time.perf_counter()
        random = np.random.default_rng(0)
        with (place / "images.npy").open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": (images, side, side, 3)}
            np.lib.format.write_array_header_1_0(file, header)
            for start in range(0, images, 1000):
                file.write(random.bytes(min(1000, images - start) * side**2 * 3))
        sync(place / "images.npy")  # only what is on the disk can be dropped from memory
        np.save(place / "labels.npy", np.arange(images) % CLASSES)
        yield place / "images.npy", time.perf_counter() - begin
    finally:
        shutil.rmtree(place)


def mapped(images_npy: Path, side: int) -> ImageSet:
    """The set as `--data images.npy` opens it."""
    return own_images(images_npy, image_size=side).train


def first_of(load: functools.partial[ImageSet], count: int) -> ImageSet:
    """The first images of the set, in memory."""
    images = load()
    return ImageSet(np.array(images.images_nhwc[:count]), images.labels[:count], images.classes)


if __name__ == "__main__":
    main()
