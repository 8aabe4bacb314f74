"""How trials of a search end, what it refuses, and its command."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from searches import BASE, Heard, search
from small import images
from test_cli import call, refused

from onecycle import Run, Search, TrainingFailed, UserError
from onecycle.sealing import read_sealed_json
from onecycle.studies.tuning.study import Study, Terms


@pytest.fixture(autouse=True)
def _draw_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two pictures take as long as three trials."""
    monkeypatch.setattr(Search, "figures", lambda self: {})


# --- ends of trials ----------------------------------------------------------------------------------------------


def test_a_pruned_trial_stays_and_is_never_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pruned = Study.report
    monkeypatch.setattr(Study, "report", lambda self, number, found: pruned(self, number, found) or number == 1)
    heard = Heard()
    found = search(tmp_path / "search", pruner="median", observer=heard, evaluate_every=0)
    assert [one.state for one in found.trials] == ["complete", "pruned", "complete"]
    assert found.trials[1].epochs == 1 and found.trials[1].accuracy is not None
    assert 1 not in [one.number for one in found.ranked]
    run = found.run(1)
    assert read_sealed_json(run.path / "trial.json")["state"] == "pruned"
    assert len(run.metrics()) == 1 and not run.finished and not run.checkpoints.paths()
    assert any(line.startswith("trial 1") and "pruned after 1 epoch" in line for line in heard.said)


def test_the_median_prunes_as_optunas_does(tmp_path: Path) -> None:
    """The sixth trial, which is below the median of five at its first epoch."""
    space = {"schedule.lr_max": {"low": 0.002, "high": 0.05}}
    terms = Terms(f"sqlite:///{tmp_path}/s.db", "s", "random", "median", 0, 3, search_trial_space(space))
    study = Study.create(terms)
    for number in range(6):
        study.ask()
        first = study.report(number, {1: 0.5 + number / 100 if number < 5 else 0.4})
        assert first is (number == 5)
        study.tell(number, "pruned" if first else "complete", None if first else 0.6, {})
    assert [one.state for one in study.records()] == ["complete"] * 5 + ["pruned"]
    assert study.records()[5].accuracy == 0.4


def test_a_failed_trial_and_a_refused_recipe_do_not_end_it(tmp_path: Path) -> None:
    heard = Heard()
    space = {"schedule.lr_max": [0.01, 1e6], "schedule.peak_epoch": [0.5, 2.5], "schedule.epochs": [2, 3]}
    found = search(tmp_path / "search", space=space, sampler="grid", trials=None, observer=heard)
    assert len({tuple(one.changes.values()) for one in found.trials}) == len(found.trials) == 8
    refused = failed = 0
    for one in found.trials:
        lr_max, peak, epochs = one.changes.values()
        if peak > epochs:
            refused += 1
            assert one.state == "failed" and "peak_epoch" in str(one.problem)
            with pytest.raises(UserError, match="no such folder"):
                found.run(one.number)
        elif lr_max > 1:
            failed += 1
            assert one.state == "failed" and "finite" in str(one.problem) and ";" not in str(one.problem)
            assert read_sealed_json(found.run(one.number).path / "trial.json")["state"] == "failed"
        else:
            assert one.state == "complete"
    assert (refused, failed, len(found.ranked)) == (2, 3, 3)
    assert sum(" failed  " in line for line in heard.said) == refused + failed


def test_where_all_fail_the_search_has_failed(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match=r"none of 2 trials ran to its end; the first: .*no longer finite"):
        search(tmp_path / "search", space={"schedule.lr_max": [1e6, 9e5]}, trials=2)
    with pytest.raises(UserError, match="no trial of the search has run to its end"):
        _ = Search.load(tmp_path / "search").best


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"trials": 0}, "--trials 0: 1 or more"),
        ({"workers": 0}, "--workers 0: 1 or more"),
        ({"timeout": 0.0}, r"--timeout 0\.0: more than 0 minutes"),
        ({"sampler": "tpee"}, "--sampler 'tpee' is unknown; did you mean 'tpe'?"),
        ({"pruner": "mean"}, "--pruner 'mean' is unknown"),
        ({"storage": "nowhere"}, "--storage: not the URL of a database"),
        ({"storage": "postgresql://me:secret@127.0.0.1:1/x"}, r"the storage postgresql://me:\*\*\*@127.0.0.1:1/x"),
        ({"device": "cuda:99"}, "cuda:99"),
        ({"resources.gpus": 0.5}, "0.5 of a GPU a trial: the local engine"),
        ({"data": images(40)}, "data.batch_size"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_written(
    tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        search(tmp_path / "search", **options)
    assert not (tmp_path / "search" / "search.yaml").exists() or "storage" in options


def test_without_optuna_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    (tmp_path / "space.yaml").write_text("schedule.lr_max: [0.01, 0.02]\n")
    said = refused(capsys, "search", "digits", "--space", str(tmp_path / "space.yaml"), "--out", str(tmp_path / "out"))
    assert "pip install 'onecycle[search]'" in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


# --- the command -------------------------------------------------------------------------------------------------


def test_the_command_prints_and_its_best_recipe_trains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], small_command: Callable[..., list[str]]
) -> None:
    out = tmp_path / "search"
    asked = small_command(out)
    assert call(*asked, "--trials", "2") == 0
    said = capsys.readouterr()
    assert f"measure it: onecycle trials {out}/best.yaml --seeds 5 --against {out}/base.yaml" in said.out
    assert "2 trials: 2 to the end" in said.out and "it is optimistic" not in said.err
    assert "trial 0 " in said.err and "optuna" not in said.err.lower()
    assert call(*asked, "--trials", "2", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["folder"] == str(out) and len(found["trials"]) == 2
    assert call("train", str(out / "best.yaml"), "--out", str(tmp_path / "run"), "--device", "cpu", "--no-report") == 0
    trained = Run.open(tmp_path / "run")
    assert trained.summary["recipe"] == "digits_best" and trained.recipe.data.val_fraction == 0
    assert "another --out" in refused(capsys, *asked, "--set", "augment.cutout=3")


@pytest.fixture
def small_command(tmp_path: Path) -> Callable[..., list[str]]:
    (tmp_path / "space.yaml").write_text("schedule.lr_max: {low: 1e-3, high: 1e-2, log: true}\n")
    small = ("model.name=compact", "data.train_limit=40", "data.batch_size=20", "schedule.epochs=1")
    small += ("schedule.peak_epoch=0.5", "schedule.lr_min=1e-4")
    sets = [part for one in small for part in ("--set", one)]
    space = str(tmp_path / "space.yaml")
    return lambda out: ["search", "digits", "--space", space, "--out", str(out), "--device", "cpu", *sets]


def search_trial_space(space: dict[str, Any]) -> Any:
    from onecycle.studies.tuning.reading import read_space

    return read_space(space, BASE)
