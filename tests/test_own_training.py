"""Trainings on one's own images: paths in recipes and runs, held-out parts, weights of classes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from own_images import own_cache, write_images, write_levels  # noqa: F401  # the fixture of every test
from PIL import Image
from sklearn.utils.class_weight import compute_class_weight
from small import StopAt, assert_same_run, dataset, images, net, small_recipe

import onecycle
from onecycle import Dataset, ImageSet, Observer, Observers, Run, Stopped, UserError, recipe
from onecycle.cli import main
from onecycle.preparation import Sets, class_weights, images_of, load_data, resolve, split

SILENT = Observer()


def write_set(folder: Path, *parts: str) -> Path:
    """A hundred training images and 40 of each other part."""
    for number, part in enumerate(parts or ("",)):
        write_images(folder / part, images(40 if number else 100, number))
    return folder


def train(place: Path | str, out: Path, **changes: Any) -> onecycle.Run:
    wanted = small_recipe(**{"data.name": str(place), "data.batch_size": 40, "schedule.epochs": 2, **changes})
    return onecycle.train(wanted, model=net(), out=out, observer=SILENT)


# --- where they are ----------------------------------------------------------------------------------------------


def test_a_path_is_stored_absolute_and_shown_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_set(tmp_path / "photos")
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("photos", "./photos", "photos/", "digits/../photos", "~/photos", str(tmp_path / "photos")):
        assert recipe("custom_resnet", **{"data.name": name}).data.name == str(tmp_path / "photos")
    wanted = recipe("custom_resnet", data={"name": "lists/a.csv"})
    assert wanted.data.name == str(tmp_path / "lists/a.csv") and wanted.data.label == "lists/a.csv"
    assert recipe("digits").data.name == recipe("digits").data.label == "digits"
    for name in ("phptos", "a\0b", "x" * 300, ""):
        with pytest.raises(UserError, match=r"is unknown; .* images have a path, such as \./photos"):
            recipe("custom_resnet", **{"data.name": name})


def test_a_path_object_is_a_path_whatever_it_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the name alone would be that of a data set."""
    place = write_set(tmp_path / "digits", "train", "test")
    monkeypatch.chdir(tmp_path)
    given: dict[str, Any] = {"data": Path("digits"), "device": "cpu", "observer": SILENT}
    wanted = small_recipe(**{"data.batch_size": 40, "schedule.epochs": 2})
    run = onecycle.train(wanted, model=net(), out="run", report=False, **given)
    assert run.recipe.data.name == str(place)
    assert run.evaluate(data=Path("digits"), model=net()).confusion.tolist() == run.evaluate().confusion.tolist()
    found = onecycle.trials(wanted, model=net(), seeds=1, out="trials", **given)
    assert found.plan.variants[0].recipe.data.name == str(place) and len(found.finished) == 1


def test_a_silent_observer_is_silent(
    tmp_path: Path, drawn: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_set(tmp_path / "photos")
    rates = {"schedule.lr_min": "find", "schedule.lr_max": "find"}
    run = train("photos", tmp_path / "run", **rates)
    assert run.complete and (run.path / "lr_range.json").exists()
    assert capfd.readouterr() == ("", "")

    class Titles(Observer):
        heard: ClassVar[list[str]] = []

        @contextmanager
        def progress_of(self, title: str) -> Iterator[Callable[[int, int, str], None]]:
            yield lambda done, total, text: self.heard.append(f"{title} {done}/{total}")

    onecycle.find_lr(run.recipe, model=net(), sweeps=2, steps=20, observer=Observers(Observer(), Titles()))
    assert {line.rsplit(" ", 1)[0] for line in Titles.heard} >= {"learning-rate range test"}
    assert capfd.readouterr() == ("", "")


def test_a_run_on_a_folder_goes_on_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_set(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    whole = train("photos", tmp_path / "whole")
    assert whole.summary["data"] == "photos" and whole.summary["test"]["images"] == 20
    wanted = small_recipe(**{"data.name": "photos", "data.batch_size": 40, "schedule.epochs": 2})
    with pytest.raises(Stopped):
        onecycle.train(wanted, model=net(), out="stopped", observer=StopAt(2))
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert_same_run(onecycle.resume(tmp_path / "stopped", model=net(), observer=SILENT), whole)
    (tmp_path / "photos").rename(tmp_path / "moved")
    with pytest.raises(UserError, match=r"photos: no such folder or file"):
        images_of(whole)
    assert len(images_of(whole, data_dir="../moved").train) == 80
    one = next((tmp_path / "moved").rglob("*.png"))
    Image.fromarray(255 - np.asarray(Image.open(one))).save(one)
    with pytest.raises(UserError, match=r"the images are not those that the run began with"):
        images_of(whole, data_dir="../moved")


def test_the_home_folder_may_be_written_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_set(tmp_path / "photos")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    data = {"name": str(write_set(tmp_path / "elsewhere"))}
    run = onecycle.train(
        small_recipe(), model=net(), data=data, data_dir="~/photos", out=tmp_path / "run", observer=onecycle.Observer()
    )
    assert run.environment["data_dir"] == str(tmp_path / "photos")


def test_png_files_and_arrays_of_the_same_images_train_the_same(tmp_path: Path) -> None:
    data = dataset()
    write_images(tmp_path / "set/train", data.train)
    write_images(tmp_path / "set/test", data.test)
    changes = {"data.batch_size": 60, "schedule.epochs": 3}
    files = train(tmp_path / "set", tmp_path / "files", **changes)
    arrays = onecycle.train(small_recipe(), model=net(), data=data, out=tmp_path / "arrays", observer=SILENT)
    assert torch.equal(files.weights()["9.weight"], arrays.weights()["9.weight"])
    np.testing.assert_array_equal(files.predictions()["logits"], arrays.predictions()["logits"])


def test_what_is_held_out_leaves_images_of_every_class() -> None:
    labels = np.array([0] + [1] * 7)
    data = ImageSet(images(8).images_nhwc, labels, ("rare", "b"))
    wanted = small_recipe(**{"data.val_fraction": 0.5, "data.batch_size": 2})
    with pytest.raises(UserError, match=r"val_fraction 0\.5 holds out all images of rare; a smaller one"):
        split(wanted, Dataset(data, data))
    kept = split(wanted.evolve(data={"val_fraction": 0.2}), Dataset(data, data)).train
    assert set(kept.labels) == {0, 1}


def test_without_a_test_part_a_stratified_fifth_tests(tmp_path: Path) -> None:
    data = {"name": str(write_set(tmp_path / "photos"))}
    found = load_data(recipe("custom_resnet", data=data))
    assert isinstance(found, Sets) and found.val is None
    assert np.bincount(found.train.labels).tolist() == [20] * 4 and np.bincount(found.test.labels).tolist() == [5] * 4
    other = load_data(recipe("custom_resnet", data={**data, "split_seed": 1}))
    assert other.test.fingerprint() != found.test.fingerprint()
    few = str(write_levels(tmp_path / "few", {f"{label}/1.png": 1 for label in "abcde"}))
    with pytest.raises(UserError, match=r"few: the one image of a is for testing; two of each class, or a test part"):
        load_data(recipe("custom_resnet", data={"name": few}))


class Told(Observer):
    """Keeps what it is told in words."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def on_message(self, text: str) -> None:
        self.messages.append(text)


def test_a_training_says_what_was_left_out(tmp_path: Path) -> None:
    place = write_set(tmp_path / "photos")
    (place / "class 0/broken.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"broken\.png: the file is empty"):
        train(place, tmp_path / "run")
    told = Told()
    wanted = small_recipe(**{"data.name": str(place), "data.batch_size": 40, "data.damaged": "skip"})
    onecycle.train(wanted, model=net(), out=tmp_path / "run", observer=told)
    assert told.messages[0] == f"{place}: left out as damaged: 1 of 101 files, class 0/broken.png"


# --- the held-out part -------------------------------------------------------------------------------------------


def test_a_val_folder_is_what_is_held_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = write_set(tmp_path / "photos", "train", "val", "test")
    plateau = {"name": "plateau", "epochs": 2, "lr": 0.02, "patience": 0, "monitor": "val_loss"}
    wanted = small_recipe(**{"data.name": str(place), "data.batch_size": 40, "schedule": plateau})
    run = onecycle.train(wanted, model=net(), out=tmp_path / "run")
    assert all({"val_loss", "val_accuracy"} <= row.keys() for row in run.metrics())
    assert (run.path / "best.safetensors").exists() and "val loss" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"data\.val_fraction is 0\.1; photos has a held-out part, so 0 is needed"):
        train(place, tmp_path / "x", **{"data.val_fraction": 0.1})
    write_images(place / "val", images(8, 9), first=100)
    with pytest.raises(UserError, match=r"\(val_fingerprint differs\)"):
        images_of(run)
    (place / "val").rename(tmp_path / "val")
    with pytest.raises(UserError, match=r"schedule\.monitor is val_loss, but nothing is held out"):
        onecycle.train(wanted, model=net(), out=tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("changes", [{"data.fit": "pad"}, {"data.damaged": "skip"}], ids=str)
def test_keys_of_image_files_are_refused_for_arrays(tmp_path: Path, changes: dict[str, str]) -> None:
    recipe("custom_resnet", **{"data.name": "/x/photos", **changes})
    recipe("custom_resnet", **{"data.name": "/x/list.csv", **changes})
    for name in ("cifar10", "digits", "/x/set.npz", "/x/images.npy"):
        with pytest.raises(UserError, match=rf"{next(iter(changes))} \w+ is for images in files of their own") as error:
            recipe("custom_resnet", **{"data.name": name, **changes})
        assert len(error.value.problems) == 1
    with pytest.raises(UserError, match="is for images in files of their own"):
        onecycle.train(small_recipe(**{"data.name": "/x/photos", **changes}), model=net(), data=dataset())


# --- weights of the classes --------------------------------------------------------------------------------------


def unbalanced() -> Dataset:
    """Classes of 50, 40, 20 and 10 images to train."""
    data = dataset()
    rows = [np.flatnonzero(data.train.labels == label)[:count] for label, count in enumerate((50, 40, 20, 10))]
    return Dataset(data.train.subset(np.sort(np.concatenate(rows))), data.test)


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    images = unbalanced().train
    found = class_weights(small_recipe(**{"loss.class_weights": "balanced"}), images, torch.device("cpu"))
    wanted = compute_class_weight("balanced", classes=np.arange(4), y=images.labels)
    assert found is not None
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-6)
    assert class_weights(small_recipe(), images, torch.device("cpu")) is None
    without = ImageSet(images.images_nhwc, images.labels, (*images.classes, "no such"))
    with pytest.raises(UserError, match=r"class_weights balanced: class 'no such' has no training images"):
        class_weights(small_recipe(**{"loss.class_weights": "balanced"}), without, torch.device("cpu"))


@pytest.mark.parametrize("hardest", [[], [[1, 1.0]]], ids=["all", "hardest"])
def test_training_weighs_the_classes_and_evaluation_does_not(tmp_path: Path, hardest: list[list[float]]) -> None:
    data = unbalanced()
    changes = {"loss": {"class_weights": "balanced", "label_smoothing": 0.1}, "data.hardest": hardest}
    wanted = small_recipe(**{"data.batch_size": 120, "precision": "fp32", **changes})
    run = onecycle.train(wanted, model=net(0.0), data=data, out=tmp_path / "run", observer=SILENT)
    resolved = resolve(wanted, split(wanted, data), torch.device("cpu"))
    mean, std = resolved.data.statistics
    augmentation = onecycle.data.Augmentation(**resolved.augment.model_dump())
    loader = onecycle.data.Loader(data.train, batch_size=120, augmentation=augmentation, mean=mean, std=std)
    [batch] = loader.epoch(0)
    weights = torch.tensor(compute_class_weight("balanced", classes=np.arange(4), y=data.train.labels)).float()
    logits = net(0.0).train()(batch.images_nchw)
    first = F.cross_entropy(logits, batch.labels, weights, label_smoothing=0.1).item()
    assert run.steps()[0]["loss"] == pytest.approx(first, rel=1e-4)
    assert first != pytest.approx(F.cross_entropy(logits, batch.labels, label_smoothing=0.1).item(), rel=1e-3)
    stored = run.predictions()
    plain = F.cross_entropy(torch.from_numpy(stored["logits"]).double(), torch.from_numpy(stored["labels"]))
    assert run.summary["test"]["loss"] == pytest.approx(plain.item())


# --- the command line --------------------------------------------------------------------------------------------


def call(*arguments: object) -> int | str | None:
    with pytest.raises(SystemExit) as left:
        main([str(one) for one in arguments])
    return left.value.code


def test_commands_on_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = write_set(tmp_path / "photos", "train", "val")
    (place / "notes.txt").write_text("")
    assert call("data", "info", place, "--json", "--set", "data.image_size=16") == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert {part: found[part]["images"] for part in ("train", "val", "test")} == {"train": 80, "val": 40, "test": 20}
    assert found["train"]["image_size"] == 16
    assert f"onecycle: {place}: left out: 1 not named as images (1 .txt)" in said.err
    assert call("data", "info", "phtos") == 2
    assert "your own images have a path, such as ./photos" in capsys.readouterr().err
    small = ["schedule.epochs=1", "schedule.peak_epoch=0.5", "data.batch_size=40", "data.image_size=16"]
    changes = [part for one in [*small, "augment.cutout=4"] for part in ("--set", one)]
    run = tmp_path / "run"
    assert call("train", "era1_s10_compact", "--data", place, "--out", run, *changes) == 0
    assert Run.open(run).recipe.data.name == str(place)
    write_images(tmp_path / "more", images(30, 5))
    capsys.readouterr()
    assert call("evaluate", run, "--data", tmp_path / "more", "--json") == 0
    assert json.loads(capsys.readouterr().out)["images"] == 30
    write_images(tmp_path / "parted/train", images(30, 5))
    write_images(tmp_path / "parted/test", images(12, 6))
    assert call("evaluate", run, "--data", tmp_path / "parted", "--json") == 0
    assert json.loads(capsys.readouterr().out)["images"] == 12
    write_images(tmp_path / "held/train", images(30, 5))
    write_images(tmp_path / "held/val", images(12, 6))
    assert call("evaluate", run, "--data", tmp_path / "held", "--json") == 0
    assert json.loads(capsys.readouterr().out)["images"] == 42
    assert call("evaluate", run, "--data", "nowhere/photos") == 2
    assert "nowhere/photos: no such folder or file; a folder of class folders" in capsys.readouterr().err
