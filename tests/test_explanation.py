"""Mistakes: which are shown, and what the net looked at in them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import small
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from onecycle import ImageSet, UserError
from onecycle.evaluation import Mistakes, mistakes
from onecycle.explanation import METHODS, Activations, class_activation, explain, first, select

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
CLASSES = ("cat", "dog", "$5 & <6>", "a 'b' \"c\"")
FIELDS = [field.name for field in dataclasses.fields(Mistakes)]


def made(count: int = 60, classes: int = 4, seed: int = 0) -> Mistakes:
    """Mistakes among `count` images of random logits."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (count, classes)).astype(np.float32)
    return mistakes(logits, random.integers(0, classes, count))


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return small.net()


@pytest.fixture(scope="module")
def images() -> ImageSet:
    return small.images(60)


def explained(net: nn.Module, images: ImageSet, found: Mistakes, **options: Any) -> Activations:
    return explain(net, images, found, mean=MEAN, std=STD, **options)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("batch_size", [7, 128])
def test_the_maps_are_those_of_the_normalised_images_each_to_its_maximum(
    net: nn.Module, images: ImageSet, method: Any, batch_size: int
) -> None:
    found = made()
    activations = explained(net, images, found, layer="5", method=method, batch_size=batch_size)
    assert (activations.layer, activations.method) == ("5", method)
    pixels = images.images_nhwc[found.index] / 255
    normalized = torch.from_numpy((pixels - MEAN) / STD).permute(0, 3, 1, 2).float()
    for maps, targets in ((activations.of_predicted, found.predicted), (activations.of_true, found.true)):
        expected = class_activation(net, normalized, torch.from_numpy(targets), layer="5", method=method).numpy()
        maxima = expected.max(axis=(1, 2), keepdims=True)
        assert (maxima > 0).any()
        np.testing.assert_allclose(maps, expected / np.where(maxima > 0, maxima, 1), rtol=1e-3, atol=1e-5)
        assert maps.dtype == np.float32
        assert set(maps.max(axis=(1, 2))) <= {0.0, 1.0}
        assert maps.min() >= 0
    assert not np.array_equal(activations.of_predicted, activations.of_true)


def test_maps_where_nothing_speaks_for_a_class_stay_zero(net: nn.Module, images: ImageSet) -> None:
    blind = small.net()
    linear = blind.get_submodule("9")
    assert isinstance(linear, nn.Linear)
    nn.init.constant_(linear.weight, -1.0)
    activations = explained(blind, images, made(), layer="5")
    assert not activations.of_predicted.any()
    assert not activations.of_true.any()


def test_without_a_name_it_is_the_default_layer(net: nn.Module, images: ImageSet) -> None:
    assert explained(net, images, made()).layer == "6"


@pytest.mark.parametrize("layer", [None, "5"])
def test_without_mistakes_there_are_no_maps(net: nn.Module, images: ImageSet, layer: str | None) -> None:
    none = mistakes(np.eye(4, dtype=np.float32), np.arange(4))
    activations = explained(net, images, none, layer=layer)
    assert activations.of_predicted.shape == activations.of_true.shape == (0, 1, 1)
    assert len(activations) == 0
    assert activations.layer == (layer or "6")


def test_images_of_another_size_choose_the_default_layer() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (6, 12, 12, 3), dtype=np.uint8)
    own = ImageSet(pixels, np.arange(6) % 4, CLASSES)
    convs = nn.Sequential(nn.Conv2d(3, 4, 5, stride=2), nn.ReLU(), nn.Conv2d(4, 4, 4), nn.Flatten(), nn.Linear(4, 4))
    found = mistakes(np.eye(4, dtype=np.float32)[[1, 1, 1, 1, 1, 1]], own.labels)
    activations = explained(convs, own, found)
    assert activations.layer == "1"
    assert activations.of_true.shape == (len(found), 4, 4)


# --- which mistakes --------------------------------------------------------------------------------------------------


classes = st.none() | st.integers(0, 3)


@given(st.integers(0, 10_000), classes, classes)
@settings(deadline=None, max_examples=100)
def test_the_mistakes_of_a_kind_are_chosen_in_their_order(seed: int, true: int | None, predicted: int | None) -> None:
    assume(true is None or true != predicted)
    found = made(seed=seed)
    places = [
        place
        for place in range(len(found))
        if true in (None, found.true[place]) and predicted in (None, found.predicted[place])
    ]
    names = {key: None if one is None else CLASSES[one] for key, one in (("true", true), ("predicted", predicted))}
    if not places:
        with pytest.raises(UserError, match=r"^no image"):
            select(found, CLASSES, **names)
        return
    chosen = select(found, CLASSES, **names)
    assert (np.diff(chosen.predicted_probability) <= 0).all()
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(chosen, name), getattr(found, name)[places])


def test_the_first_are_the_most_confident_twenty_unless_asked() -> None:
    found = made()
    assert len(first(found)) == 20
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(first(found, 7), name), getattr(found, name)[:7])
    assert len(first(made(10), 200)) == len(made(10))
    assert len(first(made(0))) == 0
    for count in (0, -1, 201):
        with pytest.raises(UserError, match=f"count {count} is outside 1 to 200"):
            first(found, count)


def test_what_cannot_be_chosen_is_one_clear_line() -> None:
    found = made()
    of_dogs = Mistakes(*(getattr(found, name)[found.true == 1] for name in FIELDS))
    cases: list[tuple[Mistakes, dict[str, str], str]] = [
        (found, {"true": "dgo"}, "class 'dgo' is unknown; did you mean 'dog'?"),
        (found, {"true": "dog", "predicted": "cats"}, "class 'cats' is unknown; did you mean 'cat'?"),
        (
            found,
            {"true": "dog", "predicted": "dog"},
            "true and predicted are both 'dog'; two different classes are needed",
        ),
        (of_dogs, {"true": "cat"}, "no image of 'cat' is misclassified"),
        (of_dogs, {"true": "cat", "predicted": "dog"}, "no image of 'cat' is taken for 'dog'"),
        (of_dogs, {"predicted": "dog"}, "no image is taken for 'dog'"),
        (made(0), {}, "no image is misclassified"),
    ]
    for some, options, message in cases:
        with pytest.raises(UserError) as raised:
            select(some, CLASSES, **options)
        assert raised.value.problems == (message,)
