"""Counts, mistakes and stored predictions against scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_predictions import predictions
from hypothesis import given, settings
from scipy.special import softmax
from sklearn import metrics as sklearn_metrics

from onecycle import Run, UserError, recipe
from onecycle.evaluation import Labels, Logits, accuracy, class_accuracy, confusion_matrix, mistakes, probabilities


@given(predictions())
@settings(deadline=None, max_examples=60)
def test_the_confusion_matrix_is_that_of_scikit_learn(one: tuple[Logits, Labels]) -> None:
    logits, labels = one
    classes = logits.shape[1]
    matrix = confusion_matrix(logits, labels)
    predicted = logits.argmax(1)
    np.testing.assert_array_equal(matrix, sklearn_metrics.confusion_matrix(labels, predicted, labels=range(classes)))
    assert matrix.sum() == len(labels)
    # The net's accuracy is torch's, which must break ties in the same way.
    assert matrix.trace() / len(labels) == pytest.approx(
        accuracy(torch.from_numpy(logits), torch.from_numpy(labels)), abs=1e-12
    )


@given(predictions())
@settings(deadline=None, max_examples=60)
def test_the_accuracy_of_a_class_is_its_recall(one: tuple[Logits, Labels]) -> None:
    logits, labels = one
    classes = logits.shape[1]
    counts, fractions = class_accuracy(confusion_matrix(logits, labels))
    np.testing.assert_array_equal(counts, np.bincount(labels, minlength=classes))
    recall = sklearn_metrics.recall_score(
        labels, logits.argmax(1), labels=range(classes), average=None, zero_division=np.nan
    )
    np.testing.assert_allclose(fractions, recall)


@given(predictions())
@settings(deadline=None, max_examples=60)
def test_mistakes_are_all_that_is_wrong_by_falling_confidence(one: tuple[Logits, Labels]) -> None:
    logits, labels = one
    found = mistakes(logits, labels)
    assert sorted(found.index) == np.flatnonzero(logits.argmax(1) != labels).tolist()
    assert (np.diff(found.predicted_probability) <= 0).all()
    expected = softmax(logits.astype(np.float64), axis=1)
    for place, index in enumerate(found.index):
        assert found.true[place] == labels[index]
        assert found.predicted[place] == logits[index].argmax()
        assert found.predicted_probability[place] == pytest.approx(expected[index].max(), abs=1e-12)
        assert found.true_probability[place] == pytest.approx(expected[index, labels[index]], abs=1e-12)


def test_equally_confident_mistakes_keep_the_order_of_the_set() -> None:
    logits = np.tile(np.array([[2.0, 0.0]], np.float32), (4, 1))
    assert mistakes(logits, np.array([1, 0, 1, 1])).index.tolist() == [0, 2, 3]
    assert len(mistakes(logits, np.zeros(4, np.int64))) == 0


def test_probabilities_do_not_overflow() -> None:
    found = probabilities(np.array([[3e38, 0, -3e38], [1.0, 1.0, 1.0]], np.float32))
    np.testing.assert_allclose(found, [[1, 0, 0], [1 / 3] * 3])


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "run", recipe("digits"), {})


def test_predictions_come_back_as_they_were_stored(run: Run) -> None:
    logits, labels = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    run.write_predictions(logits, labels)
    run.write_model(torch.nn.Linear(1, 1), {"classes": ["a", "$b", "c/d"]})
    found = run.predictions()
    np.testing.assert_array_equal(found["logits"], logits.numpy())
    np.testing.assert_array_equal(found["labels"], labels.numpy())
    assert run.classes == ("a", "$b", "c/d")


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 cut off", b"no archive"])
def test_predictions_that_are_missing_or_damaged(run: Run, content: bytes | None) -> None:
    path = run.path / "predictions.npz"
    if content is not None:
        path.write_bytes(content)
    said = r"no training has begun here" if content is None else r"predictions\.npz: damaged; not readable as arrays"
    with pytest.raises(UserError, match=said) as raised:
        run.predictions()
    assert len(raised.value.problems) == 1


@pytest.mark.parametrize("content", [None, "{}", '{"classes": [1, 2]}', '{"classes": "cat"}', "[]"])
def test_classes_that_are_missing_or_damaged(run: Run, content: str | None) -> None:
    if content is not None:
        (run.path / "model.json").write_text(content)
    with pytest.raises(UserError, match=r"no training has begun here" if content is None else r"model\.json: damaged"):
        _ = run.classes
