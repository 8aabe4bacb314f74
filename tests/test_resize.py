"""Smaller or larger images in some epochs: pixels as Pillow makes them, sides by epoch, holes in proportion."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from small import dataset, net, small_recipe
from torch import nn

import onecycle
from onecycle import Observer, UserError, preparation, recipe, rehearsal
from onecycle.data import Augmentation, ImageSet, Loader
from onecycle.data.augment import flip_left_right, random_crop, resize
from onecycle.data.views import augmented_views
from onecycle.recipes import assignments

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # no grey level lies at this mean


def noise(count: int, size: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def image_set(count: int = 40, size: int = 32) -> ImageSet:
    return ImageSet(noise(count, size), np.arange(count) % 2, ("a", "b"))


def of_pillow(images_nhwc: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    shrunk = [Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR) for image in images_nhwc]
    return np.stack([np.asarray(image) for image in shrunk])


def loader(images: ImageSet, a: Augmentation, **options: Any) -> Loader:
    return Loader(images, batch_size=len(images), augmentation=a, mean=MEAN, std=STD, seed=3, **options)


# --- pixels ------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 70), side=st.integers(1, 70), count=st.integers(1, 3), seed=st.integers(0, 99))
def test_pixels_are_pillows(size: int, side: int, count: int, seed: int) -> None:
    images = noise(count, size, seed)
    found = resize(torch.from_numpy(images.copy()), side)
    assert found.shape == (count, side, side, 3) and found.dtype == torch.uint8 and found.is_contiguous()
    difference = found.numpy().astype(int) - of_pillow(images, side)
    assert np.abs(difference).max() <= 2  # both compute in whole numbers; torch rounds the weights more coarsely
    if size == side:
        np.testing.assert_array_equal(found.numpy(), images)


@pytest.mark.parametrize(("side", "equal"), [(8, 1.0), (16, 1.0), (20, 0.97), (24, 1.0), (28, 0.97), (48, 1.0)])
def test_of_32_pixels_nearly_all_are_equal_to_pillows(side: int, equal: float) -> None:
    images = noise(100, 32)
    difference = resize(torch.from_numpy(images), side).numpy().astype(int) - of_pillow(images, side)
    assert np.mean(difference == 0) >= equal
    assert abs(difference.mean()) < 1e-3 and np.mean(np.abs(difference) > 1) < 1e-4


@pytest.mark.parametrize("side", [8, 20, 24, 28, 48])
def test_a_flat_image_stays_flat(side: int) -> None:
    flat = torch.tensor([0, 128, 255], dtype=torch.uint8).expand(2, 32, 32, 3).contiguous()
    assert torch.equal(resize(flat, side), flat[:, :1, :1].expand(2, side, side, 3))


def test_halving_averages_over_a_tent() -> None:
    """By hand: at half the size, weights 1, 3, 3, 1 of 8 along each axis; 1, 3, 3 of 7 at the border."""
    image = noise(1, 8)
    weights = np.zeros((4, 8))
    for out in range(4):
        for tap, weight in zip(range(2 * out - 1, 2 * out + 3), (1, 3, 3, 1), strict=True):
            if 0 <= tap < 8:
                weights[out, tap] = weight
    weights /= weights.sum(1, keepdims=True)
    expected = np.einsum("yr,xc,rcn->yxn", weights, weights, image[0].astype(float))
    assert np.abs(resize(torch.from_numpy(image), 4)[0].numpy() - expected).max() <= 1


# --- sides by epoch ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pairs", "sides"),
    [
        ((), [32, 32, 32, 32, 32]),
        (((0, 20),), [20, 20, 20, 20, 20]),
        (((0, 20), (2, 24), (4, 32)), [20, 20, 24, 24, 32]),
        (((1, 16), (3, 48)), [32, 16, 16, 48, 48]),
        (((9, 16),), [32, 32, 32, 32, 32]),
    ],
)
def test_batches_have_the_side_of_their_epoch(pairs: tuple[tuple[int, int], ...], sides: list[int]) -> None:
    a = Augmentation(crop_padding=2, cutout=4, resize=pairs)
    batches = loader(image_set(), a)
    assert [a.side(epoch, 32) for epoch in range(5)] == sides
    for epoch, side in enumerate(sides):
        (batch,) = batches.epoch(epoch)
        assert batch.images_nchw.shape == (40, 3, side, side)
        assert batch.images_nchw.is_contiguous(memory_format=torch.channels_last)
        assert batch.labels.tolist() == [sample % 2 for sample in batch.samples.tolist()]
    assert all(batch.images_nchw.shape[2:] == (32, 32) for batch in batches.in_order())


@settings(max_examples=40, deadline=None)
@given(
    size=st.integers(8, 40),
    side=st.integers(1, 48),
    cutout=st.integers(0, 40),
    padding=st.integers(0, 5),
    epoch=st.integers(0, 9),
    resized_crop=st.sampled_from([0.0, 0.5, 1.0, 1.25, 3.0]),
)
def test_crop_flip_shrink_and_hole_come_in_this_order(
    size: int, side: int, cutout: int, padding: int, epoch: int, resized_crop: float
) -> None:
    cutout = min(cutout, size)
    images = image_set(12, size)
    a = Augmentation(padding, "reflect", "random", cutout, 0.7, resize=((0, side),), resized_crop=resized_crop)
    batches = loader(images, a)
    plan = batches.plan(epoch)
    (batch,) = batches.epoch(epoch)
    pixels = random_crop(
        torch.from_numpy(images.images_nhwc), torch.from_numpy(plan.crop_yx), padding, "reflect", a.crop(epoch, size)
    )  # held against references of their own in test_augment.py, as is the flip
    shrunk = of_pillow(flip_left_right(pixels, torch.from_numpy(plan.flip)).numpy(), side).astype(np.float64)
    level = 2.01 / 255 / min(STD) if side != size else 1e-5
    hole = round(cutout * side / size) if side != size else cutout
    for found_chw, sample in zip(batch.images_nchw.numpy(), batch.samples.tolist(), strict=True):
        expected_hwc = (shrunk[sample] / 255 - MEAN) / STD
        found_hwc = found_chw.transpose(1, 2, 0)
        empty = (found_hwc == 0).all(2)
        assert np.abs(found_hwc - expected_hwc)[~empty].max(initial=0) <= level
        assert np.count_nonzero(empty) == (hole * hole if plan.cutout[sample] else 0)
        if hole and plan.cutout[sample]:
            rows, columns = empty.any(1).nonzero()[0], empty.any(0).nonzero()[0]
            assert len(rows) == np.ptp(rows) + 1 == len(columns) == np.ptp(columns) + 1 == hole


def test_without_a_change_of_size_nothing_changes() -> None:
    plain, same = (loader(image_set(), Augmentation(resize=pairs)) for pairs in ((), ((0, 32),)))
    for epoch in range(2):
        for one, other in zip(plain.epoch(epoch), same.epoch(epoch), strict=True):
            assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("resized_crop", "crops"),
    [(0.0, [32, 32, 32, 32]), (1.25, [25, 30, 32, 32]), (1.0, [20, 24, 28, 32]), (0.01, [1, 1, 1, 32])],
)
def test_small_images_show_crops_of_so_many_times_their_side(resized_crop: float, crops: list[int]) -> None:
    a = Augmentation(crop_padding=2, resize=((0, 20), (1, 24), (2, 28), (3, 32)), resized_crop=resized_crop)
    assert [a.crop(epoch, 32) for epoch in range(4)] == crops
    for epoch, crop in enumerate(crops):
        corners = loader(image_set(400), a).plan(epoch).crop_yx
        assert corners.min() == 0 and corners.max() == 36 - crop


def test_the_choices_are_those_of_the_full_size() -> None:
    """Orders, crops and flips do not move when an epoch's size does."""
    plain, shrunk = (loader(image_set(), Augmentation(resize=pairs)) for pairs in ((), ((0, 16),)))
    for name in ("order", "crop_yx", "flip", "cutout", "cutout_yx"):
        np.testing.assert_array_equal(getattr(plain.plan(1), name), getattr(shrunk.plan(1), name))


# --- the hole ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cutout", "side", "hole"), [(8, 16, 4), (8, 20, 5), (8, 24, 6), (12, 20, 8), (8, 64, 16), (32, 20, 20), (5, 8, 1)]
)
def test_the_hole_is_in_proportion_and_spread_evenly_over_its_corners(cutout: int, side: int, hole: int) -> None:
    white = ImageSet(np.full((2000, 32, 32, 3), 255, np.uint8), np.zeros(2000, np.int64), ("a",))
    a = Augmentation(crop_padding=0, flip="none", cutout=cutout, resize=((0, side),))
    (batch,) = loader(white, a).epoch(0)
    empty = (batch.images_nchw == 0).all(1)
    assert (empty.sum((1, 2)) == hole * hole).all()
    for axis in (1, 2):
        corners = empty.any(3 - axis).int().argmax(1).numpy()
        counts = np.bincount(corners, minlength=side - hole + 1)
        assert len(counts) == side - hole + 1  # wholly inside
        if side <= 32:  # a larger image has more corners than were drawn
            places = 32 - cutout + 1
            shares = np.bincount(np.arange(places) * len(counts) // places, minlength=len(counts)) / places
            assert shares.max() - shares.min() <= 1 / places + 1e-12
            assert np.abs(counts / 2000 - shares).max() < 5 * np.sqrt(shares.max() / 2000)
        else:
            assert counts[0] > 0 and counts[-8:].sum() > 0


# --- what it is shown as -----------------------------------------------------------------------------------------


def test_views_show_the_coarser_pixels_at_the_full_size() -> None:
    images = image_set(6)
    a = Augmentation(crop_padding=0, flip="none", cutout=0, resize=((0, 16), (1, 32), (2, 64)))
    views = augmented_views(images, a, mean=MEAN, seed=0, epochs=3)
    assert views.shape == (6, 3, 32, 32, 3)
    np.testing.assert_array_equal(views[:, 1], images.images_nhwc)
    halved = views[:, 0, ::2, ::2]
    np.testing.assert_array_equal(views[:, 0], halved.repeat(2, axis=1).repeat(2, axis=2))
    assert np.abs(halved.astype(int) - of_pillow(images.images_nhwc, 16)).max() <= 1
    assert np.abs(views[:, 2].astype(int) - of_pillow(images.images_nhwc, 64)[:, 1::2, 1::2]).max() <= 1


def test_the_preview_of_such_a_recipe(tmp_path: Path) -> None:
    changed = recipe("digits", augment={"resize": [[0, 16], [2, 24]]})
    path = onecycle.preview(changed, out=tmp_path / "samples.png", samples=3, epochs=3)
    with Image.open(path) as picture:
        assert picture.width > 300
    assert path.read_bytes() != onecycle.preview("digits", out=tmp_path / "plain.png", samples=3, epochs=3).read_bytes()


# --- in a recipe -------------------------------------------------------------------------------------------------


def test_it_goes_through_yaml_and_into_a_training(tmp_path: Path) -> None:
    wanted = small_recipe(**{"augment.resize": [[0, 16], [2, 32]], "augment.cutout": 4})
    assert wanted.augment.resize == ((0, 16), (2, 32))
    (tmp_path / "stored.yaml").write_text(wanted.to_yaml())
    assert recipe(tmp_path / "stored.yaml") == wanted
    seen: list[tuple[int, ...]] = []
    model = net()
    model.register_forward_pre_hook(lambda module, args: seen.append(tuple(args[0].shape)) if module.training else None)
    run = onecycle.train(wanted, model=model, data=dataset(), out=tmp_path / "run", device="cpu", observer=Observer())
    sides = list(itertools.chain.from_iterable([side] * 4 for side in (16, 16, 32)))
    assert [shape[2:] for shape in seen] == [(side, side) for side in sides]
    assert run.recipe.augment.resize == wanted.augment.resize


@pytest.mark.parametrize(
    ("pair", "parts"),
    [
        ("augment.resize=[[0, 20], [0, 24]]", ["augment.resize", "[0, 0]", "later than the one before"]),
        ("augment.resize=[[3, 20], [1, 24]]", ["augment.resize", "[3, 1]", "later than the one before"]),
        ("augment.resize=[[-1, 20]]", ["augment.resize", "-1", "greater than or equal to 0"]),
        ("augment.resize=[[0, 7]]", ["augment.resize", "7", "greater than or equal to 8"]),
        ("augment.resize=[[0, 513]]", ["augment.resize", "513", "less than or equal to 512"]),
        ("augment.resize=[[0.5, 20]]", ["augment.resize", "0.5", "integer"]),
        ("augment.resize=[0, 20]", ["augment.resize", "a list with two numbers in each place"]),
        ("augment.resize=[[0, 20, 24]]", ["augment.resize", "a list with two numbers in each place"]),
        ("augment.resize=20", ["augment.resize", "a list with two numbers in each place"]),
        ("augment.resize=[[0, true]]", ["augment.resize", "not true or false"]),
        ("augment.resized_crop=1.25", ["augment.resized_crop 1.25", "augment.resize", "0"]),
        ("augment.resized_crop=-1", ["augment.resized_crop", "-1", "greater than or equal to 0"]),
    ],
)
def test_what_cannot_be_is_one_clear_line(pair: str, parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        recipe("custom_resnet", **assignments([pair]))
    (line,) = caught.value.problems
    assert all(part in line for part in parts), line


def test_a_contradiction_is_said_beside_other_problems_and_not_twice() -> None:
    for pairs, count in (
        (["augment.resize=[[2, 20], [1, 24]]", "seed=-1"], 2),
        (["augment.resize=[[2, 4], [1, 4]]"], 1),
    ):
        with pytest.raises(UserError) as caught:
            recipe("custom_resnet", **assignments(pairs))
        assert len(caught.value.problems) == count, caught.value.problems


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"resize": ((1, 20), (1, 24))}, "do not rise"),
        ({"resize": ((-1, 20),)}, "do not rise from 0"),
        ({"resize": ((0, 0),)}, "below 1 pixel"),
        ({"resized_crop": 1.25}, "resized_crop 1.25 .* empty; 0"),
        ({"resized_crop": -1.0, "resize": ((0, 20),)}, "0 or more"),
    ],
)
def test_ones_own_loop_is_told_too(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Augmentation(**options)


@pytest.mark.parametrize(
    ("model", "side"),
    [
        ("whitened_convnet", 8),  # it needs 9
        (nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4)), 24),
        (nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4)), None),
    ],
    ids=["whitened_convnet", "of one size", "of any size"],
)
def test_a_side_that_the_net_cannot_take_is_one_line_before_anything_is_written(
    model: Any, side: int | None, tmp_path: Path
) -> None:
    wanted = small_recipe(**{"augment.resize": [[0, side or 8], [1, 32]], "augment.cutout": 0})
    given: dict[str, Any] = {"model": model, "data": dataset(), "device": "cpu", "observer": Observer()}
    if side is None:
        assert onecycle.train(wanted, out=tmp_path / "run", **given).finished
        return
    with pytest.raises(UserError, match=rf"takes no images of {side} pixels a side \(.+\)") as caught:
        onecycle.train(wanted, out=tmp_path / "run", **given)
    assert len(caught.value.problems) == 1 and "\n" not in caught.value.problems[0]
    assert not (tmp_path / "run").exists()
    given.pop("observer")
    with pytest.raises(UserError, match=f"takes no images of {side} pixels"):
        onecycle.find_lr(wanted, **given)


def test_images_that_the_net_cannot_take_are_one_line_too(tmp_path: Path) -> None:
    changes = {"data.name": "digits", "data.image_size": 8, "augment.crop_padding": 0, "augment.cutout": 0}
    wanted = small_recipe(model={"name": "whitened_convnet"}, **changes)
    with pytest.raises(UserError, match="WhitenedConvNet takes no images of 8 pixels a side"):
        onecycle.train(wanted, out=tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_trying_the_sides_leaves_the_net_as_it_was(tmp_path: Path) -> None:
    """Weights, statistics, modes and the random state; and a net that cannot be copied trains all the same."""
    calls: list[bool] = []

    class Noisy(nn.Module):
        seen: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 4)
            self.register_buffer("seen", torch.zeros(()))
            self.held = self.linear.weight * 1  # no leaf, so that a deep copy is refused

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            self.seen += 1
            calls.append(self.training)
            logits: torch.Tensor = self.linear(images.mean((2, 3)) + 0 * torch.rand(3))
            return logits

    wanted = small_recipe(**{"augment.resize": [[0, 16]]})
    sets = preparation.split(wanted, dataset())
    resolved = preparation.resolve(wanted, sets, torch.device("cpu"))
    noisy, state = Noisy(), torch.get_rng_state()
    rehearsal.rehearse(resolved, noisy, sets, torch.device("cpu"))
    assert calls == []
    del noisy.held
    rehearsal.rehearse(resolved, noisy, sets, torch.device("cpu"))
    assert calls == [False, False] and noisy.training and noisy.seen == 0
    assert torch.equal(state, torch.get_rng_state())
