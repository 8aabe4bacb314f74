"""Confident learning beside cleanlab, and beside the paper's equations written out."""

from __future__ import annotations

import numpy as np
import pytest
from cleanlab.count import get_confident_thresholds
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_normalized_margin_for_each_label
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from onecycle.evaluation import Labels, Logits, probabilities
from onecycle.explanation import find_label_errors


@st.composite
def predictions(draw: st.DrawFn) -> tuple[Logits, Labels]:
    """Logits that favour the label, in steps of a half so that ties are common; some classes may have no images."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, classes = draw(st.integers(2, 80)), draw(st.integers(2, 10))
    labels = random.integers(0, draw(st.integers(2, classes)), count).astype(np.int64)
    scale = draw(st.sampled_from([0.5, 2.0, 300.0]))
    # Classes of very different confidence: several may be confident at a time, and the most probable may not.
    logits = random.normal(0, scale, (count, classes)) + random.normal(0, scale, classes)
    logits[np.arange(count), labels] += scale * draw(st.sampled_from([0.0, 1.0, 3.0]))
    return (np.round(logits * 2) / 2).astype(np.float32), labels


def likely_class(chances: NDArray[np.float64], thresholds: NDArray[np.float64]) -> int | None:
    """Equation 1: the most probable of the classes that reach their thresholds."""
    confident = [k for k, chance in enumerate(chances) if chance >= max(thresholds[k], 2e-6) - 1e-6]
    return max(confident, key=lambda k: chances[k]) if confident else None


@given(predictions())
@settings(deadline=None, max_examples=100)
def test_the_images_are_those_of_cleanlab_but_for_what_the_paper_counts_as_right(one: tuple[Logits, Labels]) -> None:
    logits, labels = one
    assume(len(np.unique(labels)) > 1)  # with less cleanlab refuses
    chances = probabilities(logits)
    found = find_label_errors(logits, labels)
    thresholds = get_confident_thresholds(labels, chances)
    likely = [likely_class(row, thresholds) for row in chances]
    listed = np.flatnonzero(find_label_issues(labels, chances, filter_by="confident_learning", n_jobs=1)).tolist()
    assert sorted(found.index) == [index for index in listed if likely[index] != labels[index]]
    assert found.suggested.tolist() == [likely[index] for index in found.index]

    scores = get_normalized_margin_for_each_label(labels, chances)[found.index]
    assert (np.diff(scores) >= -1e-12).all()
    has_images = np.bincount(labels, minlength=logits.shape[1]) > 0
    np.testing.assert_allclose(found.thresholds[has_images], thresholds[has_images], atol=2e-6)
    assert np.isnan(found.thresholds[~has_images]).all()


@given(predictions())
@settings(deadline=None, max_examples=50)
def test_what_is_said_of_an_image_is_so(one: tuple[Logits, Labels]) -> None:
    logits, labels = one
    found = find_label_errors(logits, labels)
    chances = probabilities(logits)
    np.testing.assert_array_equal(found.given, labels[found.index])
    assert (found.given != found.suggested).all()
    for place, index in enumerate(found.index):
        assert found.given_probability[place] == chances[index, found.given[place]]
        assert found.suggested_probability[place] == chances[index, found.suggested[place]]
        assert found.suggested_probability[place] >= found.thresholds[found.suggested[place]] - 2e-6
    assert len(found) == len(found.index) == len(found.given_probability)


def test_swapped_labels_are_found_first_and_by_cleanlab_too() -> None:
    random = np.random.default_rng(0)
    true = random.integers(0, 5, 400)
    logits = random.normal(0, 2, (400, 5)).astype(np.float32)
    logits[np.arange(400), true] += 8
    labels = true.copy()
    labels[:20] = (true[:20] + 1) % 5
    found = find_label_errors(logits, labels)
    listed = find_label_issues(labels, probabilities(logits), filter_by="confident_learning", n_jobs=1)
    assert sorted(found.index) == np.flatnonzero(listed).tolist()
    swapped = found.index < 20
    assert swapped.sum() >= 16
    assert swapped[:16].all()
    np.testing.assert_array_equal(found.suggested[swapped], true[found.index[swapped]])


def test_a_mistake_without_confidence_is_no_label_error() -> None:
    # The classes' own images are at 0.88; the last image leans towards class 1 by 0.62 alone.
    logits = np.array([[2, 0], [2, 0], [0, 2], [0, 2], [0, 0.5]], np.float32)
    assert len(find_label_errors(logits, np.array([0, 0, 1, 1, 0]))) == 0


@pytest.mark.parametrize("labels", [np.array([0, 1, 2]), np.zeros(0, np.int64)])
def test_sets_where_all_is_right_and_empty_ones_have_none(labels: Labels) -> None:
    logits = (5 * np.eye(4, dtype=np.float32))[labels]
    found = find_label_errors(logits, labels)
    assert len(found) == 0
    assert found.thresholds.shape == (4,)
    assert np.isnan(found.thresholds[3])
