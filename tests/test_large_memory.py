"""What sets that stay on the disk take of memory, and what is refused where there is too little."""

from __future__ import annotations

import importlib
import json
import mmap
import re
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from test_large_sets import AUGMENTATION, image_set, pixels_of, same
from test_own_data import refused

from onecycle.data import ImageSet, Loader, arrays, own_images, pixels, plan_epoch, rows
from onecycle.files import read_csv
from onecycle.preparation import as_dataset

LINUX = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="RssAnon is told by Linux alone")


# --- memory ------------------------------------------------------------------------------------------------------


def rss_anon() -> float:
    """MB of this process that are no file's."""
    found = re.search(r"RssAnon:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1000


def growth(action: Callable[[], object]) -> float:
    """MB by which this process's own memory was larger at most, looked at every few milliseconds."""
    before, most, done = rss_anon(), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            most[0] = max(most[0], rss_anon() - before)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        action()
    finally:
        done.set()
        watching.join()
    return most[0]


@LINUX
def test_an_epoch_of_a_map_takes_no_memory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 17_000  # 209 MB of holes, which a file may have
    np.lib.format.open_memmap(tmp_path / "images.npy", "w+", np.uint8, (count, 64, 64, 3)).flush()
    np.save(tmp_path / "labels.npy", np.arange(count) % 2)

    def epoch(most: int | None = None) -> None:
        train, test = as_dataset(own_images(tmp_path / "images.npy", image_size=64).train, 0)
        train = train.subset(np.arange(len(train))[:most])
        train.fingerprint()
        loader = Loader(train, batch_size=64, augmentation=AUGMENTATION)
        samples = sum(len(batch.labels) for batch in loader.epoch(0))
        assert samples == len(train)
        for _ in Loader(test, batch_size=64, mean=loader.mean, std=loader.std).in_order():
            pass

    epoch(1000)  # what is loaded, and kept, at the first use
    assert growth(epoch) < 50
    monkeypatch.setattr(rows, "mapping_of", lambda array: None)  # so that parts are copies, as they are in memory
    assert growth(lambda: as_dataset(own_images(tmp_path / "images.npy", image_size=64).train, 0)) > 150


def test_the_plan_of_an_epoch_is_small() -> None:
    def size(**options: Any) -> float:
        made = plan_epoch(
            0,
            0,
            samples=1000,
            image_size=64,
            crop_padding=4,
            flip="random",
            cutout=8,
            cutout_probability=1.0,
            **options,
        )
        return sum(values.nbytes for values in vars(made).values() if values.base is None) / 1000

    assert size() == 26
    assert size(rotate=5.0) == 42
    assert size(rotate=5.0, contrast=0.1) == 50


# --- the benchmark -----------------------------------------------------------------------------------------------


@LINUX
def test_the_benchmark_trains_under_a_limit_below_the_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    words = ("--quick", "--folder", tmp_path, "--out", tmp_path / "out")
    monkeypatch.setattr(sys, "argv", ["large_set.py", *map(str, words)])
    importlib.import_module("large_set").main()
    [table], [record] = (list((tmp_path / "out").glob(f"large_set_*.{kind}")) for kind in ("csv", "json"))
    blocks = read_csv(table)
    sides = Counter(row["side"] for row in blocks)
    assert sides == {"map": 3, "memory": 3, "map_cold": 1, "memory_beside_cold": 1}
    assert all(float(row["seconds"]) > 0 and float(row["anonymous_mib"]) > 0 for row in blocks)
    kept = json.loads(record.read_text())
    assert kept["settings"]["limit"] * 2**20 < kept["set_bytes"] == 18_000 * 64 * 64 * 3
    assert kept["plan_bytes_an_image"] == 26
    mapped = [float(row["anonymous_mib"]) for row in blocks if row["side"].startswith("map")]
    assert max(mapped) * 2**20 < mapped[0] * 2**20 + kept["set_bytes"]
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]  # the set is gone


# --- arrays ------------------------------------------------------------------------------------------------------


def write_arrays(folder: Path, images: NDArray[np.uint8]) -> Path:
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", np.arange(len(images)) % 5)
    return folder / "images.npy"


@pytest.mark.parametrize("shape", [(40, 8, 8), (40, 8, 8, 1)])
def test_grey_levels_stay_mapped(tmp_path: Path, shape: tuple[int, ...]) -> None:
    grey = pixels_of(40, channels=1)
    found = own_images(write_arrays(tmp_path, grey.reshape(shape)), image_size=8).train
    assert rows.mapping_of(found.images_nhwc) is not None
    copy = image_set(np.repeat(grey, 3, axis=3))
    assert same(
        found.subset(np.arange(30)), ImageSet(copy.images_nhwc, found.labels, found.classes).subset(np.arange(30))
    )
    source = pixels.DevicePixels(found.images_nhwc, torch.device("cpu"))
    assert source._source.untyped_storage().nbytes() < grey.nbytes + mmap.PAGESIZE


def test_fortrans_order_is_read_where_memory_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = pixels_of(40)
    path = write_arrays(tmp_path, np.asfortranarray(images))
    found = own_images(path, image_size=8).train.images_nhwc
    np.testing.assert_array_equal(found, images)
    assert isinstance(found, np.ndarray) and found.flags.c_contiguous
    monkeypatch.setattr(arrays, "_memory", lambda: 7000.0)
    [line] = refused(path)
    assert "takes 0.0 GB, more than the memory that is free" in line and "in C order" in line


def test_an_npz_that_memory_cannot_hold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grey = pixels_of(40, channels=1)
    np.savez(tmp_path / "grey.npz", x=grey, y=np.arange(40) % 5)
    monkeypatch.setattr(arrays, "_memory", lambda: 2.0 * grey.nbytes)  # enough to read it, too little to triple it
    [line] = refused(tmp_path / "grey.npz")
    assert "takes 0.0 GB, more than the memory that is free" in line and "images.npy with labels.npy beside" in line

    def full(*_: Any, **options: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(arrays, "_memory", lambda: np.inf)
    monkeypatch.setattr(np, "load", full)
    [line] = refused(tmp_path / "grey.npz")
    assert "more than the memory that this process may have" in line and "damaged" not in line


def test_free_memory_is_the_least_of_what_the_system_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info, limit = tmp_path / "meminfo", tmp_path / "memory.max"
    monkeypatch.setattr(arrays, "_MEMINFO", info)
    monkeypatch.setattr(arrays, "_LIMITS", (limit,))
    whole = arrays._memory()
    assert whole > 1e8
    info.write_text("MemTotal:  9000 kB\nMemAvailable:     2000 kB\n")
    assert arrays._memory() == 2_048_000
    limit.write_text("max\n")
    assert arrays._memory() == 2_048_000
    limit.write_text("1000000\n")
    assert arrays._memory() == 1_000_000
