"""Sets that stay on the disk: parts of a map beside copies of them, on devices, and what is read ahead."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import onecycle
from onecycle.data import Augmentation, ImageSet, Loader, Rows, own_images, pixels, rows
from onecycle.preparation import as_dataset, split

AUGMENTATION = Augmentation(crop_padding=2, cutout=3)


def pixels_of(count: int, side: int = 8, channels: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(count).integers(0, 256, (count, side, side, channels), dtype=np.uint8)


def saved(path: Path, images_nhwc: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The images in a file, mapped."""
    np.save(path, images_nhwc)
    mapped: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return mapped


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> NDArray[np.uint8]:
    return saved(tmp_path_factory.mktemp("map") / "images.npy", pixels_of(60))


def image_set(images_nhwc: Any) -> ImageSet:
    return ImageSet(images_nhwc, np.arange(len(images_nhwc)) % 5, tuple("abcde"))


def batches(images: ImageSet) -> list[torch.Tensor]:
    loader = Loader(images, batch_size=7, augmentation=AUGMENTATION, seed=3)
    return [part for batch in [*loader.epoch(1), *loader.in_order()] for part in batch]


def same(one: ImageSet, other: ImageSet) -> bool:
    """Whether all that is made of two sets is the same, bit for bit."""
    pairs = zip(batches(one), batches(other), strict=True)
    facts = [(s.fingerprint(), s.channel_statistics(), s.labels.tolist(), s.classes) for s in (one, other)]
    return facts[0] == facts[1] and all(torch.equal(a, b) for a, b in pairs)


# --- parts of a map ----------------------------------------------------------------------------------------------


PLACES = st.lists(st.integers(-60, 59), min_size=7, max_size=40).map(np.array)


@settings(max_examples=25, deadline=None)
@given(first=PLACES, then=st.data())
def test_a_part_of_a_map_is_its_copy(mapped: NDArray[np.uint8], first: NDArray[np.int64], then: st.DataObject) -> None:
    part, copy = image_set(mapped).subset(first), image_set(np.array(mapped)).subset(first)
    assert isinstance(part.images_nhwc, Rows) and part.images_nhwc.array is mapped
    assert isinstance(copy.images_nhwc, np.ndarray)
    assert same(part, copy)
    again = np.array(then.draw(st.lists(st.integers(-len(first), len(first) - 1), min_size=7, max_size=20)))
    assert same(part.subset(again), copy.subset(again))
    assert isinstance(part.subset(again).images_nhwc, Rows)


def test_a_map_and_a_slice_of_it_are_their_copies(mapped: NDArray[np.uint8]) -> None:
    for view in (mapped, mapped[20:50], np.asarray(mapped)[5:], mapped[::3], mapped[::-1]):
        assert same(image_set(view), image_set(np.array(view)))


KEYS = st.one_of(
    st.integers(-30, 29),
    st.slices(30),
    st.lists(st.integers(-30, 29), max_size=9).map(lambda places: np.array(places, np.int64)),
    st.lists(st.integers(-30, 29), min_size=1, max_size=9),
    st.lists(st.booleans(), min_size=30, max_size=30).map(np.array),
)


@settings(max_examples=100, deadline=None)
@given(index=st.permutations(range(60)).map(lambda order: np.array(order[:30])), key=KEYS)
def test_rows_are_indexed_as_numpy_indexes(mapped: NDArray[np.uint8], index: NDArray[np.int64], key: Any) -> None:
    found, expected = Rows(mapped, index), np.array(mapped)[index]
    np.testing.assert_array_equal(found[key], expected[key])
    np.testing.assert_array_equal(np.asarray(found), expected)
    np.testing.assert_array_equal(np.stack(list(found)), expected)
    assert (found.shape, found.ndim, found.dtype) == (expected.shape, expected.ndim, expected.dtype)
    assert (len(found), found.nbytes) == (len(expected), expected.nbytes)


def test_what_rows_cannot_do_is_an_error(mapped: NDArray[np.uint8]) -> None:
    part = Rows(mapped, np.array([3, 1]))
    for key in (2, -3, np.array([0, 2]), (0, 1), (..., 0)):
        with pytest.raises(IndexError):
            part[key]
    with pytest.raises(IndexError):
        Rows(mapped, np.array([60]))
    with pytest.raises(ValueError, match="without a copy"):
        np.array(part, copy=False) if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else part.__array__(copy=False)
    assert np.asarray(part, np.float32).dtype == np.float32


def test_a_split_of_arrays_that_are_mapped_copies_nothing(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", pixels_of(200))
    np.save(tmp_path / "labels.npy", np.arange(200) % 4)
    found = own_images(tmp_path / "images.npy", image_size=8)
    wanted = small.small_recipe(**{"data.val_fraction": 0.1, "data.train_limit": 100, "data.batch_size": 10})
    sets = split(wanted, as_dataset(found.train, 0))
    in_memory = ImageSet(np.array(found.train.images_nhwc), found.train.labels, found.train.classes)
    expected = split(wanted, as_dataset(in_memory, 0))
    assert sets.val is not None and expected.val is not None
    for part, other in ((sets.train, expected.train), (sets.val, expected.val), (sets.test, expected.test)):
        assert isinstance(part.images_nhwc, Rows) and part.images_nhwc.array is found.train.images_nhwc
        assert same(part, other)


def test_a_training_from_a_map_is_that_from_memory(tmp_path: Path) -> None:
    images = small.images(120)
    np.save(tmp_path / "images.npy", images.images_nhwc)
    np.save(tmp_path / "labels.npy", images.labels)
    (tmp_path / "classes.txt").write_text("\n".join(images.classes))
    changes = {"data.val_fraction": 0.2, "data.batch_size": 30, "schedule.epochs": 2}
    runs = [
        onecycle.train(small.small_recipe(**changes), model=small.net(), data=data, out=tmp_path / name, device="cpu")
        for name, data in (("mapped", str(tmp_path / "images.npy")), ("in_memory", images))
    ]
    mapped, in_memory = map(small.weights, runs)
    assert all(torch.equal(mapped[name], in_memory[name]) for name in mapped)
    assert runs[0].metrics()[-1]["val_loss"] == runs[1].metrics()[-1]["val_loss"]
    fingerprints = [{k: v for k, v in run.environment.items() if "fingerprint" in k} for run in runs]
    assert fingerprints[0] == fingerprints[1] and len(fingerprints[0]) == 3
    answers = runs[0].predict(
        as_dataset(own_images(tmp_path / "images.npy", image_size=32).train, 0).test, model=small.net()
    )
    np.testing.assert_array_equal(answers.logits, runs[1].predictions()["logits"])


# --- the device --------------------------------------------------------------------------------------------------


def test_a_set_that_the_device_cannot_hold_goes_there_batch_by_batch(
    mapped: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    places, device = np.arange(10, 40), torch.device("meta")  # which has shapes, and no memory
    whole = pixels.DevicePixels(Rows(mapped, places), device)
    assert (whole.device, whole.take(torch.arange(4, device=device)).shape) == (device, (4, 8, 8, 3))
    gathered: list[torch.Tensor] = []
    monkeypatch.setattr(pixels, "_fits", lambda size, device: size > 30 * 8 * 8 * 3)
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *to, **options: gathered.append(self) or self)
    by_batch = pixels.DevicePixels(Rows(mapped, places), device)
    assert by_batch.device == torch.device("cpu")
    by_batch.take(torch.tensor([0, 29, 3]))
    np.testing.assert_array_equal(gathered[0].numpy(), mapped[[10, 39, 13]])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_batch_by_batch_a_gpu_sees_the_same(mapped: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    def on_gpu() -> Iterator[torch.Tensor]:
        loader = Loader(image_set(mapped).subset(np.arange(50)), batch_size=7, augmentation=AUGMENTATION, device="cuda")
        return (part.cpu() for batch in [*loader.epoch(1), *loader.in_order()] for part in batch)

    whole = list(on_gpu())
    monkeypatch.setattr(pixels, "_SHARE", 0)
    for one, other in zip(whole, on_gpu(), strict=True):
        assert torch.equal(one, other)


# --- what is read ahead ------------------------------------------------------------------------------------------


class Advised:
    """Stands for a map; the pages that it is advised of."""

    def __init__(self) -> None:
        self.pages: list[int] = []
        self.said: list[int] = []

    def madvise(self, advice: int, start: int = 0, length: int = 0) -> None:
        if not length:
            self.said.append(advice)
            return
        assert length <= 2**17 and advice == mmap.MADV_WILLNEED and start % mmap.PAGESIZE == 0 and length > 0
        self.pages += range(start // mmap.PAGESIZE, -(-(start + length) // mmap.PAGESIZE))


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> NDArray[np.uint8]:
    """Images of 6,912 bytes: of a page and a part, from the 128th byte of the file on."""
    return saved(tmp_path_factory.mktemp("wide") / "images.npy", pixels_of(90, 48))


@pytest.mark.skipif(not hasattr(mmap, "MADV_WILLNEED"), reason="the system takes no advice")
@settings(max_examples=60, deadline=None)
@given(first=st.integers(0, 40), step=st.sampled_from([1, 2, -1]), wanted=st.lists(st.integers(0, 19), max_size=12))
def test_the_pages_of_the_wanted_images_are_asked_for(
    wide: NDArray[np.uint8], first: int, step: int, wanted: list[int]
) -> None:
    view = np.asarray(wide)[first : first + 40][::step]
    ahead, advised = rows.ReadAhead(view), Advised()
    ahead(np.array(wanted, np.int64))  # the system itself finds nothing wrong with it
    ahead._map = advised  # type: ignore[assignment]
    ahead(np.array(wanted, np.int64))
    begins = [128 + 6912 * (first + (place * step if step > 0 else min(39, 89 - first) - place)) for place in wanted]
    pages = {page for begin in begins for page in range(begin // mmap.PAGESIZE, (begin + 6911) // mmap.PAGESIZE + 1)}
    assert set(advised.pages) == pages
    assert len(advised.pages) - len(pages) <= len(pages)  # a page between two images may be named twice


def test_each_batch_is_asked_for_before_it_is_taken(mapped: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[list[int]] = []
    monkeypatch.setattr(rows.ReadAhead, "__call__", lambda self, places: told.append(places.tolist()))
    loader = Loader(image_set(mapped).subset(np.arange(50, 10, -1)), batch_size=15, mean=(0, 0, 0), std=(1, 1, 1))
    for number, _ in enumerate(loader.in_order()):
        assert len(told) == min(number + 2, 3)
    assert told == [list(range(50, 35, -1)), list(range(35, 20, -1)), list(range(20, 10, -1))]


@pytest.mark.skipif(not hasattr(mmap, "MADV_WILLNEED"), reason="the system takes no advice")
@pytest.mark.parametrize("whole", [True, False])
def test_what_lies_around_an_image_is_left_alone_until_the_epoch_ends(mapped: NDArray[np.uint8], whole: bool) -> None:
    loader = Loader(image_set(mapped), batch_size=20, mean=(0, 0, 0), std=(1, 1, 1))
    advised = Advised()
    loader._pixels.read_ahead._map = advised  # type: ignore[assignment]
    batches = loader.in_order()
    next(batches)
    assert advised.said == [mmap.MADV_RANDOM]
    if whole:
        assert len(list(batches)) == 2
    else:
        batches.close()  # type: ignore[attr-defined]
    assert advised.said == [mmap.MADV_RANDOM, mmap.MADV_NORMAL]
