"""Shift-scale-rotate against scipy, an image at a time; what it leaves alone; where it stands among the steps."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from onecycle.data import Augmentation, EpochPlan, ImageSet, Loader, plan_epoch
from onecycle.data.augment import shift_scale_rotate
from onecycle.errors import UserError

UNCHANGED = (0.0, 0.0, 1.0, 0.0)
MOVES: dict[str, Any] = {"shift": 0.1, "scale": 0.2, "rotate": 30.0, "affine_probability": 0.5}
IDLE: dict[str, Any] = {"crop_padding": 0, "flip": "none", "cutout": 0}


def pixels(count: int, height: int = 12, width: int = 12, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def loader(images_nhwc: NDArray[np.uint8], batch_size: int = 7, seed: int = 3, **options: Any) -> Loader:
    """Mean 0 and deviation 1, so that a batch times 255 is the pixels."""
    labels = np.arange(len(images_nhwc)) % 4
    return Loader(
        ImageSet(images_nhwc, labels, ("a", "b", "c", "d")),
        batch_size=batch_size,
        augmentation=Augmentation(**{**IDLE, **options}),
        seed=seed,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )


def seen(batches: Any) -> NDArray[np.uint8]:
    """The pixels of an epoch in the order of the samples."""
    batches = list(batches)
    images = torch.cat([batch.images_nchw for batch in batches]).permute(0, 2, 3, 1)
    order = torch.cat([batch.samples for batch in batches]).argsort()
    return images[order].mul(255).round().to(torch.uint8).numpy()


def apply(images_nhwc: NDArray[np.uint8], *affines: Any) -> NDArray[np.uint8]:
    rows = torch.from_numpy(np.array(affines, np.float32))
    changed = shift_scale_rotate(torch.from_numpy(images_nhwc.copy()), rows)
    assert changed.dtype == torch.uint8
    assert changed.is_contiguous()
    return changed.numpy()


def reference(image_hwc: NDArray[np.uint8], affine: Any) -> NDArray[np.float64]:
    """By the mapping from input to output in (row, column), inverted by NumPy and sampled by scipy, unrounded."""
    h, w, _ = image_hwc.shape
    down, right, factor, angle = (float(value) for value in affine)
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    forward = factor * np.array([[cos, -sin], [sin, cos]])  # to the right (0, 1) becomes upwards (-1, 0) at 90 degrees
    centre, shift = np.array([(h - 1) / 2, (w - 1) / 2]), np.array([down * h, right * w])
    back = np.linalg.inv(forward)
    offset = centre - back @ (centre + shift)
    channels = [
        ndimage.affine_transform(image_hwc[..., c].astype(float), back, offset, order=1, mode="mirror")
        for c in range(3)
    ]
    return np.stack(channels, axis=-1)


# --- the mapping -------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(2, 20),
    width=st.integers(2, 20),
    affines=st.lists(
        st.tuples(st.floats(-1, 1), st.floats(-1, 1), st.floats(0.1, 1.9), st.floats(-180, 180)),
        min_size=1,
        max_size=8,
    ),
    seed=st.integers(0, 99),
)
def test_every_image_is_that_of_scipy(height: int, width: int, affines: list[Any], seed: int) -> None:
    images = pixels(len(affines), height, width, seed)
    found = apply(images, *affines)
    # As they reach the function: a double that float32 rounds to another place would be another mapping.
    rows = np.array(affines, np.float32)
    expected = np.stack([reference(image, row) for image, row in zip(images, rows, strict=True)])
    # Half a level from rounding; the rest is float32's, which grows with the way back from far outside of the image.
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.55)


@pytest.mark.parametrize("size", [2, 5, 8, 32])
def test_what_needs_no_sampling_is_exact(size: int) -> None:
    images = pixels(7, size, size)
    step = 1 / size
    found = apply(
        images, UNCHANGED, (0, 0, 1, 90), (0, 0, 1, 180), (0, 0, 1, -90), (step, 0, 1, 0), (0, step, 1, 0), UNCHANGED
    )
    np.testing.assert_array_equal(found[0], images[0])
    np.testing.assert_array_equal(found[1], np.rot90(images[1]))  # counterclockwise
    np.testing.assert_array_equal(found[2], np.rot90(images[2], 2))
    np.testing.assert_array_equal(found[3], np.rot90(images[3], -1))
    np.testing.assert_array_equal(found[4, 1:], images[4, :-1])  # down
    np.testing.assert_array_equal(found[4, 0], images[4, 1])  # mirrored, the edge not repeated
    np.testing.assert_array_equal(found[5, :, 1:], images[5, :, :-1])  # to the right
    np.testing.assert_array_equal(found[5, :, 0], images[5, :, 1])
    np.testing.assert_array_equal(found[6], images[6])


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_a_coarse_precision_of_matrix_products_changes_nothing(precision: str) -> None:
    images, usual = pixels(32, 32, 32), torch.get_float32_matmul_precision()
    affines = [*plan(samples=31).affine, UNCHANGED]
    expected = apply(images, *affines)
    torch.set_float32_matmul_precision(precision)
    try:
        found = apply(images, *affines)
    finally:
        torch.set_float32_matmul_precision(usual)
    np.testing.assert_array_equal(found, expected)


def test_a_factor_above_1_enlarges() -> None:
    image = np.zeros((1, 9, 9, 3), np.uint8)
    image[0, 3:6, 3:6] = 255
    larger, smaller = apply(np.repeat(image, 2, axis=0), (0, 0, 2, 0), (0, 0, 0.5, 0))[..., 0]
    assert np.count_nonzero(larger) == 7 * 7  # the outermost of them half way to black
    assert np.count_nonzero(smaller[2:7, 2:7]) == 1  # further out is the mirror image


def test_turning_comes_before_shifting() -> None:
    image = np.zeros((1, 9, 9, 3), np.uint8)
    image[0, 4, 7] = 255  # 3 to the right of the centre: turned, 3 above it; then shifted by 2 to the right
    assert np.argwhere(apply(image, (0, 2 / 9, 1, 90))[0, ..., 0]).tolist() == [[1, 6]]


# --- the plan ----------------------------------------------------------------------------------------------------


def plan(seed: int = 5, epoch: int = 2, samples: int = 20_000, **changes: Any) -> EpochPlan:
    options = {"image_size": 12, "crop_padding": 4, "flip": "random", "cutout": 8, "cutout_probability": 0.5}
    return plan_epoch(seed, epoch, samples=samples, **{**options, **MOVES, **changes})


def test_the_plan_draws_evenly_within_its_limits_for_as_many_as_asked() -> None:
    affine = plan().affine
    assert affine.shape == (20_000, 4)
    assert affine.dtype == np.float32
    moved = (affine != UNCHANGED).any(axis=1)
    assert abs(moved.mean() - 0.5) < 0.015
    unit = (affine[moved] - UNCHANGED) / (0.1, 0.1, 0.2, 30)
    assert np.abs(unit).max() <= 1 + 1e-5
    counts = np.stack([np.histogram(column, bins=10, range=(-1.001, 1.001))[0] for column in unit.T])
    assert np.abs(counts - len(unit) / 10).max() < 5 * np.sqrt(len(unit) / 10)
    assert np.abs(np.corrcoef(unit.T) - np.eye(4)).max() < 0.04


def test_turning_one_of_the_three_off_leaves_the_others_as_they_were() -> None:
    whole, upright = plan().affine, plan(rotate=0.0).affine
    np.testing.assert_array_equal(upright[:, :3], whole[:, :3])
    assert not upright[:, 3].any()
    np.testing.assert_array_equal(plan(shift=0.0).affine[:, 2:], whole[:, 2:])
    for off in ({"affine_probability": 0.0}, {"shift": 0.0, "scale": 0.0, "rotate": 0.0}):
        assert (plan(**off).affine == UNCHANGED).all()


def test_what_was_planned_before_there_was_an_affine_is_planned_still() -> None:
    """The digest was recorded with the commit before: a run of that time, resumed, sees the same samples."""
    content = hashlib.sha256()
    for flip in ("random", "alternating"):
        for epoch in (0, 7):
            made = plan(11, epoch, samples=300, image_size=32, flip=flip)
            for name in ("order", "crop_yx", "flip", "cutout_yx", "cutout"):
                values = getattr(made, name)
                kept = values if values.dtype == bool else values.astype(np.int64)  # as corners were then
                content.update(np.ascontiguousarray(kept).tobytes())
    assert content.hexdigest() == "baeb31cc0d279c17c14b433f6e8f897395a86549966f259441f0f282c37209d2"


@pytest.mark.parametrize(
    ("padding", "flip", "digest"),
    [
        ("zeros", "random", "34b8f42141596c96bc1398388af795783a875fb4f7e1e038fc46f6b4da6a53f7"),
        ("reflect", "alternating", "a6a38b128aa729ab07788412ddd088030f28b2806decc3a8ab494e70b7bd7c95"),
    ],
)
@pytest.mark.parametrize("off", [{}, {"rotate": 45.0, "affine_probability": 0.0}])
def test_with_it_off_the_pixels_are_those_of_before(padding: str, flip: str, digest: str, off: dict[str, Any]) -> None:
    random = np.random.default_rng(5)
    images = random.integers(0, 256, (40, 10, 10, 3), dtype=np.uint8)
    usual = {"crop_padding": 2, "padding": padding, "flip": flip, "cutout": 3, "cutout_probability": 0.7}
    content = hashlib.sha256()
    for epoch in (0, 1):
        for batch in loader(images, **usual, **off).epoch(epoch):
            levels = batch.images_nchw.permute(0, 2, 3, 1).mul(255).round().to(torch.uint8)
            content.update(levels.contiguous().numpy().tobytes())
    assert content.hexdigest() == digest


# --- batches of it -----------------------------------------------------------------------------------------------


def test_an_epoch_moves_each_image_as_its_plan_says() -> None:
    images = pixels(40)
    batches = loader(images, **MOVES)
    affine = batches.plan(4).affine
    expected = np.stack([reference(image, row) for image, row in zip(images, affine, strict=True)])
    found = seen(batches.epoch(4))
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.55)
    still = (affine == UNCHANGED).all(axis=1)
    assert 5 < still.sum() < 35
    np.testing.assert_array_equal(found[still], images[still])


def test_it_comes_before_crop_flip_and_cutout() -> None:
    images = pixels(30)
    batches = loader(images, **{**MOVES, "crop_padding": 3, "flip": "random", "cutout": 4})
    made = batches.plan(1)
    moved = apply(images, *made.affine)
    for number, found in enumerate(seen(batches.epoch(1))):
        y, x = made.crop_yx[number]
        expected = np.pad(moved[number], ((3, 3), (3, 3), (0, 0)))[y : y + 12, x : x + 12]
        expected = expected[:, ::-1].copy() if made.flip[number] else expected.copy()
        y, x = made.cutout_yx[number]
        expected[y : y + 4, x : x + 4] = 0  # the mean, here black
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("batch_size", [1, 13, 39, 40])
def test_a_sample_does_not_depend_on_its_batch(batch_size: int) -> None:
    images = pixels(40, 10, 10)
    usual = seen(loader(images, **MOVES).epoch(2))
    np.testing.assert_array_equal(seen(loader(images, batch_size, **MOVES).epoch(2)), usual)
    whole = list(loader(images, **MOVES).epoch(2))
    for one, other in zip(loader(images, **MOVES).epoch(2, start=3), whole[3:], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_pixels_up_to_rounding() -> None:
    images, affine = torch.from_numpy(pixels(64, 32, 32)), torch.from_numpy(plan(samples=64).affine)
    there = shift_scale_rotate(images.cuda(), affine.cuda()).cpu()
    assert (there.int() - shift_scale_rotate(images, affine).int()).abs().max() <= 1


# --- wrong use ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"shift": -0.1},
        {"shift": 1.5},
        {"scale": 1.0},
        {"rotate": 181.0},
        {"rotate": math.nan},
        {"affine_probability": 2.0},
    ],
    ids=str,
)
def test_a_value_out_of_its_range_is_named(wrong: dict[str, Any]) -> None:
    ((key, value),) = wrong.items()
    with pytest.raises(UserError, match=f"^{key} {value} is not allowed; 0 or more, "):
        Augmentation(**wrong)


def test_an_image_of_one_pixel_is_refused() -> None:
    with pytest.raises(UserError, match="at least 2 pixels a side"):
        loader(pixels(8, 1, 1), rotate=3.0)
    loader(pixels(8, 1, 1))
