"""An evaluation against scikit-learn, torch and slow loops."""

from __future__ import annotations

import json
import math
from collections import Counter

import numpy as np
import pytest
import scipy.stats
import torch
from drawn_predictions import predictions
from hypothesis import given, settings
from scipy.special import softmax
from sklearn import metrics as sklearn_metrics

from onecycle import UserError
from onecycle.evaluation import Evaluation, Labels, Logits, cross_entropy, evaluate, evaluating, most_confused, percent


def evaluated(logits: Logits, labels: Labels) -> Evaluation:
    return evaluate(logits, labels, [f"class {one}" for one in range(logits.shape[1])])


@given(predictions())
@settings(deadline=None, max_examples=60)
def test_an_evaluation_is_what_scikit_learn_and_torch_find(one: tuple[Logits, Labels]) -> None:
    logits, labels = one
    found = evaluated(logits, labels)
    classes = range(logits.shape[1])
    predicted = logits.argmax(1)
    np.testing.assert_array_equal(found.confusion, sklearn_metrics.confusion_matrix(labels, predicted, labels=classes))
    assert (found.images, found.right) == (len(labels), (predicted == labels).sum())
    assert found.accuracy == found.top[1] == sklearn_metrics.accuracy_score(labels, predicted)
    expected = scipy.stats.binomtest(found.right, found.images).proportion_ci(method="wilson")
    assert found.interval == pytest.approx((expected.low, expected.high), abs=1e-12)
    tensors = torch.from_numpy(logits), torch.from_numpy(labels)
    assert found.loss == pytest.approx(cross_entropy(*tensors), rel=1e-12, abs=1e-12)


@given(predictions())
@settings(deadline=None, max_examples=60)
def test_precision_recall_and_f1_are_those_of_scikit_learn(one: tuple[Logits, Labels]) -> None:
    logits, labels = one
    found = evaluated(logits, labels)
    options = {"labels": range(logits.shape[1]), "average": None, "zero_division": np.nan}
    columns = sklearn_metrics.precision_recall_fscore_support(labels, logits.argmax(1), **options)
    for result, expected in zip(found.by_class, zip(*columns, strict=True), strict=True):
        assert (result.precision, result.recall, result.f1, result.images) == pytest.approx(expected, nan_ok=True)
        assert math.isnan(result.accuracy) or result.accuracy == result.recall
        assert result.interval.low <= np.nan_to_num(result.recall) <= result.interval.high
    present = np.unique(labels)
    macro = sklearn_metrics.precision_recall_fscore_support(
        labels, logits.argmax(1), labels=present, average="macro", zero_division=0
    )
    assert (found.macro_precision, found.macro_recall, found.macro_f1) == pytest.approx(macro[:3])


@given(predictions())
@settings(deadline=None, max_examples=60)
def test_the_top_k_are_those_of_scikit_learn(one: tuple[Logits, Labels]) -> None:
    logits, labels = one
    classes = logits.shape[1]
    found = evaluated(logits, labels).top
    assert list(found) == [k for k in (1, 2, 3, 5) if k < classes]
    if classes == 2:
        return  # to scikit-learn, two classes have one score
    for k, share in found.items():
        # Of equal scores scikit-learn prefers the last class, and we the first: it is shown them from behind.
        behind = classes - 1 - labels, logits[:, ::-1]
        assert share == sklearn_metrics.top_k_accuracy_score(*behind, k=k, labels=range(classes))


@given(predictions())
@settings(deadline=None, max_examples=60)
def test_the_confused_pairs_are_all_that_is_wrong_the_most_frequent_first(one: tuple[Logits, Labels]) -> None:
    found = evaluated(*one)
    mistaken = Counter((true, answer) for true, answer in zip(one[1], one[0].argmax(1), strict=True) if true != answer)
    assert {(pair.true, pair.predicted): pair.count for pair in found.pairs} == mistaken
    ranked = [(-pair.count, pair.true, pair.predicted) for pair in found.pairs]
    assert ranked == sorted(ranked)
    for pair in found.pairs:
        assert pair.share == pair.count / (one[1] == pair.true).sum()


@given(predictions())
@settings(deadline=None, max_examples=60)
def test_calibration_is_that_of_a_slow_loop(one: tuple[Logits, Labels]) -> None:
    logits, labels = one
    found = evaluated(logits, labels).calibration
    chances = softmax(logits.astype(np.float64), axis=1)
    confidence, right = chances.max(1), logits.argmax(1) == labels
    ece = 0.0
    for place in range(15):
        low, high = found.edges[place], found.edges[place + 1]
        inside = (confidence > low) & (confidence <= high)
        assert found.counts[place] == inside.sum()
        if inside.any():
            assert found.confidence[place] == pytest.approx(confidence[inside].mean())
            assert found.accuracy[place] == pytest.approx(right[inside].mean())
            ece += abs(right[inside].mean() - confidence[inside].mean()) * inside.mean()
        else:
            assert np.isnan([found.confidence[place], found.accuracy[place]]).all()
    np.testing.assert_allclose(found.edges, np.arange(16) / 15)
    assert found.ece == pytest.approx(ece, abs=1e-12)
    assert found.gap == pytest.approx(confidence.mean() - right.mean(), abs=1e-12)


def test_a_confidence_on_an_edge_is_in_the_bin_below() -> None:
    """As in Guo et al."""
    logits = np.zeros((1, 15), np.float32)  # a confidence of 1/15, the first edge
    assert evaluated(logits, np.array([0])).calibration.counts.tolist() == [1] + [0] * 14
    certain = np.array([[3e38, 0.0]], np.float32)  # of 1, the last edge
    assert evaluated(certain, np.array([1])).calibration.counts.tolist() == [0] * 14 + [1]


def test_of_equal_logits_the_first_class_is_the_answer() -> None:
    found = evaluated(np.zeros((4, 4), np.float32), np.arange(4))
    assert found.top == {1: 0.25, 2: 0.5, 3: 0.75}
    assert found.loss == pytest.approx(math.log(4))


def test_the_largest_logits_give_a_finite_loss() -> None:
    found = evaluated(np.array([[3e38, -3e38, 0.0]] * 2, np.float32), np.array([0, 1]))
    assert found.loss == pytest.approx(3e38)
    assert found.accuracy == 0.5


def test_an_evaluation_does_not_depend_on_how_many_rows_are_read_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(50, 7)).astype(np.float32), random.integers(0, 7, 50)
    whole = evaluated(logits, labels)
    monkeypatch.setattr(evaluating, "_BLOCK", 20)
    assert evaluated(logits, labels).to_dict() == whole.to_dict()


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_labels_of_few_bits_count_the_same(dtype: type[np.integer]) -> None:
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(300, 100)).astype(np.float32), random.integers(0, 100, 300)
    assert evaluated(logits, labels.astype(dtype)).to_dict() == evaluated(logits, labels).to_dict()


@given(predictions())
@settings(deadline=None, max_examples=30)
def test_a_program_gets_all_of_it_as_json(one: tuple[Logits, Labels]) -> None:
    found = evaluated(*one)
    shown = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert shown == found.to_dict()
    for name in ("images", "right", "accuracy", "loss", "macro_precision", "macro_recall", "macro_f1"):
        assert shown[name] == getattr(found, name)
    assert shown["classes"] == [result["name"] for result in shown["by_class"]] == list(found.classes)
    assert np.array_equal(shown["confusion"], found.confusion)
    assert sum(result["images"] for result in shown["by_class"]) == shown["images"]
    for result, expected in zip(shown["by_class"], found.by_class, strict=True):
        assert (result["recall"] is None) == (expected.images == 0)
        assert (result["precision"] is None) == (expected.predicted == 0)
    for pair in shown["pairs"]:
        place = found.classes.index(pair["true"]), found.classes.index(pair["predicted"])
        assert pair["count"] == found.confusion[place]
    assert sum(shown["calibration"]["counts"]) == shown["images"]


def test_of_a_thousand_classes_json_lists_the_first_hundred_pairs() -> None:
    labels = np.arange(1000)
    found = evaluated(np.eye(1000, dtype=np.float32)[(labels + 1) % 1000], labels)
    shown = found.to_dict()
    assert (shown["pair_count"], len(shown["pairs"])) == (1000, 100)
    assert shown["pairs"][0] == {"true": "class 0", "predicted": "class 1", "count": 1, "share": 1.0}
    assert found.accuracy == found.macro_f1 == 0


GOOD = np.zeros((4, 3), np.float32)
BAD = GOOD + np.array([[0], [np.nan], [np.inf], [0]], np.float32)


@pytest.mark.parametrize(
    ("logits", "labels", "said"),
    [
        (GOOD, [0, 1, 2], r"logits are float32 \[4, 3\]; floats \[3, 3\] are needed for 3 labels and 3 classes"),
        (GOOD[:, :2], [0, 1, 1, 0], r"logits are float32 \[4, 2\]; floats \[4, 3\] are needed"),
        (GOOD[0], [0, 1, 2], r"logits are float32 \[3\]; floats \[3, 3\] are needed"),
        (GOOD.astype(int), [0, 1, 2, 0], r"logits are int64 \[4, 3\]; floats"),
        (GOOD, [0.0, 1.0, 2.0, 0.0], r"labels are float64 \[4\]; a whole number for each image is needed"),
        (GOOD, [[0], [1], [2], [0]], r"labels are int64 \[4, 1\]; a whole number for each image is needed"),
        (GOOD, [0, 1, 3, 0], r"labels run from 0 to 3; 0 to 2 is needed, as there are 3 classes"),
        (GOOD, [0, -1, 2, 0], r"labels run from -1 to 2; 0 to 2 is needed"),
        (BAD, [0, 1, 2, 0], r"logits of 2 of 4 images are NaN or infinite, the first at row 1; finite ones"),
        (GOOD[:0], np.zeros(0, np.int64), "there are no predictions"),
    ],
)
def test_what_does_not_fit_is_said_in_a_line(logits: Logits, labels: list[int], said: str) -> None:
    with pytest.raises(UserError, match=said) as raised:
        evaluate(logits, np.array(labels), ["a", "b", "c"])
    assert len(raised.value.problems) == 1


@pytest.mark.parametrize(
    "share, digits, said",
    [
        (0, 1, "0.0%"),
        (1e-9, 1, "<0.1%"),
        (0.0005, 1, "0.1%"),
        (0.5, 1, "50.0%"),
        (0.9994, 1, "99.9%"),
        (0.9995, 1, ">99.9%"),
        (1, 1, "100.0%"),
        (0.99996, 2, ">99.99%"),
        (0.004, 0, "<1%"),
        (0.996, 0, ">99%"),
        (math.nan, 1, "-"),
    ],
)
def test_a_share_is_never_rounded_to_none_or_all(share: float, digits: int, said: str) -> None:
    assert percent(share, digits) == said


def test_of_many_classes_those_of_the_largest_confusions_are_kept() -> None:
    confusion = np.diag(np.full(30, 9))
    assert most_confused(confusion, 20).tolist() == list(range(19))  # nothing is confused
    confusion[28, 3], confusion[7, 3], confusion[5, 6] = 2, 4, 1
    assert most_confused(confusion, 20).tolist() == [3, 5, 6, 7, 28]
    assert most_confused(confusion, 4).tolist() == [3, 7, 28]  # and the others' row
    assert most_confused(confusion, 30).tolist() == list(range(30))
