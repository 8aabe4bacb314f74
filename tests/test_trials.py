"""Trials over seeds: each is an ordinary run, only what is missing is trained, and nothing else is taken for one."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from small import assert_same_run, dataset, files, images, net, small_recipe

import onecycle
from onecycle import (
    Dataset,
    Observer,
    Recipe,
    Run,
    Stopped,
    TrainingFailed,
    Trials,
    UserError,
    lr_range,
    schedule,
    training,
)
from onecycle.files import locked
from onecycle.observer import ProgressCallback
from onecycle.sealing import read_sealed_json, write_sealed_json
from onecycle.studies import Job, LocalEngine, Resources, job, train_job
from onecycle.studies.seeds import results

SILENT = Observer()
RATES = {"schedule.lr_max": [0.02, 0.005]}
FAST, SLOW = "schedule.lr_max=0.02", "schedule.lr_max=0.005"
KILLED = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from onecycle import training
training.FLUSH_SECONDS = 0.0
from test_trials import trials
trials(Path(sys.argv[1]), seeds=2)
"""


def trials(out: Path, **options: Any) -> Trials:
    """Two rates over three seeds of the small net, unless the options say otherwise."""
    given_in: dict[str, Any] = {"seeds": 3, "vary": RATES, "model": net(), "data": dataset(), "observer": SILENT}
    names = ("seeds", "against", "vary", "model", "data", "observer", "engine", "difference", "device", "init")
    given_in |= {key: options.pop(key) for key in names if key in options}
    wanted = options.pop("recipe", None) or small_recipe(**{"precision": "fp32", "schedule.epochs": 2, **options})
    return onecycle.trials(wanted, out=out, **given_in)


@pytest.fixture(autouse=True)
def _draw_where_asked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than training; what `whole` has is drawn."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(results.page, "draw", lambda found: [])
        monkeypatch.setattr(results.page, "write", lambda found, out: out)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Trials:
    return trials(tmp_path_factory.mktemp("whole") / "trials")


class Stopping(Observer):
    """Sends a signal in the trial whose bar is named so, after some steps."""

    def __init__(self, title: str, step: int, number: int) -> None:
        self._title, self._step, self._number = title, step, number

    @contextlib.contextmanager
    def progress_of(self, title: str) -> Iterator[ProgressCallback]:
        def say(done: int, total: int, text: str) -> None:
            if title.startswith(self._title) and done == self._step:
                os.kill(os.getpid(), self._number)

        yield say


class Recording(LocalEngine):
    """Notes what it is asked for."""

    def __init__(self) -> None:
        self.jobs: list[str] = []

    def run(self, work: Callable[[Any], Any], jobs: Any, resources: Resources) -> Iterator[tuple[Any, Any]]:
        def noted() -> Iterator[Any]:
            for one in jobs:
                self.jobs.append(f"{one.folder.parent.name}/{one.folder.name}")
                yield one

        return super().run(work, noted(), resources)


def test_each_trial_is_the_run_that_train_makes_of_its_seed(whole: Trials, tmp_path: Path) -> None:
    wanted = small_recipe(precision="fp32", seed=1, **{"schedule.epochs": 2, "schedule.lr_max": 0.005})
    alone = onecycle.train(wanted, model=net(), data=dataset(), out=tmp_path / "alone", observer=SILENT, report=False)
    assert_same_run(alone, Run.open(whole.path / SLOW / "s1"))


def test_what_is_in_the_folder(whole: Trials) -> None:
    assert [(one.variant, one.seed) for one in whole.trials] == [(v, s) for s in range(3) for v in (FAST, SLOW)]
    inside = {"trials.json", "results.csv", "trials_result.json", "trials.html", ".lock"}
    assert {name for name in files(whole.path) if "/" not in name} == inside
    assert files(whole.path / "plots") == {"accuracy.png", "train_seconds.png"}
    in_a_run = files(whole.path / FAST / "s0")
    assert {"summary.json", "model.safetensors", "predictions.npz"} <= in_a_run
    assert not any(name.startswith(("checkpoints", "report", "plots")) for name in in_a_run)
    with (whole.path / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row, run in zip(rows, whole.runs, strict=True):
        summary = run.summary
        assert row["run"] == str(run.path.relative_to(whole.path)) and row["status"] == "finished"
        assert float(row["accuracy"]) == summary["test"]["accuracy"] and float(row["loss"]) == summary["test"]["loss"]
        assert float(row["train_seconds"]) == summary["train_seconds"]
    assert read_sealed_json(whole.path / "trials_result.json") == json.loads(json.dumps(whole.to_dict()))
    assert Trials.load(whole.path).to_dict() == whole.to_dict()


def test_seeds_are_the_outer_loop_and_only_what_is_missing_is_run(whole: Trials, tmp_path: Path) -> None:
    path = tmp_path / "trials"
    shutil.copytree(whole.path, path)
    shutil.rmtree(path / SLOW / "s1")
    before = {name: (path / name).read_bytes() for name in files(path) if name.endswith("model.safetensors")}
    engine = Recording()
    found = trials(path, seeds=4, engine=engine)
    assert engine.jobs == [f"{SLOW}/s1", f"{FAST}/s3", f"{SLOW}/s3"]
    assert len(found.finished) == 8 and found.plan.seeds == 4
    assert all((path / name).read_bytes() == content for name, content in before.items())
    assert_same_run(Run.open(path / SLOW / "s1"), Run.open(whole.path / SLOW / "s1"))
    again = Recording()
    assert trials(path, seeds=2, engine=again).plan.seeds == 4 and again.jobs == []  # what was run before stays
    more = Recording()
    found = trials(path, seeds=4, vary={"schedule.lr_max": [0.02, 0.01]}, engine=more)
    assert more.jobs == [f"schedule.lr_max=0.01/s{seed}" for seed in range(4)]
    assert found.variants == (FAST, "schedule.lr_max=0.01", SLOW) and len(found.comparisons) == 2


@pytest.mark.parametrize(("title", "number"), [(f"{FAST}, seed 0", signal.SIGINT), (f"{SLOW}, seed 1", signal.SIGTERM)])
def test_stopped_trials_go_on_to_the_same_end(
    title: str, number: int, whole: Trials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "FLUSH_SECONDS", 0.0)
    path = tmp_path / "trials"
    with pytest.raises(Stopped, match=rf"go on with the same command and --out {path}$") as stopped:
        trials(path, seeds=2, observer=Stopping(title, 5, number))
    assert stopped.value.exit_code == 128 + number and "finished" in str(stopped.value)
    cut = Trials.load(path)
    assert len(cut.finished) == {FAST: 0, SLOW: 3}[title.partition(",")[0]] and not cut.failed
    found = trials(path, seeds=2)
    for one, other in zip(found.runs, whole.runs[:4], strict=True):
        assert_same_run(one, other)
    assert [one.measured["accuracy"] for one in found.trials] == [one.measured["accuracy"] for one in whole.trials[:4]]


def test_killed_trials_go_on_to_the_same_end(whole: Trials, tmp_path: Path) -> None:
    path = tmp_path / "trials"
    places = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    steps = path / SLOW / "s0/steps.csv"
    with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], env=places, stderr=subprocess.PIPE) as process:
        until = time.monotonic() + 60
        while not steps.exists() and time.monotonic() < until and process.poll() is None:
            time.sleep(0.002)
        process.kill()
    assert process.returncode == -signal.SIGKILL and steps.exists()
    assert not (path / SLOW / "s1/summary.json").exists()
    (path / SLOW / "s1").mkdir(parents=True, exist_ok=True)  # as if killed between this and what follows
    found = trials(path, seeds=2)
    for one, other in zip(found.runs, whole.runs[:4], strict=True):
        assert_same_run(one, other)


def test_a_trial_that_fails_is_a_row_and_the_others_go_on(
    tmp_path: Path, drawn: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "MOST_RATE", 1e38)
    path = tmp_path / "trials"
    found = trials(path, vary={"schedule.lr_max": [0.02, 1e30]}, seeds=2)
    broken = "schedule.lr_max=1e+30"
    assert [(one.variant, one.status) for one in found.trials] == 2 * [(FAST, "finished"), (broken, "failed")]
    assert all("the loss is nan at step" in str(one.error) for one in found.failed)
    assert {one.variant for one in found.table} == {FAST} and not found.comparisons
    assert "the loss is nan" in (path / "results.csv").read_text()
    assert "failed: the loss is nan" in (path / "trials.html").read_text()
    engine = Recording()
    assert trials(path, vary={"schedule.lr_max": [0.02, 1e30]}, seeds=2, engine=engine).failed == found.failed
    assert engine.jobs == []  # it would fail again
    with pytest.raises(TrainingFailed, match="the loss is nan"):  # at once
        train_job(Job(found.plan.variants[1].recipe, path / found.failed[0].path, None, "cpu", net(), dataset()))
    # Gone on with by hand, it is no longer the run that was planned.
    onecycle.resume(
        path / found.failed[0].path,
        changes={"schedule.lr_max": 0.01},
        model=net(),
        data=dataset(),
        report=False,
        observer=SILENT,
    )
    by_hand = Trials.load(path).failed[0]
    assert by_hand.seed == 0 and "not the run that was planned, schedule.lr_max differs" in str(by_hand.error)


def test_a_trial_without_enough_memory_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = job.begin

    def begin(wanted: Recipe, *arguments: Any, **named: Any) -> Run:
        if wanted.data.batch_size == 50:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return original(wanted, *arguments, **named)

    with monkeypatch.context() as small:
        small.setattr(job, "begin", begin)
        found = trials(tmp_path / "trials", vary={"data.batch_size": [60, 50]}, seeds=2)
    assert [one.status for one in found.trials] == 2 * ["finished", "failed"]
    assert {one.error for one in found.failed} == {"there is not enough memory for it"}
    assert len(trials(tmp_path / "trials", vary={"data.batch_size": [60, 50]}, seeds=2).finished) == 4


def test_memory_that_lacks_in_the_warm_up_fails_the_trial_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = job._warm_up

    def warm_up(wanted: Recipe, *arguments: Any) -> None:
        if wanted.data.batch_size == 50:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        original(wanted, *arguments)

    monkeypatch.setattr(job, "_warm_up", warm_up)
    found = trials(tmp_path / "trials", vary={"data.batch_size": [50, 60]}, seeds=1)
    assert [(one.status, one.error) for one in found.trials] == [
        ("failed", "there is not enough memory for it"),
        ("finished", None),
    ]


def test_rates_that_a_range_test_refuses_fail_the_trial_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **named: Any) -> None:
        raise UserError("the loss never falls in the sweep", "another line")

    monkeypatch.setattr(lr_range, "find", refuse)
    found = trials(tmp_path / "trials", vary={"schedule.lr_max": ["find", 0.02]}, seeds=1)
    assert [(one.status, one.error) for one in found.trials] == [
        ("failed", "the loss never falls in the sweep"),
        ("finished", None),
    ]


def test_seeds_that_are_added_begin_with_the_same_weights(tmp_path: Path) -> None:
    first = tmp_path / "first"
    onecycle.train(small_recipe(), model=net(), data=dataset(), out=first, observer=SILENT, report=False)
    assert len(trials(tmp_path / "trials", init=first, seeds=1).finished) == 2
    shutil.rmtree(first)
    onecycle.train(small_recipe(seed=1), model=net(), data=dataset(), out=first, observer=SILENT, report=False)
    with pytest.raises(UserError, match=r"init is not what it began with \(init differs\)"):
        trials(tmp_path / "trials", init=first, seeds=2)


def test_seeds_that_are_added_begin_with_the_net_that_was_handed_in(tmp_path: Path) -> None:
    """Not with one of the same form, whose weights were drawn anew."""
    assert len(trials(tmp_path / "trials", vary=None, seeds=1).finished) == 1
    with pytest.raises(UserError, match="the net that is handed in is not the one that it began with, or has other"):
        trials(tmp_path / "trials", vary=None, seeds=2, model=net(seed=1))
    assert len(trials(tmp_path / "trials", vary=None, seeds=2).finished) == 2


def test_numbers_are_named_as_the_recipe_has_them(tmp_path: Path) -> None:
    first = trials(tmp_path / "trials", vary={"schedule.lr_max": ["1e-2", 0.02]}, seeds=1)
    again = trials(tmp_path / "trials", vary={"schedule.lr_max": [0.01, "2e-2"]}, seeds=1)
    assert [one.variant for one in first.trials] == ["schedule.lr_max=0.01", "schedule.lr_max=0.02"]
    assert [one.variant for one in again.trials] == [one.variant for one in first.trials]


def test_a_run_that_cannot_be_read_is_named(whole: Trials, tmp_path: Path) -> None:
    path = tmp_path / "trials"
    shutil.copytree(whole.path, path)
    summary = path / SLOW / "s2/summary.json"
    content = summary.read_text().replace('"accuracy": ', '"accuracy": 1')
    summary.write_text(content)
    environment = read_sealed_json(path / FAST / "s1/environment.json")
    write_sealed_json(path / FAST / "s1/environment.json", {**environment, "train_fingerprint": "other"})
    first, second = Trials.load(path).failed
    assert (first.variant, first.seed) == (FAST, 1) and "it began otherwise than the plan has it" in str(first.error)
    assert (second.variant, second.seed) == (SLOW, 2) and "summary.json: damaged" in str(second.error)
    (path / "trials.json").write_text("{}")
    with pytest.raises(UserError, match=r"trials\.json: damaged"):
        Trials.load(path)
    with pytest.raises(UserError, match=r"holds no trials\.json; the folder of trials is needed"):
        Trials.load(tmp_path)


def test_what_is_not_what_the_folder_began_with_is_refused(whole: Trials, tmp_path: Path) -> None:
    data = dataset()
    before = files(whole.path)
    for options, said in (
        ({"recipe": small_recipe(name="other"), "vary": None}, "taken by 'schedule.lr_max=0.02'; 'other' is another"),
        (
            {"schedule.epochs": 3},
            "by another recipe of the name 'schedule.lr_max=0.02'; schedule.epochs is 2 there and 3",
        ),
        ({"resources.cpus": 1}, "resources.cpus is . there and 1 here"),
        (
            {"data": Dataset(images(200, 3), data.test)},
            r"the images are not what it began with \(train_fingerprint differs\)",
        ),
    ):
        with pytest.raises(UserError, match=said) as caught:
            trials(whole.path, **options)
        assert len(caught.value.problems) == 1
    with locked(whole.path / ".lock", wait=False), pytest.raises(UserError, match="another process runs trials here"):
        trials(whole.path)
    assert files(whole.path) == before
    for place in (tmp_path / "file", tmp_path / "folder/inside"):
        place.parent.mkdir(exist_ok=True)
        place.write_text("")
        with pytest.raises(UserError, match=r"exists and holds no trials; a new folder is needed"):
            trials(tmp_path / place.relative_to(tmp_path).parts[0])


def test_images_are_loaded_once_and_let_go_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []

    def load(recipe: Any, *arguments: Any, **options: Any) -> Dataset:
        loaded.append(recipe.data.name)
        return dataset()

    monkeypatch.setattr(job, "load_data", load)
    found = trials(tmp_path / "trials", data=None, **{"schedule.epochs": 1, "schedule.peak_epoch": 0.5})
    assert loaded == ["cifar10"] and len(found.finished) == 6 and not job._loaded


def test_the_net_that_was_handed_in_is_left_as_it_was(tmp_path: Path) -> None:
    mine = net()
    before = {name: value.clone() for name, value in mine.state_dict().items()}
    state = torch.random.get_rng_state()
    trials(tmp_path / "trials", seeds=1, vary=None, model=mine)
    assert all(torch.equal(value, before[name]) for name, value in mine.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)
