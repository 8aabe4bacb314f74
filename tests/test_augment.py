"""Augmentation pixel by pixel against a slow reference that works on one image at a time with NumPy."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from onecycle.data import Augmentation, EpochPlan, ImageSet, Loader
from onecycle.data.augment import cutout, flip_left_right, normalize, random_crop
from onecycle.errors import UserError

Mode = Literal["zeros", "reflect"]
# No grey level lies at this mean: after normalisation only a hole is exactly 0.
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
few = settings(max_examples=40, deadline=None)


def random_images(count: int, height: int, width: int, seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def image_set(count: int, size: int, seed: int = 0) -> ImageSet:
    labels = np.random.default_rng(seed + 1).integers(0, 3, count)
    return ImageSet(random_images(count, size, size, seed), labels, ("a", "b", "c"))


# --- the reference, one image at a time --------------------------------------------------------------------------


def reference_crop(
    image_hwc: NDArray[Any], corner_yx: NDArray[np.int64], padding: int, mode: Mode, side: int | None = None
) -> NDArray[Any]:
    h, w = image_hwc.shape[:2] if side is None else (side, side)
    around = ((padding, padding), (padding, padding), (0, 0))
    padded = np.pad(image_hwc, around, mode="constant" if mode == "zeros" else "reflect")
    y, x = corner_yx
    return padded[y : y + h, x : x + w]


def reference_normalized(image_hwc: NDArray[Any]) -> NDArray[np.float64]:
    return (image_hwc.astype(np.float64) / 255 - np.array(MEAN)) / np.array(STD)


def reference_sample(
    image_hwc: NDArray[np.uint8], sample: int, plan: EpochPlan, a: Augmentation
) -> NDArray[np.float64]:
    """What the assignment asks for: crop, flip, cutout filled with the mean, in this order; tone before the hole."""
    image_hwc = reference_crop(image_hwc, plan.crop_yx[sample], a.crop_padding, a.padding)
    if plan.flip[sample]:
        image_hwc = image_hwc[:, ::-1]
    pixels, mean = image_hwc.astype(np.float64) / 255, np.array(MEAN)
    added, factor = plan.tone[sample].astype(np.float64)
    out_hwc = (mean + (pixels - mean) * factor + added - mean) / np.array(STD)
    if plan.cutout[sample]:
        y, x = plan.cutout_yx[sample]
        out_hwc[y : y + a.cutout, x : x + a.cutout] = 0
    return out_hwc


def rounded_to_bfloat16(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """To the nearest float with 16 bits, ties to the even one, on the bits."""
    bits = values.view(np.uint32)
    rounded = bits + 0x7FFF + ((bits >> 16) & 1)
    return (rounded & np.uint32(0xFFFF0000)).view(np.float32)


# --- each step ---------------------------------------------------------------------------------------------------


@few
@given(
    count=st.integers(1, 9),
    height=st.integers(2, 12),
    width=st.integers(2, 12),
    side=st.none() | st.integers(1, 12),
    padding=st.integers(0, 6),
    mode=st.sampled_from(["zeros", "reflect"]),
    seed=st.integers(0, 99),
)
def test_random_crop_equals_the_reference(
    count: int, height: int, width: int, side: int | None, padding: int, mode: Mode, seed: int
) -> None:
    side = side and min(side, height, width)
    if mode == "reflect":
        padding = min(padding, height - 1, width - 1)
    images = random_images(count, height, width, seed)
    corners_end = [size + 2 * padding - (side or size) + 1 for size in (height, width)]
    corners = np.random.default_rng(seed).integers(0, corners_end, (count, 2))
    found = random_crop(torch.from_numpy(images.copy()), torch.from_numpy(corners), padding, mode, side)
    expected = np.stack([reference_crop(*each, padding, mode, side) for each in zip(images, corners, strict=True)])
    assert found.dtype == torch.uint8
    np.testing.assert_array_equal(found.numpy(), expected)


@pytest.mark.parametrize("mode", ["zeros", "reflect"])
def test_random_crop_at_every_corner(mode: Mode) -> None:
    corners = np.stack(np.meshgrid(np.arange(7), np.arange(7)), axis=-1).reshape(-1, 2)
    images = np.repeat(random_images(1, 5, 4, 7), len(corners), axis=0)
    found = random_crop(torch.from_numpy(images), torch.from_numpy(corners), 3, mode).numpy()
    for image, corner, crop in zip(images, corners, found, strict=True):
        np.testing.assert_array_equal(crop, reference_crop(image, corner, 3, mode))


def test_reflection_does_not_repeat_the_edge_as_torchvision_defines_it() -> None:
    """torchvision's own example: [1, 2, 3, 4] padded by 2 on both sides is [3, 2, 1, 2, 3, 4, 3, 2]."""
    image = np.broadcast_to(np.array([1, 2, 3, 4], np.uint8)[None, None, :, None], (1, 4, 4, 3)).copy()
    left = random_crop(torch.from_numpy(image), torch.tensor([[2, 0]]), 2, "reflect")
    right = random_crop(torch.from_numpy(image), torch.tensor([[2, 4]]), 2, "reflect")
    assert left[0, 0, :, 0].tolist() == [3, 2, 1, 2]
    assert right[0, 0, :, 0].tolist() == [3, 4, 3, 2]


@few
@given(count=st.integers(1, 9), height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 99))
def test_flip_equals_the_reference(count: int, height: int, width: int, seed: int) -> None:
    images = random_images(count, height, width, seed)
    flip = np.random.default_rng(seed).random(count) < 0.5
    found = flip_left_right(torch.from_numpy(images.copy()), torch.from_numpy(flip)).numpy()
    for image, flipped, result in zip(images, flip, found, strict=True):
        np.testing.assert_array_equal(result, image[:, ::-1] if flipped else image)


@few
@given(count=st.integers(1, 9), height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 99))
def test_normalize_equals_the_reference(count: int, height: int, width: int, seed: int) -> None:
    images = random_images(count, height, width, seed)
    found = normalize(torch.from_numpy(images), MEAN, STD, torch.float32)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), reference_normalized(images), rtol=1e-6, atol=1e-6)


def test_normalize_covers_every_level_of_every_channel() -> None:
    levels = np.repeat(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1), 3, axis=3)
    found = normalize(torch.from_numpy(levels), MEAN, STD, torch.float32).numpy()
    np.testing.assert_allclose(found, reference_normalized(levels), rtol=1e-6, atol=1e-6)


@few
@given(
    count=st.integers(1, 9),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    side=st.integers(0, 12),
    seed=st.integers(0, 99),
)
def test_cutout_equals_the_reference_and_has_its_exact_area(
    count: int, height: int, width: int, side: int, seed: int
) -> None:
    side = min(side, height, width)
    random = np.random.default_rng(seed)
    images = random.uniform(1, 2, (count, height, width, 3)).astype(np.float32)
    corners = np.stack([random.integers(0, size - side + 1, count) for size in (height, width)], axis=1)
    chosen = random.random(count) < 0.7
    batch = torch.from_numpy(images.copy())
    returned = cutout(batch, torch.from_numpy(corners), torch.from_numpy(chosen), side)
    assert returned.data_ptr() == batch.data_ptr()
    for image, (y, x), hole, result in zip(images, corners, chosen, batch.numpy(), strict=True):
        expected = image.copy()
        if hole:
            expected[y : y + side, x : x + side] = 0
        np.testing.assert_array_equal(result, expected)
        assert np.count_nonzero(result == 0) == (3 * side * side if hole else 0)


# --- the whole of an epoch ---------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 24),
    size=st.integers(4, 12),
    batch_size=st.integers(1, 24),
    padding=st.integers(0, 5),
    mode=st.sampled_from(["zeros", "reflect"]),
    flip=st.sampled_from(["random", "alternating", "none"]),
    side=st.integers(0, 6),
    probability=st.sampled_from([0.0, 0.5, 1.0]),
    drop_last=st.booleans(),
    tone=st.sampled_from([(0.0, 0.0), (0.1, 0.0), (0.0, 0.3), (0.03, 1.0)]),
    seed=st.integers(0, 2**63 - 1),
    epoch=st.integers(0, 1000),
)
def test_an_epoch_equals_the_reference_built_from_its_plan(
    count: int,
    size: int,
    batch_size: int,
    padding: int,
    mode: Mode,
    flip: Literal["random", "alternating", "none"],
    side: int,
    probability: float,
    drop_last: bool,
    tone: tuple[float, float],
    seed: int,
    epoch: int,
) -> None:
    batch_size, side, padding = min(batch_size, count), min(side, size), min(padding, size - 1)
    a = Augmentation(padding, mode, flip, side, probability, brightness=tone[0], contrast=tone[1])
    images = image_set(count, size, seed % 1000)
    loader = Loader(images, batch_size=batch_size, augmentation=a, seed=seed, drop_last=drop_last, mean=MEAN, std=STD)
    plan = loader.plan(epoch)
    batches = list(loader.epoch(epoch))
    sizes = [batch_size] * (count // batch_size)
    if count % batch_size and not drop_last:
        sizes.append(count % batch_size)
    assert [len(batch.labels) for batch in batches] == sizes
    assert len(loader) == len(sizes)

    seen = [sample for batch in batches for sample in batch.samples.tolist()]
    assert seen == plan.order[: sum(sizes)].tolist()
    for batch in batches:
        assert batch.images_nchw.shape == (len(batch.labels), 3, size, size)
        assert batch.images_nchw.dtype == torch.float32
        assert batch.labels.dtype == torch.int64
        assert batch.images_nchw.is_contiguous(memory_format=torch.channels_last)
        assert batch.labels.tolist() == images.labels[batch.samples.numpy()].tolist()
        for found_chw, sample in zip(batch.images_nchw.numpy(), batch.samples.tolist(), strict=True):
            expected_hwc = reference_sample(images.images_nhwc[sample], sample, plan, a)
            np.testing.assert_allclose(found_chw.transpose(1, 2, 0), expected_hwc, rtol=1e-6, atol=1e-6)
            if not any(tone):
                assert np.count_nonzero(found_chw == 0) == (3 * side * side if plan.cutout[sample] else 0)


def test_the_hole_is_the_mean_and_not_black() -> None:
    colour = np.array([51, 102, 204], np.uint8)  # 0.2, 0.4, 0.8 of 255
    images = ImageSet(np.broadcast_to(colour, (8, 16, 16, 3)).copy(), np.zeros(8, np.int64), ("a",))
    a = Augmentation(crop_padding=0, flip="none", cutout=8)
    loader = Loader(images, batch_size=8, augmentation=a, mean=(0.2, 0.4, 0.8), std=STD)
    (batch,) = loader.epoch(0)
    pixels = batch.images_nchw.permute(0, 2, 3, 1) * torch.tensor(STD) + torch.tensor((0.2, 0.4, 0.8))
    np.testing.assert_allclose(pixels.mul(255).numpy(), np.broadcast_to(colour, pixels.shape), atol=1e-3)
    assert (batch.images_nchw == 0).sum() >= 8 * 3 * 64


def test_zero_padding_is_black_before_normalising() -> None:
    white = ImageSet(np.full((64, 8, 8, 3), 255, np.uint8), np.zeros(64, np.int64), ("a",))
    a = Augmentation(crop_padding=3, flip="none", cutout=0)
    loader = Loader(white, batch_size=64, augmentation=a, mean=MEAN, std=STD)
    (batch,) = loader.epoch(0)
    plan = loader.plan(0)
    black, bright = (-np.array(MEAN) / STD)[:, None, None], ((1 - np.array(MEAN)) / STD)[:, None, None]
    for found_chw, sample in zip(batch.images_nchw.numpy(), batch.samples.tolist(), strict=True):
        rows, columns = (np.arange(8) + corner for corner in plan.crop_yx[sample])
        inside = ((rows >= 3) & (rows < 11))[:, None] & ((columns >= 3) & (columns < 11))
        np.testing.assert_allclose(found_chw, np.where(inside, bright, black), rtol=1e-6)


@pytest.mark.parametrize("mode", ["zeros", "reflect"])
def test_bfloat16_is_the_float32_result_rounded_once(mode: Mode) -> None:
    images = image_set(40, 10)
    a = Augmentation(crop_padding=3, padding=mode, cutout=4, cutout_probability=0.5, brightness=0.1, contrast=0.2)
    exact, rounded = (
        next(iter(Loader(images, batch_size=40, augmentation=a, mean=MEAN, std=STD, dtype=dtype).epoch(2)))
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert rounded.images_nchw.dtype == torch.bfloat16
    assert rounded.images_nchw.is_contiguous(memory_format=torch.channels_last)
    found = rounded.images_nchw.float().contiguous().numpy()
    np.testing.assert_array_equal(found, rounded_to_bfloat16(exact.images_nchw.contiguous().numpy()))
    assert not np.array_equal(found, exact.images_nchw.numpy())


def test_in_order_is_every_image_normalised_only() -> None:
    images = image_set(11, 6)
    loader = Loader(images, batch_size=4, augmentation=Augmentation(2, cutout=3), mean=MEAN, std=STD)
    list(loader.epoch(0))  # leaves the images that are kept as they were
    batches = list(loader.in_order())
    assert [len(batch.labels) for batch in batches] == [4, 4, 3]
    assert torch.cat([batch.samples for batch in batches]).tolist() == list(range(11))
    assert torch.cat([batch.labels for batch in batches]).tolist() == images.labels.tolist()
    found = torch.cat([batch.images_nchw for batch in batches]).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(found, reference_normalized(images.images_nhwc), rtol=1e-6, atol=1e-6)
    assert all(batch.images_nchw.is_contiguous(memory_format=torch.channels_last) for batch in batches)


def test_without_statistics_those_of_the_set_are_used() -> None:
    images = image_set(50, 9)
    found = torch.cat([batch.images_nchw for batch in Loader(images, batch_size=20).in_order()]).double()
    np.testing.assert_allclose(found.mean((0, 2, 3)).numpy(), np.zeros(3), atol=1e-6)
    np.testing.assert_allclose(found.std((0, 2, 3), correction=0).numpy(), np.ones(3), atol=1e-6)


def test_neither_the_images_nor_the_batches_share_memory() -> None:
    images = image_set(6, 5)
    before = images.images_nhwc.copy()
    loader = Loader(images, batch_size=6, augmentation=Augmentation(0, flip="none", cutout=0), mean=MEAN, std=STD)
    first = next(iter(loader.epoch(0)))
    copy = first.images_nchw.clone()
    next(iter(loader.epoch(0))).images_nchw.zero_()
    assert torch.equal(first.images_nchw, copy)
    np.testing.assert_array_equal(images.images_nhwc, before)


# --- wrong use ---------------------------------------------------------------------------------------------------


def test_a_batch_larger_than_the_set_is_refused() -> None:
    with pytest.raises(UserError, match="batch_size 9 is larger than the training set; at most 8"):
        Loader(image_set(8, 8), batch_size=9, augmentation=Augmentation())
    assert len(Loader(image_set(8, 4), batch_size=9)) == 1  # for evaluation it is one batch


def test_an_epoch_needs_an_augmentation() -> None:
    with pytest.raises(UserError, match="no augmentation"):
        next(Loader(image_set(8, 4), batch_size=4).epoch(0))


@pytest.mark.parametrize(
    "changes",
    [
        {"cutout": 9},
        {"padding": "reflect", "crop_padding": 8},
        {"padding": "reflected"},
        {"flip": "left"},
        {"brightness": -0.1},
        {"contrast": 1.1},
    ],
    ids=str,
)
def test_an_augmentation_that_does_not_fit_the_images_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        a = dataclasses.replace(Augmentation(crop_padding=2, cutout=2), **changes)
        list(Loader(image_set(8, 8), batch_size=4, augmentation=a).epoch(0))


def test_read_only_images_load_without_a_warning() -> None:
    images = image_set(4, 4)
    images.images_nhwc.flags.writeable = False
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        Loader(images, batch_size=2)
    finally:
        torch.set_warn_always(before)


def test_a_reversed_set_loads() -> None:
    images = image_set(6, 4)
    turned = ImageSet(images.images_nhwc[::-1], images.labels[::-1], images.classes)
    (batch,) = Loader(turned, batch_size=6, mean=MEAN, std=STD).in_order()
    assert batch.labels.tolist() == images.labels[::-1].tolist()


def test_a_constant_channel_is_refused_or_stays_finite() -> None:
    pixels = random_images(4, 4, 4, 0)
    pixels[..., 1] = 7
    try:
        (batch,) = Loader(ImageSet(pixels, np.zeros(4, np.int64), ("a",)), batch_size=4).in_order()
    except UserError:
        return
    assert torch.isfinite(batch.images_nchw).all()
