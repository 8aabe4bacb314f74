"""Image sets, the stratified split and the digits, against NumPy and the definition of a proportion."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from onecycle.data import Dataset, ImageSet, digits, stratified_split
from onecycle.errors import UserError


def images_of(count: int, seed: int = 0, size: int = 6) -> ImageSet:
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return ImageSet(pixels, random.integers(0, 3, count), ("cat", "dog", "ship"))


# --- image sets --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "labels", "named"),
    [
        (np.zeros((2, 4, 4, 3), np.float32), np.zeros(2, np.int64), ["float32 [2, 4, 4, 3]", "uint8"]),
        (np.zeros((2, 4, 4), np.uint8), np.zeros(2, np.int64), ["[2, 4, 4]", "[N, height, width, 3]"]),
        (np.zeros((2, 3, 4, 4), np.uint8), np.zeros(2, np.int64), ["[2, 3, 4, 4]"]),
        (np.zeros((2, 4, 6, 3), np.uint8), np.zeros(2, np.int64), ["4 x 6", "square"]),
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros(2, np.int32), ["int32", "int64 [2]"]),
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros(3, np.int64), ["[3]", "int64 [2]"]),
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros((2, 1), np.int64), ["[2, 1]"]),
        (np.zeros((2, 4, 4, 3), np.uint8), np.array([0, 2]), ["0 to 2", "0 to 1", "2 classes"]),
        (np.zeros((2, 4, 4, 3), np.uint8), np.array([-1, 1]), ["-1 to 1"]),
        (np.zeros((2, 4, 4, 3), np.uint8), [0.0, 1.0], ["float64", "int64 [2]"]),
        (np.zeros((2, 4, 4, 3), np.uint8), [[0], [1, 0]], ["labels: a list that is no array"]),
    ],
)
def test_wrong_shapes_types_and_labels_are_refused_in_one_line(images: Any, labels: Any, named: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        ImageSet(images, labels, ("a", "b"))
    (line,) = caught.value.problems
    assert "\n" not in line
    assert all(part in line for part in named)


def test_lists_and_tensors_are_taken_as_the_arrays_that_they_are() -> None:
    found = images_of(4)
    for pixels, labels in (
        (list(found.images_nhwc), found.labels.tolist()),
        (torch.tensor(found.images_nhwc), torch.tensor(found.labels)),
    ):
        same = ImageSet(pixels, labels, found.classes)  # type: ignore[arg-type]
        assert same.fingerprint() == found.fingerprint()


def test_it_says_what_it_holds_without_its_pixels() -> None:
    assert repr(images_of(1200)) == "ImageSet(1,200 images of 6 x 6, 3 classes)"


@pytest.mark.parametrize("classes", [["cat", "dog"], np.array(["cat", "dog"]), iter(["cat", "dog"])])
def test_names_of_classes_are_taken_from_any_row_of_them(classes: Any) -> None:
    found = ImageSet(np.zeros((2, 4, 4, 3), np.uint8), np.array([0, 1]), classes)
    same = ImageSet(found.images_nhwc, found.labels, ("cat", "dog"))
    assert found.classes == same.classes and {type(name) for name in found.classes} == {str}
    assert found.fingerprint() == same.fingerprint()


@pytest.mark.parametrize("classes", [range(2), (0, 1), ("cat", None), "ab", {"cat": 1, "dog": 0}, {"a", "b"}])
def test_classes_without_names_are_refused(classes: Any) -> None:
    with pytest.raises(UserError, match="; a name, a string, for each, in order, is needed"):
        ImageSet(np.zeros((2, 4, 4, 3), np.uint8), np.array([0, 1]), classes)


def test_a_name_of_two_classes_is_refused() -> None:
    with pytest.raises(UserError, match="classes name 'cat' twice"):
        ImageSet(np.zeros((2, 4, 4, 3), np.uint8), np.array([0, 1]), ("cat", "dog", "cat"))


def test_a_subset_is_a_copy_in_the_order_of_its_index() -> None:
    images = images_of(10)
    index = np.array([7, 0, 7, 3])
    part = images.subset(index)
    assert len(part) == 4
    assert part.classes == images.classes
    assert part.image_size == 6
    np.testing.assert_array_equal(part.images_nhwc, np.stack([images.images_nhwc[i] for i in index]))
    assert part.labels.tolist() == [images.labels[i] for i in index]
    part.images_nhwc[:] = 0
    assert images.images_nhwc.any()


@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 20), size=st.integers(1, 12), low=st.integers(0, 255), seed=st.integers(0, 999))
def test_channel_statistics_equal_numpy_in_float64(count: int, size: int, low: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(low, 256, (count, size, size, 3), dtype=np.uint8)
    mean, std = ImageSet(pixels, np.zeros(count, np.int64), ("a",)).channel_statistics()
    scaled = pixels.astype(np.float64) / 255
    np.testing.assert_allclose(mean, scaled.mean((0, 1, 2)), rtol=1e-12)
    constant = (pixels == pixels[0, 0, 0]).all((0, 1, 2))
    np.testing.assert_allclose(std, np.where(constant, 1.0, scaled.std((0, 1, 2))), rtol=1e-9)


def test_channel_statistics_of_more_images_than_are_counted_at_once() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (9000, 2, 2, 3), dtype=np.uint8)
    pixels[5000:] //= 3
    mean, std = ImageSet(pixels, np.zeros(9000, np.int64), ("a",)).channel_statistics()
    np.testing.assert_allclose(mean, (pixels / 255).mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, (pixels / 255).std((0, 1, 2)), rtol=1e-12)


def test_the_fingerprint_changes_with_any_pixel_label_or_class_name() -> None:
    images = images_of(5)
    same = ImageSet(images.images_nhwc.copy(), images.labels.copy(), tuple(images.classes))
    assert same.fingerprint() == images.fingerprint()
    found = {images.fingerprint()}
    for place in np.ndindex(images.images_nhwc.shape):
        pixels = images.images_nhwc.copy()
        pixels[place] ^= 1
        found.add(ImageSet(pixels, images.labels, images.classes).fingerprint())
    for place in range(5):
        labels = images.labels.copy()
        labels[place] = (labels[place] + 1) % 3
        found.add(ImageSet(images.images_nhwc, labels, images.classes).fingerprint())
    for classes in (("cat", "dog", "shi"), ("catdog", "", "ship"), ("dog", "cat", "ship"), ("cat", "dog", "ship", "x")):
        found.add(ImageSet(images.images_nhwc, images.labels, classes).fingerprint())
    found.add(ImageSet(images.images_nhwc[::-1], images.labels, images.classes).fingerprint())
    found.add(images.subset(np.arange(4)).fingerprint())
    assert len(found) == 1 + images.images_nhwc.size + 5 + 4 + 2


def test_the_fingerprint_sees_images_beyond_the_first_thousands() -> None:
    pixels = np.zeros((4100, 1, 1, 3), np.uint8)
    labels = np.zeros(4100, np.int64)
    before = ImageSet(pixels, labels, ("a",)).fingerprint()
    pixels[-1, 0, 0, 2] = 1
    assert ImageSet(pixels, labels, ("a",)).fingerprint() != before


# --- the split ---------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(
    labels=st.lists(st.integers(0, 7), min_size=1, max_size=150),
    share=st.fractions(0, 1),
    seed=st.integers(0, 2**63 - 1),
)
def test_a_split_is_disjoint_complete_and_in_proportion(labels: list[int], share: Fraction, seed: int) -> None:
    array: NDArray[np.int64] = np.array(labels, np.int64)
    count = round(share * len(labels))
    chosen, rest = stratified_split(array, count, seed)
    assert len(chosen) == count
    assert sorted([*chosen.tolist(), *rest.tolist()]) == list(range(len(labels)))
    assert chosen.tolist() == sorted(chosen.tolist())
    assert rest.tolist() == sorted(rest.tolist())
    for one in set(labels):
        exact = Fraction(labels.count(one) * count, len(labels))
        assert abs(int((array[chosen] == one).sum()) - exact) < 1


def test_whole_proportions_are_met_exactly() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 500))
    chosen, _ = stratified_split(labels, 500, 0)
    assert np.bincount(labels[chosen]).tolist() == [50] * 10


def test_a_split_depends_on_its_seed_alone() -> None:
    labels = np.random.default_rng(0).integers(0, 10, 1000)
    one, again, other = (stratified_split(labels, 100, seed)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    # Two splits at random share about a tenth.
    assert len(np.intersect1d(one, other)) < 30


def test_a_split_chooses_at_random_within_a_class() -> None:
    labels = np.zeros(1000, np.int64)
    times = np.zeros(1000)
    for seed in range(200):
        times[stratified_split(labels, 100, seed)[0]] += 1
    assert abs(times[:500].sum() - 10_000) < 400
    assert times.min() > 3
    assert times.max() < 45


# --- digits ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return digits()


def test_digits_are_all_there_as_rgb(dataset: Dataset) -> None:
    assert (len(dataset.train), len(dataset.test)) == (1437, 360)
    for part in dataset:
        assert part.classes == tuple("0123456789")
        assert part.images_nhwc.dtype == np.uint8
        assert part.images_nhwc.shape[1:] == (32, 32, 3)
        np.testing.assert_array_equal(part.images_nhwc[..., 0], part.images_nhwc[..., 1])
        np.testing.assert_array_equal(part.images_nhwc[..., 0], part.images_nhwc[..., 2])


@pytest.mark.parametrize("side", [8, 5, 32])
def test_digits_are_scaled_as_pillow_scales_each(side: int) -> None:
    from sklearn.datasets import load_digits

    labels = load_digits().target
    grey = np.clip(load_digits().images * (255 / 16), 0, 255).round().astype(np.uint8)
    _, train = stratified_split(labels, 360, seed=0)
    found = digits(image_size=side).train.images_nhwc
    for place in range(0, len(train), 50):
        scaled = Image.fromarray(grey[train[place]]).resize((side, side), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(found[place], np.asarray(scaled.convert("RGB")))


def test_the_test_digits_hold_every_class_in_proportion(dataset: Dataset) -> None:
    test, everything = (
        np.bincount(labels, minlength=10)
        for labels in (dataset.test.labels, np.concatenate([dataset.train.labels, dataset.test.labels]))
    )
    from sklearn.datasets import load_digits

    np.testing.assert_array_equal(everything, np.bincount(load_digits().target))
    assert np.abs(test - everything * 360 / 1797).max() < 1


def test_digits_show_what_scikit_learn_has(dataset: Dataset) -> None:
    """Shrunk back to 8 x 8 by the mean of 4 x 4 pixels, each image is nearest to its own original."""
    from sklearn.datasets import load_digits

    source = load_digits()
    _, train_index = stratified_split(source.target.astype(np.int64), 360, seed=0)
    np.testing.assert_array_equal(dataset.train.labels, source.target[train_index])
    small = dataset.train.images_nhwc[:, :, :, 0].reshape(-1, 8, 4, 8, 4).mean((2, 4)).reshape(len(train_index), 64)
    original = source.images.reshape(-1, 64) * (255 / 16)
    squared = (small**2).sum(1)[:, None] + (original**2).sum(1) - 2 * small @ original.T
    assert (squared.argmin(1) == train_index).mean() > 0.99


def test_the_digits_are_the_same_at_every_call_and_share_nothing(dataset: Dataset) -> None:
    again = digits()
    assert again.train.fingerprint() == dataset.train.fingerprint()
    assert again.test.fingerprint() == dataset.test.fingerprint()
    test = {image.tobytes() for image in dataset.test.images_nhwc}
    assert sum(image.tobytes() in test for image in dataset.train.images_nhwc) == 0


def test_digits_take_the_size_asked_for(dataset: Dataset) -> None:
    larger = digits(image_size=48)
    assert larger.train.images_nhwc.shape == (1437, 48, 48, 3)
    np.testing.assert_array_equal(larger.train.labels, dataset.train.labels)
