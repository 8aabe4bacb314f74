"""Comparisons of runs, held against slow counts, SciPy and what stands in the runs themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compared_runs import CLASSES, made_run, three_runs
from scipy.special import log_softmax, softmax
from scipy.stats import binomtest

from onecycle.comparison import compare, in_words, points
from onecycle.errors import UserError
from onecycle.run import Run


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    return three_runs(tmp_path)


def answers(run: Run) -> np.ndarray:
    return run.predictions()["logits"].argmax(1)


def test_images_fall_into_what_both_one_or_neither_gets_right(runs: list[Run]) -> None:
    found = compare(runs)
    labels = found.labels.tolist()
    for run, one in zip(runs[1:], found.differences, strict=True):
        pairs = [(a == label, b == label) for a, b, label in zip(answers(runs[0]), answers(run), labels, strict=True)]
        assert one.both_right == pairs.count((True, True))
        assert one.both_wrong == pairs.count((False, False))
        assert sorted(one.only_baseline.index) == [place for place, pair in enumerate(pairs) if pair == (True, False)]
        assert sorted(one.only_this.index) == [place for place, pair in enumerate(pairs) if pair == (False, True)]
        assert one.p == pytest.approx(
            binomtest(pairs.count((False, True)), pairs.count((False, True)) + pairs.count((True, False))).pvalue
        )
        assert one.difference == pytest.approx((answers(run) == labels).mean() - (answers(runs[0]) == labels).mean())
        assert one.interval.low < one.difference < one.interval.high


def test_each_image_says_what_both_nets_answer_and_the_most_telling_come_first(runs: list[Run]) -> None:
    found = compare(runs[:2])
    baseline, other = (softmax(run.predictions()["logits"].astype(float), axis=1) for run in runs[:2])
    (one,) = found.differences
    for images, right, wrong in ((one.only_this, other, baseline), (one.only_baseline, baseline, other)):
        apart = []
        for place, index in enumerate(images.index):
            true = found.labels[index]
            assert images.true[place] == true == right[index].argmax()
            assert images.mistaken[place] == wrong[index].argmax() != true
            assert images.right_probability[place] == pytest.approx(right[index, true])
            assert images.wrong_probability[place] == pytest.approx(wrong[index, true])
            assert images.mistaken_probability[place] == pytest.approx(wrong[index].max())
            apart.append(right[index, true] - wrong[index, true])
        assert len(apart) > 1
        assert apart == sorted(apart, reverse=True)


def test_the_facts_of_each_run_are_its_own(runs: list[Run]) -> None:
    found = compare(runs)
    assert [(run.letter, run.label) for run in found.runs] == [("A", "base"), ("B", "wide"), ("C", "third")]
    for run, one in zip(runs, found.runs, strict=True):
        logits, labels = run.predictions()["logits"].astype(float), run.predictions()["labels"]
        right = int((logits.argmax(1) == labels).sum())
        assert one.accuracy == right / len(labels)
        expected = binomtest(right, len(labels)).proportion_ci(method="wilson")
        assert one.interval == pytest.approx((expected.low, expected.high))
        assert one.loss == pytest.approx(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())
        assert list(one.metrics) == run.metrics()
        assert one.epochs == run.summary["epochs"]


def test_only_the_keys_that_differ_are_told_with_a_value_for_each_run(runs: list[Run]) -> None:
    lr_max = runs[0].recipe.schedule.options["lr_max"]
    assert compare(runs).recipe == {
        "seed": (0, 7, 0),
        "schedule.lr_max": (lr_max, 0.02, lr_max),
        "ema.decay": (None, None, 0.9),
    }


def test_a_run_and_its_copy_are_the_same(tmp_path: Path) -> None:
    found = compare([made_run(tmp_path / "one"), made_run(tmp_path / "two")])
    (one,) = found.differences
    assert (one.difference, one.p, len(one.only_this), len(one.only_baseline)) == (0, 1, 0, 0)
    assert one.interval.low < 0 < one.interval.high
    assert found.recipe == {}
    assert in_words(found, 0).startswith("B and A get the same images right")


def test_everything_right_is_compared_too(tmp_path: Path) -> None:
    found = compare([made_run(tmp_path / "one", strength=99), made_run(tmp_path / "two", strength=99, noise=1)])
    assert found.differences[0].both_right == found.images == 200


def test_the_json_has_it_all_without_numbers_that_json_lacks(runs: list[Run]) -> None:
    found = compare(runs)
    read = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert [run["letter"] for run in read["runs"]] == ["A", "B", "C"]
    assert read["runs"][1]["path"] == str(runs[1].path)
    assert read["recipe"]["ema.decay"] == [None, None, 0.9]
    assert [(one["run"], one["baseline"]) for one in read["differences"]] == [("B", "A"), ("C", "A")]
    image = read["differences"][0]["only_this"][0]
    assert image["true"] == CLASSES[found.labels[image["index"]]]
    assert len(read["differences"][0]["only_this"]) == len(found.differences[0].only_this)


@pytest.mark.parametrize(
    ("folders", "labels"),
    [
        (["a", "b"], ["a", "b"]),
        (["x/run", "y/run"], ["x/run", "y/run"]),
        (["x/run", "y/run", "x/other"], ["x/run", "y/run", "x/other"]),
        (["2026-11-20T12-00-00_net_s0", "2026-11-20T12-30-00_net_s1"], ["net_s0", "net_s1"]),
        (
            ["2026-11-20T12-00-00_net_s0", "2026-11-20T12-30-00_net_s0"],
            ["2026-11-20T12-00-00_net_s0", "2026-11-20T12-30-00_net_s0"],
        ),
    ],
)
def test_labels_tell_the_runs_apart(folders: list[str], labels: list[str], tmp_path: Path) -> None:
    runs = [made_run(tmp_path / folder) for folder in folders]
    assert [run.label for run in compare(runs).runs] == labels


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"data.image_size": 16}, True),
        ({"data.fit": "pad"}, True),
        ({"data.split_seed": 3}, False),  # with the same size the fingerprint tells
        ({"data.image_size": 16, "data.split_seed": 3}, False),
        ({"data.image_size": 16, "data.name": "/images/others"}, False),
    ],
)
def test_the_same_images_in_another_size_or_fit_are_the_same(
    tmp_path: Path, changes: dict[str, Any], same: bool
) -> None:
    first = made_run(tmp_path / "first", **{"data.name": "/images/mine"})
    other = made_run(tmp_path / "other", fingerprint="g", **{"data.name": "/images/mine", **changes})
    if same:
        assert len(compare([first, other]).differences) == 1
    else:
        with pytest.raises(UserError, match="other: was tested on other images than"):
            compare([first, other])


def test_what_cannot_be_compared_is_refused(runs: list[Run], tmp_path: Path) -> None:
    base = runs[0]
    with pytest.raises(UserError, match=r"^1 run to compare; 2 to 16 are needed$"):
        compare([base])
    with pytest.raises(UserError, match="17 runs to compare"):
        compare([base] * 17)
    with pytest.raises(UserError, match="base: named twice"):
        compare([base, Run.open(tmp_path / "wide" / ".." / "base")])
    one, two = (made_run(tmp_path / name, finished=False) for name in ("one", "two"))
    with pytest.raises(UserError, match=r"one: the training has not ended.*resume .*one\n.*two: ") as refused:
        compare([base, one, two])
    assert len(refused.value.problems) == 2
    others = {
        "its classes are not those": made_run(tmp_path / "classes", classes=("cat", "dog", "bird", "fish")),
        "was tested on other images": made_run(tmp_path / "labels", labels=np.zeros(200, np.int64)),
        "other images than": made_run(tmp_path / "fewer", labels=np.arange(100) % 4),
        "on other images": made_run(tmp_path / "pixels", fingerprint="g"),
        r"predictions\.npz: logits of 1 of 200 images are NaN": made_run(
            tmp_path / "nan", logits_nk=np.where(np.arange(800).reshape(200, 4) == 5, np.nan, 0).astype(np.float32)
        ),
    }
    for reason, other in others.items():
        with pytest.raises(UserError, match=reason):
            compare([base, other])
    (base.path / "summary.json").write_text("{}")
    with pytest.raises(UserError, match=r"base/summary\.json: damaged; it has no epochs, steps"):
        compare(runs)


def test_images_in_another_size_are_the_same_images(tmp_path: Path) -> None:
    one = made_run(tmp_path / "one")
    other = made_run(tmp_path / "other", fingerprint="g", **{"data.image_size": 64})
    assert compare([one, other]).recipe == {"data.image_size": (one.recipe.data.image_size, 64)}


def answered(tmp_path: Path, name: str, wrong: range, count: int = 1000) -> Run:
    """A run that is wrong on these images of two classes, and right on the others."""
    labels = np.zeros(count, np.int64)
    logits = np.tile(np.float32([1, 0]), (count, 1))
    logits[list(wrong)] = [0, 1]
    return made_run(tmp_path / name, labels=labels, logits_nk=logits, classes=("yes", "no"))


def test_the_sentence_says_which_is_better_and_how_sure_that_is(tmp_path: Path) -> None:
    base, better, near, even = (
        answered(tmp_path, name, wrong)
        for name, wrong in (
            ("base", range(100)),
            ("better", range(40)),
            ("near", range(98)),
            ("even", range(10, 110)),
        )
    )
    found = compare([base, better, near, even])
    low, high = found.differences[0].interval
    assert in_words(found, 0) == (
        f"B is 6.00 points better than A (95% interval {100 * low:.2f} to {100 * high:.2f}; p < 0.0001)"
    )
    assert in_words(found, 1).startswith("C is 0.20 points better than A, which may be chance (95% interval \u22120.")
    assert in_words(found, 1).endswith("p = 0.5)")
    assert in_words(found, 2).startswith("D is right as often as A (")
    turned = compare([better, base])
    assert in_words(turned, 0) == in_words(found, 0).replace("better", "worse")
    assert points(-0.00001) == "0.00"
