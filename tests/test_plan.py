"""The plan of an epoch: what it depends on, what its choices range over, and that batches follow it wherever begun."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import fields
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onecycle import randomness
from onecycle.data import Augmentation, EpochPlan, ImageSet, Loader, plan_epoch
from onecycle.randomness import generator, step_seed

OPTIONS: dict[str, Any] = {
    "samples": 300,
    "image_size": 32,
    "crop_padding": 4,
    "flip": "random",
    "cutout": 8,
    "cutout_probability": 0.5,
    "shift": 0.1,
    "scale": 0.2,
    "rotate": 30.0,
    "affine_probability": 0.5,
    "brightness": 0.1,
    "contrast": 0.2,
}
NAMES = [field.name for field in fields(EpochPlan)]


def plan(seed: int = 0, epoch: int = 0, **changes: Any) -> EpochPlan:
    return plan_epoch(seed, epoch, **{**OPTIONS, **changes})


def equal_parts(one: EpochPlan, other: EpochPlan) -> list[str]:
    return [name for name in NAMES if np.array_equal(getattr(one, name), getattr(other, name))]


def digest(*plans: EpochPlan) -> str:
    content = hashlib.sha256()
    for one in plans:
        for name in NAMES:
            content.update(np.ascontiguousarray(getattr(one, name)).tobytes())
    return content.hexdigest()


def small_loader(batch_size: int = 7, count: int = 45, **options: Any) -> Loader:
    random = np.random.default_rng(5)
    images = random.integers(0, 256, (count, 10, 10, 3), dtype=np.uint8)
    images_and_labels = ImageSet(images, random.integers(0, 4, count), ("a", "b", "c", "d"))
    a = Augmentation(crop_padding=2, padding="reflect", flip="alternating", cutout=3, cutout_probability=0.7)
    return Loader(images_and_labels, batch_size=batch_size, augmentation=a, seed=3, **options)


# --- what a plan depends on --------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**63 - 1), epoch=st.integers(0, 2**32 - 1))
def test_a_plan_depends_on_seed_and_epoch_alone(seed: int, epoch: int) -> None:
    first = plan(seed, epoch)
    np.random.default_rng(seed).random(3)
    torch.rand(3)
    assert equal_parts(first, plan(seed, epoch)) == NAMES


@pytest.mark.parametrize(
    ("one", "other"), [((0, 0), (0, 1)), ((0, 0), (1, 0)), ((1, 0), (0, 1)), ((0, 256), (0, 1)), ((2**62, 0), (0, 0))]
)
def test_another_seed_or_epoch_gives_another_plan_in_every_part(one: tuple[int, int], other: tuple[int, int]) -> None:
    assert equal_parts(plan(*one), plan(*other)) == []


def test_no_two_purposes_draw_the_same_numbers() -> None:
    purposes = get_args(randomness.Purpose)
    drawn = {
        tuple(generator(seed, epoch, purpose).integers(0, 2**62, 4))
        for seed in range(3)
        for epoch in range(3)
        for purpose in purposes
    }
    assert len(drawn) == 3 * 3 * len(purposes)


def test_step_seeds_differ_over_seed_step_and_rank() -> None:
    seeds = [step_seed(seed, step, rank) for seed in range(5) for step in range(50) for rank in range(4)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert step_seed(1, 2, 3) == step_seed(1, 2, 3)


@pytest.mark.parametrize("hash_seed", ["0", "4711"])
def test_a_plan_is_the_same_in_another_process(hash_seed: str) -> None:
    code = (
        "import test_plan as t; print(t.digest(t.plan(11, 0), t.plan(11, 7), t.plan(11, 7, flip='alternating')), "
        "t.step_seed(1, 2, 3))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    folder = os.path.dirname(__file__)  # noqa: PTH120
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    expected = digest(plan(11, 0), plan(11, 7), plan(11, 7, flip="alternating"))
    assert done.stdout.split() == [expected, str(step_seed(1, 2, 3))]


@pytest.mark.parametrize(
    ("changes", "changed"),
    [
        ({"cutout": 0}, ["cutout", "cutout_yx"]),
        ({"cutout_probability": 1.0}, ["cutout"]),
        ({"cutout_probability": 0.0}, ["cutout"]),
        ({"crop_padding": 0}, ["crop_yx"]),
        ({"flip": "none"}, ["flip"]),
        ({"image_size": 64}, ["cutout_yx"]),
        ({"shift": 0.0}, ["affine"]),
        ({"affine_probability": 0.0}, ["affine"]),
        ({"shift": 0.0, "scale": 0.0, "rotate": 0.0}, ["affine"]),
        ({"brightness": 0.0}, ["tone"]),
        ({"brightness": 0.0, "contrast": 0.0}, ["tone"]),
    ],
    ids=str,
)
def test_turning_one_augmentation_off_leaves_the_others_as_they_were(
    changes: dict[str, Any], changed: list[str]
) -> None:
    assert set(equal_parts(plan(5, 3), plan(5, 3, **changes))) == set(NAMES) - set(changed)


# --- what its choices range over ---------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(
    samples=st.integers(1, 200),
    size=st.integers(1, 40),
    padding=st.integers(0, 9),
    side=st.integers(0, 40),
    probability=st.floats(0, 1),
    flip=st.sampled_from(["random", "alternating", "none"]),
    crop=st.none() | st.integers(1, 40),
    seed=st.integers(0, 2**63 - 1),
)
def test_every_choice_is_within_its_range(
    samples: int, size: int, padding: int, side: int, probability: float, flip: Any, crop: int | None, seed: int
) -> None:
    side, crop = min(side, size), crop and min(crop, size)
    made = plan_epoch(
        seed,
        1,
        samples=samples,
        image_size=size,
        crop_padding=padding,
        flip=flip,
        cutout=side,
        cutout_probability=probability,
        crop_size=crop,
    )
    assert sorted(made.order.tolist()) == list(range(samples))
    assert made.crop_yx.shape == made.cutout_yx.shape == (samples, 2)
    assert made.flip.shape == made.cutout.shape == (samples,)
    assert made.flip.dtype == made.cutout.dtype == bool
    assert made.crop_yx.min() >= 0
    assert made.crop_yx.max() <= size + 2 * padding - (crop or size)
    assert made.cutout_yx.min() >= 0
    assert made.cutout_yx.max() <= size - side
    if flip == "none":
        assert not made.flip.any()
    if side == 0 or probability == 0:
        assert not made.cutout.any()
    elif probability == 1:
        assert made.cutout.all()


@pytest.mark.parametrize(("part", "values"), [("crop_yx", 9), ("cutout_yx", 25)])
def test_corners_take_all_their_values_equally_often(part: str, values: int) -> None:
    corners = getattr(plan(1, 0, samples=20_000), part)
    for axis in (0, 1):
        counts = np.bincount(corners[:, axis], minlength=values)
        assert len(counts) == values
        expected = 20_000 / values
        assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)
    assert abs(np.corrcoef(corners.T)[0, 1]) < 0.03


def test_tones_are_even_around_no_change() -> None:
    tone = plan(1, 0, samples=20_000).tone
    for column, (unchanged, limit) in zip(tone.T, ((0.0, 0.1), (1.0, 0.2)), strict=True):
        counts, _ = np.histogram(column, bins=10, range=(unchanged - limit, unchanged + limit))
        assert counts.sum() == 20_000 and np.abs(counts - 2000).max() < 5 * np.sqrt(2000)
    assert abs(np.corrcoef(tone.T)[0, 1]) < 0.03
    np.testing.assert_array_equal(plan(1, 0, brightness=0.0, contrast=0.0).tone, np.tile([0.0, 1.0], (300, 1)))
    assert (plan(1, 0, brightness=0.0).tone[:, 0] == 0).all()


def test_a_random_flip_is_a_new_coin_each_epoch() -> None:
    flips = np.stack([plan(2, epoch, samples=20_000).flip for epoch in range(3)])
    assert np.abs(flips.mean(axis=1) - 0.5).max() < 0.015
    assert abs((flips[0] == flips[1]).mean() - 0.5) < 0.015
    assert abs((flips[0] == flips[2]).mean() - 0.5) < 0.015


def test_an_alternating_flip_turns_each_image_every_other_epoch() -> None:
    flips = np.stack([plan(2, epoch, samples=20_000, flip="alternating").flip for epoch in range(6)])
    assert abs(flips[0].mean() - 0.5) < 0.015
    for epoch in range(1, 6):
        np.testing.assert_array_equal(flips[epoch], ~flips[epoch - 1])
    assert not np.array_equal(flips[0], plan(3, 0, samples=20_000, flip="alternating").flip)


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_cutout_is_as_likely_as_asked(probability: float) -> None:
    assert abs(plan(4, 2, samples=20_000, cutout_probability=probability).cutout.mean() - probability) < 0.015


def test_choices_are_independent_of_each_other() -> None:
    made = plan(6, 0, samples=20_000)
    parts = [made.order, made.crop_yx, made.flip, made.cutout_yx, made.cutout, made.affine]
    columns = np.column_stack(parts).astype(float)
    correlations = np.corrcoef(columns.T) - np.eye(columns.shape[1])
    assert np.abs(correlations).max() < 0.03


# --- batches follow it -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("drop_last", [False, True])
def test_batch_k_is_the_same_wherever_the_epoch_is_begun(drop_last: bool) -> None:
    whole = list(small_loader(drop_last=drop_last).epoch(4))
    assert len(whole) == (6 if drop_last else 7)
    for start in range(len(whole) + 1):
        rest = list(small_loader(drop_last=drop_last).epoch(4, start=start))
        assert len(rest) == len(whole) - start
        for one, other in zip(rest, whole[start:], strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("batch_size", [1, 8, 44, 45])
def test_the_augmented_sample_does_not_depend_on_the_batch_size(batch_size: int) -> None:
    def by_sample(size: int) -> torch.Tensor:
        batches = list(small_loader(size).epoch(2))
        samples = torch.cat([batch.samples for batch in batches])
        return torch.cat([batch.images_nchw for batch in batches])[samples.argsort()]

    assert torch.equal(by_sample(batch_size), by_sample(7))


def test_an_epoch_does_not_depend_on_the_epochs_before_it() -> None:
    travelled = small_loader()
    for epoch in range(3):
        list(travelled.epoch(epoch))
    torch.manual_seed(0)
    for one, other in zip(travelled.epoch(3), small_loader().epoch(3), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert not torch.equal(next(travelled.epoch(3)).images_nchw, next(travelled.epoch(4)).images_nchw)
