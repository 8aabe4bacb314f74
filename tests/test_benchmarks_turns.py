"""Trainings that take turns: what is done, kept, refused and summed up."""

import math
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import scipy.stats
import torch
from speed_benchmarks import CPU, script

import onecycle
from onecycle.recipes.checking import checked

pytest_plugins = ["speed_fixtures"]
pytestmark = pytest.mark.usefixtures("modules_forgotten")


class Sleeper:
    """A side that takes as long as it says."""

    precision = "fp32"

    def __init__(self, name: str, seconds: float, settings: int = 1) -> None:
        self.name, self._seconds, self._settings = name, seconds, settings
        self.seeds: list[int] = []

    def description(self) -> dict[str, Any]:
        return {"settings": self._settings}

    def pflop(self) -> float:
        return 0.5

    def warm_up(self) -> None:
        order.append(f"{self.name} warm")

    def train(self, seed: int, folder: Path, deadline: float | None) -> dict[str, Any]:
        order.append(f"{self.name} {seed}")
        seconds = self._seconds * (1 + seed)
        accuracies = {"accuracy": 0.9 + seed / 100, "accuracy_tta": None}
        return {**accuracies, "train_seconds": seconds, "tta_seconds": 0.0, "seconds": seconds, "resumed": 0}


order: list[str] = []


def take_turns(turns: ModuleType, folder: Path, sides: list[Any], seeds: list[int], **options: Any) -> bool:
    order.clear()
    done: bool = turns.take_turns(sides, seeds, folder, CPU, quick=True, say=lambda line: None, **options)
    return done


def test_sides_take_turns_and_what_is_done_is_not_done_again(tmp_path, monkeypatch):
    turns = script("measuring.turns", monkeypatch)
    sides = [Sleeper("ours", 2.0), Sleeper("airbench94_muon", 4.0)]

    assert take_turns(turns, tmp_path, sides, [0, 1])
    assert order == ["ours warm", "ours 0", "airbench94_muon warm", "airbench94_muon 0", "airbench94_muon 1", "ours 1"]
    assert take_turns(turns, tmp_path, sides, [0, 1, 2])
    assert order == ["ours warm", "ours 2", "airbench94_muon warm", "airbench94_muon 2"]


def test_a_record_of_other_settings_is_refused(tmp_path, monkeypatch):
    turns = script("measuring.turns", monkeypatch)
    take_turns(turns, tmp_path, [Sleeper("ours", 1.0)], [0])

    with pytest.raises(onecycle.UserError, match=r"ours_s0\.json: of other settings \(settings differ\)"):
        take_turns(turns, tmp_path, [Sleeper("ours", 1.0, settings=2)], [0])
    monkeypatch.setattr(turns, "device_name", lambda device: "another processor")
    with pytest.raises(onecycle.UserError, match=r"ours_s0\.json: of other settings \(hardware differ\)"):
        take_turns(turns, tmp_path, [Sleeper("ours", 1.0)], [0])


def test_nothing_is_begun_that_would_be_late(tmp_path, monkeypatch):
    turns = script("measuring.turns", monkeypatch)
    clock = [0.0]
    monkeypatch.setattr(turns.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(turns, "matrix_rate", lambda device, precision, quick: 1000.0)
    slow = Sleeper("slow", 1.0)
    slow.warm_up = lambda: clock.append(clock.pop() + 30)
    train = slow.train
    slow.train = lambda *arguments: [train(*arguments), clock.append(clock.pop() + 20)][0]

    assert not take_turns(turns, tmp_path, [slow], [0, 1, 2], deadline=85)
    assert order == ["slow 0", "slow 1"]  # until 30 + 20 + 20; to warm up does not count as the time of a training
    assert not take_turns(turns, tmp_path, [slow], [2], deadline=60)
    assert order == []


def test_a_side_that_fails_is_left_out_and_the_others_go_on(tmp_path, monkeypatch):
    turns = script("measuring.turns", monkeypatch)
    said: list[str] = []
    broken, sound = Sleeper("broken", 1.0), Sleeper("sound", 1.0)

    def compiled() -> None:
        raise RuntimeError("no such kernel")

    broken.warm_up = compiled
    order.clear()

    assert not turns.take_turns([broken, sound], [0, 1], tmp_path, CPU, quick=True, say=said.append)
    assert order == ["sound warm", "sound 0", "sound 1"]
    assert said[0] == "broken, seed 0: RuntimeError: no such kernel; left out" and len(said) == 3


@pytest.mark.parametrize("name", ["era_s10_package", "era1_s10_compact", "custom_resnet", "fast94"])
def test_a_recipe_is_warmed_up_for_on_a_gpu_by_a_few_steps_of_each_epoch(name, monkeypatch):
    """The rates that a recipe finds are numbers then."""
    sides, trained = script("measuring.sides", monkeypatch), []
    monkeypatch.setattr(sides.onecycle, "train", lambda recipe, **options: trained.append(recipe))
    recipe = onecycle.recipe(name)

    sides.Ours(recipe, torch.device("cuda")).warm_up()

    [few] = trained
    assert checked(few, name).epochs == recipe.epochs and few.data.train_limit == 4 * recipe.data.batch_size
    assert few.augment == recipe.augment


def test_rows_and_summaries_are_what_was_measured(tmp_path, monkeypatch):
    turns = script("measuring.turns", monkeypatch)
    monkeypatch.setattr(turns, "matrix_rate", lambda device, precision, quick: 1000.0)
    take_turns(turns, tmp_path, [Sleeper("ours", 1.0), Sleeper("airbench94_muon", 4.0)], [0, 1, 2])

    rows = turns.rows(tmp_path)
    peers, ours = turns.summaries(rows)

    assert [(row["side"], row["seed"]) for row in rows[2:4]] == [("airbench94_muon", 2), ("ours", 0)]
    assert rows[-1]["gflops"] == pytest.approx(0.5e6 / 3, rel=1e-5)
    assert rows[-1]["share_of_matrix"] == pytest.approx(0.5e6 / 3 / 1000, rel=1e-5)
    assert (ours["n"], ours["seeds"]) == (3, "0 1 2")
    assert (ours["accuracy"], ours["accuracy_sd"]) == pytest.approx((0.91, 0.01))
    half = scipy.stats.t.ppf(0.975, 2) * 0.01 / math.sqrt(3)
    assert ours["accuracy_high"] == pytest.approx(0.91 + half, rel=1e-5)
    ratio = [ours[f"seconds_to_airbench94_muon{part}"] for part in ("", "_low", "_high")]
    assert ratio == pytest.approx([0.25, 0.25, 0.25])
    assert peers["seconds_to_airbench94_muon"] is None
    assert ours["accuracy_tta"] is None
