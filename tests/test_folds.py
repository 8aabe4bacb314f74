"""Cross-validation: what the folds are, that every image is predicted unseen, and that a killed one goes on."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from own_images import own_cache, write_images  # noqa: F401  # the fixture of every test
from sklearn.model_selection import StratifiedKFold
from small import StopAt, assert_same_run, dataset, images, net, small_recipe

import onecycle
from onecycle import CrossValidation, Dataset, ImageSet, Observer, Run, Stopped, UserError, explanation, training
from onecycle.api import folds as api_folds
from onecycle.data import stratified_folds
from onecycle.preparation import Sets, images_of, split
from onecycle.sealing import digest, read_sealed_json, write_sealed_json

SILENT = Observer()


def cross_validate(out: Path, **options: Any) -> CrossValidation:
    given_in: dict[str, Any] = {"model": net(), "data": dataset(), "observer": SILENT, "folds": 3}
    for key in ("model", "data", "observer", "folds", "init"):
        given_in |= {key: options.pop(key)} if key in options else {}
    wanted = small_recipe(**{"precision": "fp32", "schedule.epochs": 2, "schedule.lr_max": 0.005, **options})
    return onecycle.cross_validate(wanted, out=out, **given_in)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> CrossValidation:
    return cross_validate(tmp_path_factory.mktemp("whole") / "cv")


# --- the folds ---------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 5), min_size=12, max_size=200), st.integers(2, 6), st.integers(0, 2**63 - 1))
@settings(deadline=None, max_examples=60)
def test_folds_are_stratified_as_those_of_scikit_learn(labels: list[int], folds: int, seed: int) -> None:
    found = np.array(labels)
    fold = stratified_folds(found, folds, seed)
    assert np.array_equal(fold, stratified_folds(found, folds, seed))
    by_fold = [np.bincount(found[fold == number], minlength=6) for number in range(folds)]
    assert sum(by_fold).tolist() == np.bincount(found, minlength=6).tolist()  # every image once
    assert np.ptp(by_fold, axis=0).max() <= 1 and np.ptp(np.bincount(fold, minlength=folds)) <= 1
    present = np.bincount(found)
    if present[present > 0].min() >= folds:  # which scikit-learn asks for
        theirs = [
            np.bincount(found[held_out], minlength=6)
            for _, held_out in StratifiedKFold(folds, shuffle=True, random_state=0).split(found, found)
        ]
        assert np.sort(by_fold, axis=0).tolist() == np.sort(theirs, axis=0).tolist()


def test_folds_depend_on_the_seed() -> None:
    labels = np.arange(100) % 4
    assert not np.array_equal(stratified_folds(labels, 5, 0), stratified_folds(labels, 5, 1))


def test_a_fold_is_held_out_of_what_a_limit_leaves_and_a_val_part_joins() -> None:
    data = dataset()
    wanted = small_recipe(**{"data.fold": [2, 3], "data.train_limit": 90, "data.split_seed": 4})
    parts = [split(wanted.evolve(data={"fold": (number, 3)}), data) for number in (1, 2, 3)]
    limited = split(wanted.evolve(data={"fold": None}), data).train
    assert [len(one.train) for one in parts] == [60, 60, 60]
    held_out = [pixels.tobytes() for one in parts if one.val for pixels in one.val.images_nhwc]
    assert sorted(held_out) == sorted(pixels.tobytes() for pixels in limited.images_nhwc)
    for one in parts:
        assert one.val and not {p.tobytes() for p in one.train.images_nhwc} & {p.tobytes() for p in one.val.images_nhwc}
        assert one.test is data.test
    joined = split(small_recipe(**{"data.fold": [1, 2]}), Sets(data.train, images(40, 9), data.test))
    assert joined.val and len(joined.train) + len(joined.val) == 240


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data.fold": [0, 3]}, r"data\.fold \[0, 3\]: must be a fold, counted from 1, and how many there are"),
        ({"data.fold": [4, 3]}, r"must be a fold, counted from 1"),
        ({"data.fold": [1, 1]}, r"must be a fold, counted from 1"),
        ({"data.fold": 3}, r"data\.fold 3: must be two numbers or null"),
        ({"data.fold": [True, 3]}, "a number is needed, not true or false"),
        ({"data.fold": [1, 3], "data.val_fraction": 0.1}, "would each hold out a part; one of the two"),
    ],
)
def test_what_is_no_fold_is_refused_with_the_recipe(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        small_recipe(**changes)
    assert len(caught.value.problems) == 1


def test_a_fold_can_steer_a_plateau() -> None:
    plateau = {"name": "plateau", "epochs": 3, "lr": 0.02, "monitor": "val_loss"}
    assert small_recipe(schedule=plateau, **{"data.fold": [1, 3]}).data.fold == (1, 3)


def test_what_cannot_be_cross_validated_is_said_before_anything_is_written(tmp_path: Path) -> None:
    data = dataset()
    rare = np.flatnonzero(data.train.labels != 2)
    few = Dataset(data.train.subset(np.sort(np.append(rare, np.flatnonzero(data.train.labels == 2)[:2]))), data.test)
    for options, said in (
        ({"data": few}, "3 folds: class 'class 2' has 2 training images; 3 or more of each class are needed, or fewer"),
        ({"folds": 1}, "1 folds: two or more are needed, such as 5"),
        ({"folds": 2.5}, "2.5 folds: two or more are needed"),
        ({"data.val_fraction": 0.1}, "would each hold out a part"),
        # 67 of 200 images in the first two folds, 66 in the last one: 133 are too few in those alone.
        ({"data.batch_size": 134}, r"data.batch_size 134 is larger than the training set; at most 133"),
        ({"data.train_limit": 500}, "data.train_limit 500 is larger than the training set; at most 200"),
        ({"model": None, "model.name": "custom_resnett"}, "did you mean 'custom_resnet'"),
    ):
        with pytest.raises(UserError, match=said) as caught:
            cross_validate(tmp_path / "cv", **options)
        assert len(caught.value.problems) == 1 and not (tmp_path / "cv").exists(), said


# --- the result --------------------------------------------------------------------------------------------------


def test_every_training_image_is_predicted_by_a_net_that_did_not_see_it(whole: CrossValidation) -> None:
    train = dataset().train
    assert np.array_equal(whole.index, np.arange(200)) and np.array_equal(whole.labels, train.labels)
    for number, run in enumerate(whole.runs, 1):
        inside = whole.fold == number
        sets = images_of(run, data=dataset())
        assert sets.val and np.array_equal(sets.val.images_nhwc, train.images_nhwc[inside])
        assert np.array_equal(sets.train.images_nhwc, train.images_nhwc[~inside])
        elsewhere = run.evaluate(data=sets.val, model=net())  # through the run alone
        result = whole.by_fold[number - 1]
        assert (result.fold, result.images, result.accuracy) == (number, inside.sum(), elsewhere.accuracy)
        assert result.accuracy == run.metrics()[-1]["val_accuracy"]
        assert result.test_accuracy == run.summary["test"]["accuracy"]
        assert run.recipe.data.fold == (number, 3) and run.recipe.data.statistics == sets.train.channel_statistics()
    assert whole.logits_nk.dtype == np.float32 and whole.evaluation.images == 200
    by_fold = sum(run.evaluate(data=images_of(run, data=dataset()).val, model=net()).confusion for run in whole.runs)
    assert np.array_equal(whole.evaluation.confusion, by_fold)


def test_mean_spread_and_interval(whole: CrossValidation) -> None:
    accuracies = [one.accuracy for one in whole.by_fold]
    found = whole.accuracy
    low, high = scipy.stats.t.interval(0.95, 2, np.mean(accuracies), scipy.stats.sem(accuracies))
    assert (found.mean, found.deviation) == pytest.approx((np.mean(accuracies), np.std(accuracies, ddof=1)))
    assert found.low is not None and found.high is not None
    assert (found.low, found.high) == pytest.approx((low, high))
    assert whole.test_accuracy.n == 3
    stored = json.loads((whole.path / "folds.json").read_text())
    assert stored["accuracy"]["mean"] == found.mean and "Bengio & Grandvalet, 2004" in stored["caution"]
    assert stored["out_of_fold"]["accuracy"] == whole.evaluation.accuracy


def test_label_errors_are_found_in_the_training_images(tmp_path: Path) -> None:
    train = images(200, 0)
    wrong = np.array([3, 50, 120])
    labels = train.labels.copy()
    labels[wrong] = (labels[wrong] + 1) % 4
    data = Dataset(ImageSet(train.images_nhwc, labels, train.classes), images(60, 1))
    longer = {"schedule.epochs": 8, "schedule.lr_max": 0.02, "data.batch_size": 20}
    as_they_are = {"augment.crop_padding": 0, "augment.cutout": 0}
    found = cross_validate(tmp_path / "cv", data=data, model=net(0.0), **longer, **as_they_are)
    errors = found.label_errors()
    assert set(wrong) <= set(found.index[errors.index])
    again = explanation.find_label_errors(found.logits_nk, found.labels)
    assert np.array_equal(again.index, errors.index)
    explained = CrossValidation.load(found.path).explain(data=data)
    listed = explained.to_dict()["label_errors"]
    assert [one["index"] for one in listed] == found.index[errors.index].tolist()
    assert all(one["given"] == train.classes[labels[one["index"]]] for one in listed)
    assert explained.images is not None and explained.files is None
    assert np.array_equal(explained.images.images_nhwc, train.images_nhwc[found.index])
    assert explained.save(count=2) == [found.path / "plots" / "label_errors.png"]
    with pytest.raises(UserError, match="train_fingerprint differs"):
        found.explain(data=Dataset(images(200, 3), data.test))
    without = found.explain()
    assert "hand it in again" in without.why_no_images and without.save() == []
    assert len(without.label_errors) == len(errors)


def test_it_is_read_back_and_damage_is_named(whole: CrossValidation, tmp_path: Path) -> None:
    back = CrossValidation.load(whole.path)
    assert back.to_dict() == whole.to_dict() and np.array_equal(back.logits_nk, whole.logits_nk)
    assert np.array_equal(back.fold, whole.fold) and np.array_equal(back.index, whole.index)
    copy = tmp_path / "copy"
    shutil.copytree(whole.path, copy)
    for name, needed in (("out_of_fold.npz", "damaged"), ("folds.json", "damaged"), ("cross_validation.json", "damag")):
        content = (copy / name).read_bytes()
        (copy / name).write_bytes(content.replace(b"fold", b"mold"))
        with pytest.raises(UserError, match=rf"{name}: {needed}"):
            onecycle.resume_folds(copy)
        (copy / name).write_bytes(content)
    whole_labels = {"labels": back.labels, "index": back.index, "fold": back.fold}
    for arrays, said in (
        ({"logits": back.logits_nk}, "not readable as arrays"),
        ({"logits": np.array([{}], object), **whole_labels}, "not readable as arrays"),
        ({"logits": back.logits_nk[:-1], **whole_labels}, r"logits is float32 \[199, 4\]"),
        (
            {"logits": back.logits_nk, **whole_labels, "fold": np.ones(200, int)},
            "its folds are not those of folds.json",
        ),
    ):
        np.savez(copy / "out_of_fold.npz", **arrays)
        result = read_sealed_json(copy / "folds.json")
        result["files"]["out_of_fold.npz"] = digest((copy / "out_of_fold.npz").read_bytes())
        write_sealed_json(copy / "folds.json", result)
        with pytest.raises(UserError, match=rf"out_of_fold\.npz: damaged; {said}"):
            CrossValidation.load(copy)
    (copy / "out_of_fold.npz").unlink()
    with pytest.raises(UserError, match=r"out_of_fold\.npz: cannot be read \(No such file"):
        CrossValidation.load(copy)
    (copy / "folds.json").unlink()
    with pytest.raises(UserError, match="not all folds are trained; go on with: onecycle train --resume"):
        CrossValidation.load(copy)
    with pytest.raises(UserError, match=r"holds no cross_validation\.json; the folder of a cross-validation is needed"):
        onecycle.resume_folds(copy / "fold1")


def test_each_fold_can_begin_with_an_earlier_run(tmp_path: Path) -> None:
    first = onecycle.train(small_recipe(), model=net(), data=dataset(), out=tmp_path / "first", observer=SILENT)
    model = net(seed=5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    short = {"schedule.epochs": 1, "schedule.peak_epoch": 0.5}
    found = cross_validate(tmp_path / "cv", init=first, model=model, folds=2, **short)
    statistics = first.recipe.data.statistics
    assert [(run.recipe.init, run.recipe.data.statistics) for run in found.runs] == 2 * [(str(first.path), statistics)]
    assert all(bool((value == before[name]).all()) for name, value in model.state_dict().items())


def test_folds_do_not_begin_with_a_run_that_has_not_ended(tmp_path: Path) -> None:
    first = onecycle.train(small_recipe(), model=net(), data=dataset(), out=tmp_path / "first", observer=SILENT)
    for name in ("summary.json", "model.safetensors"):  # as a kill leaves it
        (first.path / name).unlink()
    with pytest.raises(UserError, match=r"first: .*has not ended"):
        cross_validate(tmp_path / "cv", init=tmp_path / "first", model=net())
    assert not (tmp_path / "cv").exists()


def test_folds_that_are_left_begin_with_the_weights_of_the_first(tmp_path: Path) -> None:
    short: dict[str, Any] = {"schedule.epochs": 1, "schedule.peak_epoch": 0.5}
    first = onecycle.train(small_recipe(**short), model=net(), data=dataset(), out=tmp_path / "first", observer=SILENT)
    cross_validate(tmp_path / "cv", init=first, model=net(seed=5), folds=2, **short)
    handed_in = {"model": net(seed=5), "data": dataset(), "observer": SILENT}
    (tmp_path / "cv/folds.json").unlink()
    shutil.move(first.path, tmp_path / "away")
    found = onecycle.resume_folds(tmp_path / "cv", **handed_in)  # both have begun
    assert len(found.runs) == 2
    (tmp_path / "cv/folds.json").unlink()
    shutil.rmtree(tmp_path / "cv/fold2")
    before = {path: path.read_bytes() for path in (tmp_path / "cv").rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=r"first: no such folder"):
        onecycle.resume_folds(tmp_path / "cv", **handed_in)
    onecycle.train(small_recipe(seed=1, **short), model=net(), data=dataset(), out=first.path, observer=SILENT)
    with pytest.raises(UserError, match="is no longer the run that the training was to begin with"):
        onecycle.resume_folds(tmp_path / "cv", **handed_in)
    assert before == {path: path.read_bytes() for path in (tmp_path / "cv").rglob("*") if path.is_file()}


# --- stopped and gone on with ------------------------------------------------------------------------------------


@pytest.mark.parametrize("fold", [1, 3])
def test_a_stopped_one_goes_on_to_the_same_end(
    fold: int, whole: CrossValidation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the first fold or the last: what has ended is left alone, what is missing is trained."""
    monkeypatch.setattr(training, "FLUSH_SECONDS", 0.0)

    class StopIn(StopAt):
        def on_message(self, text: str) -> None:
            if text.startswith("fold "):
                self.step = 4 if text.startswith(f"fold {fold} of 3") else 0

    path = tmp_path / "cv"
    with pytest.raises(Stopped, match=rf"stopped by SIGTERM in fold {fold} of 3; saved, .* --resume .*/cv$"):
        cross_validate(path, observer=StopIn(0, signal.SIGTERM))
    assert sorted(one.name for one in path.glob("fold?")) == [f"fold{number}" for number in range(1, fold + 1)]
    done = {one: one.read_bytes() for one in path.glob("*/model.safetensors")}
    assert len(done) == fold - 1
    if fold == 1:  # a kill between the making of a folder and its recipe
        (path / "fold2").mkdir()
        (path / "fold2/environment.json").write_text("{}")
    began: list[str] = []

    class Told(Observer):
        def on_start(self, recipe: Any, run: Run, device: str, step: int) -> None:
            began.append(f"{run.path.name} at {step}")

    found = onecycle.resume_folds(path, model=net(), data=dataset(), observer=Told())
    assert began == [f"fold{fold} at 4", *(f"fold{number} at 0" for number in range(fold + 1, 4))]
    assert all(one.read_bytes() == content for one, content in done.items())
    assert np.array_equal(found.logits_nk, whole.logits_nk) and found.to_dict() == whole.to_dict()
    for one, other in zip(found.runs, whole.runs, strict=True):
        assert_same_run(one, other)


def test_only_what_is_missing_is_done_again(
    whole: CrossValidation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that has ended and has its report is not touched; one without gets it."""
    path = tmp_path / "cv"
    shutil.copytree(whole.path, path)
    (path / "folds.json").unlink()
    (path / "fold1/report.html").write_text("")
    gone_on: list[str] = []
    monkeypatch.setattr(api_folds, "resume", lambda place, **options: gone_on.append(place.name))
    monkeypatch.setattr(api_folds, "begin", lambda *arguments, **options: pytest.fail("trained"))
    found = onecycle.resume_folds(path, model=net(), data=dataset(), observer=SILENT)
    assert gone_on == ["fold2", "fold3"] and found.to_dict() == whole.to_dict()


def test_others_than_it_began_with_are_refused(whole: CrossValidation, tmp_path: Path) -> None:
    path = tmp_path / "cv"
    shutil.copytree(whole.path, path)
    (path / "folds.json").unlink()
    data = dataset()
    for options, said in (
        ({"data": Dataset(images(200, 3), data.test)}, r"not those that it began with \(train_fingerprint differs\)"),
        ({"data": Dataset(data.train, images(60, 3))}, r"not those that it began with \(test_fingerprint differs\)"),
        ({"model": None}, "model 'own:Sequential' was handed in from Python; hand it in again"),
        ({"data": None}, "was handed in from Python, or held out by a search; hand it in again with data="),
        ({"model": net()[0]}, "a cross-validation keeps its model.name"),
        ({"model": net(seed=1)}, "the net that is handed in is not the one that it began with, or has other weights"),
    ):
        with pytest.raises(UserError, match=said):
            onecycle.resume_folds(path, **{"model": net(), "data": data, "observer": SILENT, **options})
