"""The benchmarks of the range test: its choice beside a grid, and with and without its early stop."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import small
import torch
from benchmark_scripts import benchmark_script
from torch import nn

import onecycle
from onecycle import lr_range, registry
from onecycle.lr_range import Sweep

SHORT: dict[str, Any] = {"sweeps": 2, "steps": 40, "lr_start": 1e-4, "lr_end": 1.0}


def tiny(classes: int, *, seed: int = 0) -> nn.Module:
    return small.net(seed=seed)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A net and images that are soon trained, and short sweeps, in the place of CIFAR-10 and of the usual ones."""
    monkeypatch.setitem(registry.ENTRIES["model"], "tiny", f"{__name__}:tiny")
    monkeypatch.setattr(onecycle.data, "cifar10", small.dataset)
    find = lr_range.find
    monkeypatch.setattr(lr_range, "find", lambda *args, **options: find(*args, **{**options, **SHORT}))


def table(script: ModuleType, monkeypatch: pytest.MonkeyPatch, results: Path, *arguments: str) -> list[dict[str, str]]:
    """Run the script; the lines of what it wrote."""
    results.mkdir(exist_ok=True)
    monkeypatch.setattr(script, "RESULTS", results)
    monkeypatch.setattr(sys, "argv", ["script", *arguments])
    script.main()
    [written] = results.glob("*.csv")
    with written.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def test_the_choice_is_trained_beside_the_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = benchmark_script("lr_range", monkeypatch)
    monkeypatch.setattr(onecycle.data, "cifar10", lambda: onecycle.Dataset(small.images(620), small.images(60, 1)))
    monkeypatch.setattr(sys.modules["measuring.held_out"], "HELD_OUT_IMAGES", 20)
    monkeypatch.setattr(script, "GRIDS", {"adam": (1e-3, 1e-2)})
    script.held_out_data.cache_clear()
    asked = ("--net", "tiny", "--options", '{"seed": 3}', "--epochs", "1", "--optimizers", "adam", "--seeds", "0", "1")
    arguments = (str(tmp_path / "runs"), *asked, "--train-limit", "550")
    rows = table(script, monkeypatch, tmp_path / "results", *arguments)
    script.held_out_data.cache_clear()
    assert [(row["source"], row["seed"]) for row in rows] == [
        (source, seed) for source in ("minimum", "slowing", "grid", "grid") for seed in "01"
    ]
    found = onecycle.load(tmp_path / "runs" / "tiny" / "adam_sweeps").lr_range
    assert rows[0]["lr_max"] == f"{found['lr_max']:.3g}" and {row["train_images"] for row in rows} == {"550"}
    run = onecycle.load(tmp_path / "runs" / "tiny" / "adam_0.01_s1")
    assert run.recipe.model.options == {"seed": 3} and run.summary["test"]["images"] == 20
    assert float(rows[-1]["held_out_accuracy"]) == run.summary["test"]["accuracy"]


def test_the_plain_net_has_no_norms(monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark_script("lr_range", monkeypatch)  # which brings its parts
    monkeypatch.setitem(registry.ENTRIES["model"], "plain", "measuring.plain_net:plain")
    net = registry.load("model", "plain")(7, widths=(4, 8, 16))
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    assert [layer.out_channels for layer in net if isinstance(layer, nn.Conv2d)] == [4, 8, 16]
    assert {type(layer) for layer in net if list(layer.parameters())} == {nn.Conv2d, nn.Linear}


def test_a_training_that_diverges_has_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = benchmark_script("lr_range", monkeypatch)
    monkeypatch.setattr(script, "held_out_data", lambda: onecycle.Dataset(small.images(550), small.images(20, 1)))

    def train(wanted: onecycle.Recipe, **_: object) -> onecycle.Run:
        raise onecycle.TrainingFailed("the loss is inf")

    monkeypatch.setattr(onecycle, "train", train)
    wanted = onecycle.recipe("custom_resnet", **{"schedule.lr_max": 10.0, "schedule.lr_min": 0.1})
    summary = script.trained(tmp_path / "run", wanted)
    line = script.row(wanted, summary, "plain", "grid")
    assert (line["held_out_accuracy"], line["train_seconds"], line["lr_max"]) == ("diverged", None, "10")


def test_lengths_and_steps_of_filters_are_those_of_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = benchmark_script("lr_range_lengths", monkeypatch)
    monkeypatch.setattr(script, "held_out_data", lambda: onecycle.Dataset(small.images(550), small.images(20, 1)))
    monkeypatch.setattr(script, "WIDTHS", (4, 4, 4))
    rows = table(script, monkeypatch, tmp_path, "--steps", "3", "--optimizers", "sgd")
    assert [float(row["lr"]) for row in rows] == pytest.approx([1e-4, 10**-1.5, 10.0], rel=0.01)
    assert float(rows[0]["length"]) == pytest.approx(1, abs=1e-3)
    assert float(rows[0]["relative_step"]) < 1e-3 < 0.1 < float(rows[-1]["relative_step"])


def test_a_sweep_is_cut_where_it_would_have_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = benchmark_script("lr_range_stop", monkeypatch)
    model = small.net()
    batch = [torch.randn(20, 3, 32, 32), torch.arange(20) % 4]

    def swept(stop: bool) -> Sweep:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        return lr_range.sweep(model, optimizer, [batch], lr_start=1e-3, lr_end=1e4, steps=100, stop=stop)

    assert script.stopped(swept(stop=False)) == swept(stop=True)
    assert script.stopped(swept(stop=True)) == swept(stop=True)


def test_what_is_chosen_from_whole_and_from_cut_sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = benchmark_script("lr_range_stop", monkeypatch)
    wanted = tmp_path / "own.yaml"
    wanted.write_text(small.small_recipe(**{"model.name": "tiny", "name": "own"}).to_yaml())
    arguments = (str(wanted), "--optimizers", "sgd", "adam", "--batch-sizes", "50")
    rows = table(script, monkeypatch, tmp_path / "results", *arguments)
    assert [(row["recipe"], row["optimizer"], row["batch_size"]) for row in rows] == [
        ("own", "sgd", "50"),
        ("own", "adam", "50"),
    ]
    assert all(int(row["steps_cut"]) <= int(row["steps_whole"]) for row in rows)
    monkeypatch.setattr(lr_range, "find", lambda *args, **options: pytest.fail("what is there is made again"))
    assert table(script, monkeypatch, tmp_path / "results", *arguments) == rows
