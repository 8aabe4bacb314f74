"""A search: what its trials are, that the test set takes no part, and that it goes on wherever it was left."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from searches import BASE, Heard, search
from small import StopAt, assert_same_run, dataset, images, net, small_recipe, weights

import onecycle
from onecycle import Dataset, ImageSet, Observer, Run, Search, Stopped, TrainingFailed, UserError
from onecycle.data.rows import Rows
from onecycle.files import read_csv
from onecycle.sealing import read_sealed_json
from onecycle.studies.tuning import searching
from onecycle.studies.tuning import trial as search_trial
from onecycle.studies.tuning.study import Study, Terms


class Unreadable(Rows):
    """Images that nobody may look at."""

    def __getitem__(self, key: Any) -> Any:
        raise AssertionError("the test set is looked at")

    def __iter__(self) -> Any:
        raise AssertionError("the test set is looked at")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        raise AssertionError("the test set is looked at")


def found_in(result: Search) -> list[tuple[Any, ...]]:
    return [(one.number, one.state, one.changes, one.accuracy) for one in result.trials]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Search:
    """Three trials by TPE, drawn."""
    heard = Heard()
    found = search(tmp_path_factory.mktemp("whole") / "search", observer=heard)
    assert [line.split()[1] for line in heard.said if line.startswith("trial")] == ["0", "1", "2"]
    return found


@pytest.fixture(autouse=True)
def _draw_once(monkeypatch: pytest.MonkeyPatch, whole: Search) -> None:
    """Two pictures take as long as three trials."""
    monkeypatch.setattr(Search, "figures", lambda self: {})


# --- what it finds -----------------------------------------------------------------------------------------------


def test_the_folder_holds_the_trials_and_the_best_as_a_recipe(whole: Search) -> None:
    assert [one.state for one in whole.trials] == ["complete"] * 3
    accuracies = [one.accuracy for one in whole.trials]
    assert whole.best_trial.accuracy == max(one for one in accuracies if one is not None)
    best = onecycle.recipe(whole.path / "best.yaml")
    assert best == whole.best and best.name == "custom_resnet_best"
    changes = whole.best_trial.changes
    assert best == onecycle.recipe(whole.plan.recipe, name=best.name, **changes)
    assert best.data.val_fraction == 0 and onecycle.recipe(whole.path / "base.yaml") == whole.plan.recipe
    table = read_csv(whole.path / "trials.csv")
    assert [float(row["held_out_accuracy"]) for row in table] == accuracies
    assert [float(row["schedule.lr_max"]) for row in table] == [one.changes["schedule.lr_max"] for one in whole.trials]
    assert (whole.path / "plots" / "history.png").stat().st_size > 5000
    assert (whole.path / "plots" / "slices.png").stat().st_size > 5000
    result = read_sealed_json(whole.path / "search_result.json")
    assert result == json.loads(json.dumps(whole.to_dict())) and result["held_out_images"] == 20
    loaded = Search.load(whole.path)
    assert found_in(loaded) == found_in(whole) and loaded.best == whole.best


def test_a_trial_is_the_training_with_that_part_held_out_bit_for_bit(whole: Search, tmp_path: Path) -> None:
    trial = whole.trials[1]
    wanted = onecycle.recipe(BASE, **trial.changes, **{"data.val_fraction": 0.1})
    run = onecycle.train(wanted, model=net(), data=dataset(), out=tmp_path / "run", observer=Observer())
    assert [row["val_accuracy"] for row in run.metrics()][-1] == trial.accuracy
    theirs = weights(whole.run(1))
    assert all(np.array_equal(value, theirs[name]) for name, value in weights(run).items())
    mark = read_sealed_json(whole.run(1).path / "trial.json")
    assert (mark["state"], mark["held_out_accuracy"]) == ("complete", trial.accuracy)
    assert not whole.run(1).checkpoints.paths()


def test_the_test_set_is_never_looked_at(whole: Search, tmp_path: Path) -> None:
    train, test = dataset()
    pixels = Unreadable(np.asarray(test.images_nhwc), np.arange(len(test)))
    poisoned = ImageSet(pixels, (test.labels + 1) % 4, test.classes)
    found = search(tmp_path / "search", trials=2, data=Dataset(train, poisoned))
    assert found_in(found) == found_in(whole)[:2]
    held_out = read_sealed_json(found.path / "trials" / "0000" / "environment.json")["test_fingerprint"]
    assert held_out == found.plan.images != test.fingerprint()
    assert len(found.run(0).predictions()["labels"]) == 20
    with pytest.raises(AssertionError, match="looked at"):
        onecycle.train(BASE, model=net(), data=Dataset(train, poisoned), out=tmp_path / "run", observer=Observer())


def test_what_the_recipe_holds_out_is_what_counts(tmp_path: Path) -> None:
    found = search(tmp_path / "search", trials=1, **{"data.val_fraction": 0.25, "data.train_limit": 90})
    assert found.plan.held_out_images == 50 and found.best.data.val_fraction == 0.25
    assert found.best.data.train_limit == 90
    with pytest.raises(UserError, match="monitor is val_loss: the held-out part of a search stands for the test set"):
        schedule = {"name": "plateau", "lr": 0.1, "epochs": 2, "monitor": "val_loss"}
        search(tmp_path / "other", schedule=schedule, space={"schedule.lr": [0.1, 0.2]}, **{"data.val_fraction": 0.1})
    assert not (tmp_path / "other").exists()


def test_suggestions_are_those_of_optuna_itself(whole: Search) -> None:
    """Its own study in memory, asked with the same seeds and told the same values."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize")
    for number in range(14):
        seed = int(np.random.SeedSequence([BASE.seed, number]).generate_state(1)[0])
        study.sampler = optuna.samplers.TPESampler(seed=seed)
        trial = study.ask()
        trial.suggest_float("schedule.lr_max", 0.002, 0.05, log=True)
        trial.suggest_categorical("loss.label_smoothing", [0.0, 0.1])
        trial.suggest_int("data.batch_size", 30, 60, step=15)
        told = whole.trials[number].accuracy if number < 3 else number / 20
        study.tell(trial, told)
    theirs = [one.params for one in study.trials]
    assert [one.changes for one in whole.trials] == theirs[:3]
    ours = Study(Terms("sqlite://", "copy", "tpe", "none", BASE.seed, 2, whole.plan.space))
    ours.__dict__["_study"] = optuna.create_study(direction="maximize")  # in memory, beyond the startup trials of TPE
    for number in range(14):
        assert ours.ask().labels == theirs[number]
        ours.tell(number, "complete", study.trials[number].value, {})
    another = Study(Terms("sqlite://", "other", "tpe", "none", BASE.seed + 1, 2, whole.plan.space))
    another.__dict__["_study"] = optuna.create_study()
    assert another.ask().labels != theirs[0]


def test_a_search_that_is_in_the_way_of_nothing_can_be_read_by_optuna(whole: Search) -> None:
    (name,) = optuna.get_all_study_names(f"sqlite:///{whole.path}/search.db")
    study = optuna.load_study(study_name=name, storage=f"sqlite:///{whole.path}/search.db")
    assert [one.value for one in study.trials] == [one.accuracy for one in whole.trials]
    assert study.trials[0].intermediate_values.keys() == {1, 2}
    assert study.trials[0].user_attrs["run"] == "trials/0000"


# --- going on ----------------------------------------------------------------------------------------------------


def test_more_trials_are_those_that_would_have_come(whole: Search, tmp_path: Path) -> None:
    out, heard = tmp_path / "search", Heard()
    search(out, trials=1)
    found = search(out, observer=heard)
    assert found_in(found) == found_in(whole)
    assert "1 trial is there already" in heard.said


def test_a_stopped_trial_goes_on(whole: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        stop = StopAt(5)
        patch.setattr(search_trial._Watch, "on_progress", lambda self, progress: stop.on_progress(progress))
        patch.setattr("onecycle.training.FLUSH_SECONDS", 0.0)
        with pytest.raises(Stopped, match="the search was stopped by SIGINT; saved, go on with the same command") as by:
            search(tmp_path / "search")
    assert by.value.exit_code == 130
    study = Study(Terms(f"sqlite:///{tmp_path}/search/search.db", whole.plan.study_name, "tpe", "none", 0, 2, None))  # type: ignore[arg-type]
    assert [one.state for one in study.records()] == ["running"]
    heard = Heard()
    found = search(tmp_path / "search", trials=1, observer=heard)
    assert "trial 0 goes on" in heard.said and found_in(found) == found_in(whole)[:1]
    assert_same_run(found.run(0), whole.run(0))


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from searches import search
from onecycle import training
from onecycle.studies.tuning import searching
from onecycle.studies.tuning import trial as search_trial
training.FLUSH_SECONDS = 0.0
def killed(self, progress):
    if self._job.number == 0 and progress.step == {step}:
        os.kill(os.getpid(), signal.SIGKILL)
search_trial._Watch.on_progress = killed
search(Path({out!r}))
"""


def test_a_killed_trial_is_taken_up_from_its_checkpoint(whole: Search, tmp_path: Path) -> None:
    out = tmp_path / "search"
    steps = int(whole.run(0).summary["steps"])
    code = KILLED.format(tests=str(Path(__file__).parent), out=str(out), step=steps // 2 + 2)
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert Run.open(out / "trials" / "0000").checkpoints.paths()
    heard = Heard()
    found = search(out, trials=1, observer=heard)
    assert "trial 0 goes on" in heard.said and found_in(found) == found_in(whole)[:1]
    assert_same_run(found.run(0), whole.run(0))
    assert found.run(0).environment["resumed"]


def test_a_trial_that_was_killed_while_it_was_asked_for_gets_its_values(tmp_path: Path) -> None:
    first = search(tmp_path / "search", trials=1)
    url = f"sqlite:///{first.path}/search.db"
    study = optuna.load_study(study_name=first.plan.study_name, storage=url)
    study.ask().suggest_float("schedule.lr_max", 0.002, 0.05, log=True)
    found = search(tmp_path / "search", trials=2)
    assert [one.state for one in found.trials] == ["complete"] * 2 and len(found.trials[1].changes) == 3


def test_processes_share_the_work_and_one_that_is_killed_is_no_loss(
    whole: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, killed = searching._Search._look, []

    def kill_once(self: Any, say: Any) -> None:
        look(self, say)
        if not killed and any(one.state == "running" for one in self._found().trials):
            killed.append(multiprocessing.active_children()[0])
            killed[0].kill()

    monkeypatch.setattr(searching._Search, "_look", kill_once)
    heard = Heard()
    found = search(tmp_path / "search", workers=2, observer=heard)
    assert found_in(found) == found_in(whole)  # so few that TPE goes by no other trial yet
    threads = [one.read_text() for one in (tmp_path / "search").glob("trials/*/environment.json")]
    assert [json.loads(one)["threads"] for one in threads] == [1, 1, 1]
    assert not killed or killed[0].exitcode != -signal.SIGKILL or "lost to SIGKILL: 1 of 2 workers" in heard.said


class Pickling:
    """As an engine elsewhere: work and jobs go there as bytes. Some trials end as `instead` has them."""

    def __init__(self, instead: dict[int, Exception]) -> None:
        self._instead = instead

    def run(self, work: Any, jobs: Any, resources: Any) -> Any:
        for job in jobs:
            there, asked = pickle.loads(pickle.dumps((work, job)))
            yield job, self._instead.get(job.number) or there(asked)


def test_another_engine_carries_trials_out(whole: Search, tmp_path: Path) -> None:
    out = tmp_path / "search"
    with pytest.raises(UserError, match="the disk is full"):
        search(out, engine=Pickling({1: UserError("the disk is full")}))
    found = search(out, engine=Pickling({1: TrainingFailed("its worker was lost 4 times; see the log")}))
    assert found_in(found)[::2] == found_in(whole)[::2]
    assert (found.trials[1].state, found.trials[1].problem) == ("failed", "its worker was lost 4 times")
    with pytest.raises(UserError, match="--workers 2: of this machine's processes"):
        search(out, engine=Pickling({}), workers=2)


def test_no_trial_begins_after_the_time(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--timeout 1e-09: over before a trial could begin"):
        search(tmp_path / "search", timeout=1e-9)
    assert list((tmp_path / "search" / "trials").iterdir()) == []


def test_a_lost_database_takes_no_run_for_another_trial(whole: Search, tmp_path: Path) -> None:
    out = tmp_path / "search"
    shutil.copytree(whole.path, out)
    (out / "search.db").unlink()
    first, second = out / "trials/0000", out / "trials/0001"
    first.rename(out / "x")
    second.rename(first)
    (out / "x").rename(second)
    before = (first / "trial.json").read_bytes()
    with pytest.raises(UserError, match=r"0000: is the run of another trial, .* differs; the database is not the one"):
        search(out)
    assert (first / "trial.json").read_bytes() == before


def test_another_search_does_not_go_into_the_folder(whole: Search, tmp_path: Path) -> None:
    def said(**options: Any) -> str:
        with pytest.raises(UserError) as error:
            search(whole.path, **options)
        return str(error.value)

    before = (whole.path / "search_result.json").read_bytes()
    assert "augment.cutout is 8 there and 4 here; another --out" in said(**{"augment.cutout": 4})
    assert "seed is 0 there and 1 here" in said(seed=1)
    assert "the space is another" in said(space={"schedule.lr_max": [0.01, 0.02]})
    assert "sampler is tpe there and random here" in said(sampler="random")
    assert "the images are not those" in said(data=Dataset(images(200, 5), images(60, 1)))
    assert (whole.path / "search_result.json").read_bytes() == before
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    with pytest.raises(UserError, match="exists and holds no search"):
        search(tmp_path / "full")
    with pytest.raises(UserError, match=r"holds no search\.yaml"):
        Search.load(tmp_path / "full")


def test_a_search_goes_on_with_the_weights_that_it_began_with(tmp_path: Path) -> None:
    def earlier(seed: int) -> None:
        shutil.rmtree(tmp_path / "first", ignore_errors=True)
        onecycle.train(small_recipe(seed=seed), model=net(), data=dataset(), out=tmp_path / "first", report=False)

    earlier(0)
    found = search(tmp_path / "search", init=tmp_path / "first", trials=1)
    assert found_in(Search.load(tmp_path / "search")) == found_in(found)
    earlier(1)
    with pytest.raises(UserError, match="the weights of init are not those it began with; another --out"):
        search(tmp_path / "search", init=tmp_path / "first", trials=2)


def test_a_search_goes_on_with_the_net_that_it_began_with(tmp_path: Path) -> None:
    search(tmp_path / "search", trials=1)
    with pytest.raises(UserError, match="the net that is handed in is not the one that it began with, or has other"):
        search(tmp_path / "search", trials=2, model=net(seed=1))
    assert len(search(tmp_path / "search", trials=2).trials) == 2


def test_a_size_that_the_images_have_not_is_a_trial_that_failed(tmp_path: Path) -> None:
    train = images(60, 0)
    np.savez(tmp_path / "set.npz", images=train.images_nhwc, labels=train.labels)
    space = {"data.image_size": [48, 32]}
    base = small_recipe(**{"data.name": str(tmp_path / "set.npz"), "data.batch_size": 20, "schedule.epochs": 2})
    asked = {"space": space, "trials": 2, "sampler": "grid", "pruner": "none", "model": net(), "observer": Observer()}
    found = onecycle.search(base, out=tmp_path / "search", **asked)
    assert sorted((one.changes["data.image_size"], one.state) for one in found.trials) == [
        (32, "complete"),
        (48, "failed"),
    ]
