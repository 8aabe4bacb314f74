"""Trainings that begin with the weights of an earlier run."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from small import StopAt, assert_same_run, dataset, images, net, small_recipe, weights
from test_cli import call
from torch import nn

import onecycle
from onecycle import Dataset, ImageSet, Observer, Run, Stopped, UserError, registry, training
from onecycle.checkpoint import CheckpointFolder
from onecycle.fine_tuning import head_of, take_over
from onecycle.lr_range import search
from onecycle.preparation import build_net
from onecycle.sealing import write_sealed_json
from onecycle.stats import spread

SILENT = Observer()
OTHER_CLASSES = ("red", "green", "blue", "grey")


def train(out: Path, data: Dataset | None = None, model: nn.Module | None = None, **options: Any) -> Run:
    options = {"precision": "fp32", "schedule.epochs": 2, "observer": SILENT, **options}
    observer, init = options.pop("observer"), options.pop("init", None)
    return onecycle.train(
        small_recipe(**options), model=model or net(), data=data or dataset(), out=out, init=init, observer=observer
    )


def renamed(data: Dataset, classes: tuple[str, ...]) -> Dataset:
    return Dataset(*(ImageSet(one.images_nhwc, one.labels, classes) for one in data))


class Told(Observer):
    def __init__(self) -> None:
        self.messages: list[str] = []

    def on_message(self, text: str) -> None:
        self.messages.append(text)


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(tmp_path_factory.mktemp("earlier") / "run")


# --- what is taken over ------------------------------------------------------------------------------------------


def test_the_same_classes_take_all_over_and_other_ones_begin_with_a_new_head(earlier: Run) -> None:
    wanted = small_recipe(init=str(earlier.path))
    theirs = weights(earlier)
    same = net(seed=5)
    said, described = take_over(same, wanted, earlier.classes)
    assert all(torch.equal(value, theirs[name]) for name, value in same.state_dict().items())
    assert said.endswith("its head too, as the 4 classes are the same")
    content = (earlier.path / "model.safetensors").read_bytes()
    assert described == {"run": str(earlier.path), "sha256": hashlib.sha256(content).hexdigest()}

    for classes, counted in ((OTHER_CLASSES, "4 classes there, 4 others here"), (earlier.classes[::-1], "4 others")):
        other = net(seed=5)
        said, _ = take_over(other, wanted, classes)
        own = net(seed=5).state_dict()
        for name, value in other.state_dict().items():
            assert torch.equal(value, own[name] if name.startswith("9.") else theirs[name]), name
        assert "the head, 9, which begins anew: " in said and counted in said
    assert not torch.equal(theirs["1.running_mean"], torch.zeros(8))  # the statistics of BatchNorm are among it


def test_a_head_of_another_size(earlier: Run) -> None:
    model = nn.Sequential(*list(net(seed=5))[:-1], nn.Linear(32, 7))
    said, _ = take_over(model, small_recipe(init=str(earlier.path)), tuple("abcdefg"))
    assert model[9].weight.shape == (7, 32) and torch.equal(model[0].weight, weights(earlier)["0.weight"])
    assert said.endswith("4 classes there, 7 classes here")


@pytest.mark.parametrize("name", ["custom_resnet", "compact", "whitened_convnet"])
def test_our_nets_name_their_heads(name: str) -> None:
    with torch.device("meta"):
        found = registry.load("model", name)(7)
    head = found.get_submodule(head_of(found))
    assert isinstance(head, nn.Linear) and head.out_features == 7


def test_the_head_of_ones_own_net_is_the_one_it_names_or_the_last_linear_layer() -> None:
    own = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4), nn.ReLU())
    assert head_of(own) == "1"
    own.head_layer = "0"  # type: ignore[assignment]
    assert head_of(own) == "0"
    own.head_layer = "last"  # type: ignore[assignment]
    with pytest.raises(UserError, match="Sequential has no layer 'last', which its head_layer names"):
        head_of(own)
    with pytest.raises(UserError, match="Conv2d has no linear layer; its attribute head_layer names the head"):
        head_of(nn.Conv2d(3, 4, 1))


# --- a training --------------------------------------------------------------------------------------------------


def test_it_is_a_training_whose_net_had_those_weights(earlier: Run, tmp_path: Path) -> None:
    """The same as to load them by hand; and the recipe says where they are from."""
    data = renamed(Dataset(images(200, 7), images(60, 8)), OTHER_CLASSES)
    told = Told()
    run = train(tmp_path / "run", data, net(seed=5), init=earlier, observer=told)
    by_hand = net(seed=5)
    taken = {name: value for name, value in weights(earlier).items() if not name.startswith("9.")}
    by_hand.load_state_dict(taken, strict=False)
    mean, std = earlier.recipe.data.statistics
    plain = train(tmp_path / "plain", data, by_hand, **{"data.mean": mean, "data.std": std})
    assert_same_run(run, plain)
    assert run.recipe.init == str(earlier.path) and run.environment["init"]["run"] == str(earlier.path)
    assert run.recipe.data.statistics == (mean, std) != data.train.channel_statistics()
    said = f"begins with the weights of {earlier.path}, but for the head, 9"
    assert any(line.startswith(said) for line in told.messages)
    assert_same_run(run, train_again(run, tmp_path / "again", data))
    exported = onecycle.export(run, form="safetensors", model=net(), data=data)
    sha256 = run.environment["init"]["sha256"]
    assert f"began with | the weights of run, SHA-256 `{sha256}`, and so knows" in exported.card.read_text()


def train_again(run: Run, out: Path, data: Dataset) -> Run:
    return onecycle.train(run.recipe, model=net(seed=5), data=data, out=out, observer=SILENT)


@pytest.mark.parametrize("step", [1, 5])
def test_it_goes_on_bit_for_bit_without_the_earlier_run(
    step: int, earlier: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "FLUSH_SECONDS", 0.0)
    shutil.copytree(earlier.path, tmp_path / "earlier")
    whole = train(tmp_path / "whole", init=tmp_path / "earlier", **{"ema.decay": 0.9})
    with pytest.raises(Stopped):
        train(tmp_path / "run", init=tmp_path / "earlier", observer=StopAt(step), **{"ema.decay": 0.9})
    shutil.rmtree(tmp_path / "earlier")
    other = net(seed=9)  # its weights are not those that the run began with
    assert_same_run(whole, onecycle.resume(tmp_path / "run", model=other, data=dataset(), observer=SILENT))


def test_killed_before_the_first_step_it_goes_on_too(
    earlier: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the first checkpoint, which holds the weights to begin with, and just before it."""
    whole = train(tmp_path / "whole", init=earlier)
    save = CheckpointFolder.save

    def kill(*arguments: Any) -> None:
        raise SystemExit("killed")

    def save_and_kill(*arguments: Any) -> None:
        save(*arguments)
        raise SystemExit("killed")

    for name, killed in (("before", kill), ("after", save_and_kill)):
        with monkeypatch.context() as patch, pytest.raises(SystemExit):
            patch.setattr(CheckpointFolder, "save", killed)
            train(tmp_path / name, init=earlier)
        copy = tmp_path / f"{name} changed"
        shutil.copytree(tmp_path / name, copy)
        assert Run.open(tmp_path / name).saved == (name == "after")
        resumed = onecycle.resume(tmp_path / name, model=net(seed=9), data=dataset(), observer=SILENT)
        if name == "after":
            assert_same_run(whole, resumed)
    # With nothing saved the weights are taken from the earlier run once more, if it still is what it was.
    environment = Run.open(tmp_path / "before changed").environment
    environment["init"]["sha256"] = "0" * 64
    write_sealed_json(tmp_path / "before changed/environment.json", environment)
    with pytest.raises(UserError, match="is no longer the run that the training was to begin with; start it anew"):
        onecycle.resume(tmp_path / "before changed", model=net(), data=dataset(), observer=SILENT)


def test_what_a_net_takes_from_the_images_is_not_taken_anew(tmp_path: Path) -> None:
    """The whitening of an earlier run is what the layers after it expect."""
    small = {"model.name": "whitened_convnet", "model.widths": [8, 8, 8], "data.batch_size": 100}
    small |= {"schedule.epochs": 1, "schedule.peak_epoch": 0.5, "schedule.lr_max": 0.01}
    first = onecycle.train(small_recipe(**small), data=dataset(), out=tmp_path / "first", observer=SILENT)
    others = Dataset(images(200, 7), images(60, 8))
    others = renamed(Dataset(*(dark(one) for one in others)), OTHER_CLASSES)
    run = onecycle.train(small_recipe(**small), data=others, init=first, out=tmp_path / "run", observer=SILENT)
    assert torch.equal(weights(run)["whitening.weight"], weights(first)["whitening.weight"])
    without = onecycle.train(small_recipe(**small), data=others, out=tmp_path / "without", observer=SILENT)
    assert not torch.equal(weights(without)["whitening.weight"], weights(first)["whitening.weight"])


def dark(one: ImageSet) -> ImageSet:
    return ImageSet(one.images_nhwc // np.array([1, 2, 3], np.uint8), one.labels, one.classes)


def test_the_range_test_begins_there_too(earlier: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(search, "sweep", lambda swept, *rest, **options: seen.append(swept[0].weight.clone()))
    monkeypatch.setattr(search, "choose", lambda done, **options: SimpleNamespace(lr_min=1e-3, lr_max=0.1, warnings=[]))
    onecycle.find_lr(small_recipe(), model=net(seed=5), data=dataset(), init=earlier, sweeps=2)
    assert len(seen) == 2 and all(torch.equal(one.contiguous(), weights(earlier)["0.weight"]) for one in seen)


# --- what does not go --------------------------------------------------------------------------------------------


def test_another_net_is_refused_in_a_line(earlier: Run, tmp_path: Path) -> None:
    def refused(message: str, model: nn.Module, init: Path | Run = earlier) -> None:
        with pytest.raises(UserError, match=message) as caught:
            train(tmp_path / "run", init=init, model=model)
        assert len(caught.value.problems) == 1 and not (tmp_path / "run").exists()

    wide = net()
    wide[0] = nn.Conv2d(3, 8, 5, stride=4, bias=False)
    refused(r"its net is another one; 0\.weight is float32 \[8, 3, 3, 3\] there and float32 \[8, 3, 5, 5\] here", wide)
    longer = nn.Sequential(*net(), nn.Linear(4, 4))
    refused(r"its net is another one; 10\.bias is missing there and float32 \[4\] here", longer)
    refused("holds no recipe.yaml|no such folder", net(), tmp_path / "nowhere")
    unfinished = tmp_path / "unfinished"
    shutil.copytree(earlier.path, unfinished)
    for name in ("summary.json", "model.json"):
        (unfinished / name).unlink()
    refused("unfinished: the training has not ended; go on with", net(), unfinished)
    shutil.copy(earlier.path / "model.json", unfinished)
    shutil.copy(earlier.path / "summary.json", unfinished)
    (unfinished / "model.safetensors").write_bytes(b"0" * 100)
    refused("model.safetensors: damaged", net(), unfinished)


def test_a_named_net_with_other_options_is_refused_but_for_its_dropout(tmp_path: Path) -> None:
    classes = tuple("0123456789")
    first = onecycle.recipe("digits", **{"model.name": "compact"})
    stored = Run.create(tmp_path / "compact", first, {})
    stored.write_model(build_net(first, 10), {"classes": list(classes)})
    for changes, said in (
        ({"model.name": "whitened_convnet"}, "its net is compact, not whitened_convnet; the same net is needed"),
        ({"model.norm": "group"}, "its net has norm batch, not group; --set model.norm=batch"),
    ):
        wanted = onecycle.recipe(first, init=str(stored.path), **changes)
        with pytest.raises(UserError, match=said) as caught:
            take_over(build_net(wanted, 10), wanted, classes)
        assert len(caught.value.problems) == 1
    resnet = Run.create(tmp_path / "resnet", onecycle.recipe("digits"), {})
    resnet.write_model(build_net(onecycle.recipe("digits", seed=3), 10), {"classes": list(classes)})
    wanted = onecycle.recipe("digits", init=str(resnet.path), **{"model.block_dropout": 0.1})
    model = build_net(wanted, 10)
    take_over(model, wanted, classes)
    assert torch.equal(model.linear.weight, resnet.weights()["linear.weight"])  # type: ignore[union-attr,arg-type]


@pytest.mark.parametrize("value", ["", " ", "a\0b", "a\nb"])
def test_what_is_no_folder_is_refused_with_the_recipe(value: str) -> None:
    with pytest.raises(UserError, match="must be the folder of an earlier run, such as runs/demo, or null") as caught:
        onecycle.recipe("digits", init=value)
    assert len(caught.value.problems) == 1


def test_the_path_is_stored_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert onecycle.recipe("digits", init="runs/first").init == str(tmp_path / "runs/first")
    assert onecycle.recipe("digits", init="x/../first").init == str((tmp_path / "first").resolve())
    assert onecycle.recipe("digits").init is None


def test_lightning_refuses_it_in_a_line() -> None:
    launch = pytest.importorskip("onecycle.launch.lightning")
    for made in (launch.LitClassifier, launch.ImageDataModule):
        with pytest.raises(UserError, match=r"recipe digits: init is for onecycle\.train; here, load") as caught:
            made("digits", init="runs/first")
        assert len(caught.value.problems) == 1


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes = [
        *("model.name=compact", "data.train_limit=40", "data.batch_size=20"),
        *("schedule.epochs=1", "schedule.peak_epoch=0.5"),
    ]
    small = [part for one in changes for part in ("--set", one)]
    assert call("train", "digits", *small, "--out", tmp_path / "first") == 0
    assert call("train", "digits", *small, "--init", tmp_path / "first", "--out", tmp_path / "second") == 0
    assert f"onecycle: begins with the weights of {tmp_path}/first, its head too" in capsys.readouterr().err
    assert call("train", "digits", *small, "--init", tmp_path / "third", "--out", tmp_path / "fourth") == 2
    assert f"onecycle: error: {tmp_path}/third: no such folder" in capsys.readouterr().err
    assert call("train", "--resume", tmp_path / "second", "--init", tmp_path / "third") == 2
    assert "a resumed run keeps its init" in capsys.readouterr().err


# --- that it helps -----------------------------------------------------------------------------------------------


def test_digits_0_to_4_help_with_few_images_of_5_to_9(tmp_path: Path) -> None:
    """Five images a class and three epochs, the same with and without; seeds 0 to 7."""
    digits = onecycle.data.digits()
    rates = {"epochs": 3, "peak_epoch": 1, "lr_max": 0.01}
    base: dict[str, Any] = {"precision": "fp32", "device": "cpu", "observer": SILENT, "evaluate_every": 0}
    first = onecycle.train(
        "digits",
        model=small_convnet(0),
        data=Dataset(*(five_classes(one, 0) for one in digits)),
        out=tmp_path / "first",
        schedule={**rates, "epochs": 6},
        **base,
    )
    gains = []
    for seed in range(8):
        data = Dataset(five_classes(digits.train, 5, per_class=5, seed=seed), five_classes(digits.test, 5))
        accuracy = {}
        for name, init in (("with", first), ("without", None)):
            run = onecycle.train(
                "digits",
                model=small_convnet(10 + seed),
                data=data,
                seed=seed,
                init=init,
                out=tmp_path / f"{name}{seed}",
                schedule=rates,
                **{"data.batch_size": 5},
                **base,
            )
            accuracy[name] = run.summary["test"]["accuracy"]
        gains.append(accuracy["with"] - accuracy["without"])
    low = spread(gains).low
    assert low is not None and low > 0, gains


def small_convnet(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 16, 5, stride=2, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(3),
        nn.Flatten(),
        nn.Linear(288, 5),
    )


def five_classes(one: ImageSet, lowest: int, per_class: int | None = None, seed: int = 0) -> ImageSet:
    """The images of five classes, all or so many of each."""
    random = np.random.default_rng(seed)
    rows = [random.permutation(np.flatnonzero(one.labels == label))[:per_class] for label in range(lowest, lowest + 5)]
    index = np.sort(np.concatenate(rows))
    return ImageSet(one.images_nhwc[index], one.labels[index] - lowest, one.classes[lowest : lowest + 5])
