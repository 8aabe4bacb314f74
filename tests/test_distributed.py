"""Two processes, started by torchrun, against one: the same training, stopped, resumed, lost, refused."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import distributed_runs
import numpy as np
import pytest
import torch
from distributed_runs import CASES, STOPPED_AT, quarters, resume, train, train_and_stop, wanted
from small import assert_same_run, weights

from onecycle import Run, UserError, registry, torchrun
from onecycle.data import Augmentation, Loader
from onecycle.distributed import joining
from onecycle.torchrun import Place

PATIENCE_S = 200  # an idle machine needs a few
SCRIPT = distributed_runs.__file__


def start(*arguments: str | Path, torchrun: tuple[str, ...] = (), **environment: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *torchrun, SCRIPT]
    return subprocess.Popen(
        [*words, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(SCRIPT).parent), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, list[str]]:
    """Its exit code, stdout, and the lines on stderr that are not torchrun's own; all is shown where the test fails."""
    try:
        out, err = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    sys.stderr.write(err)
    return process.returncode, out, [line for line in err.splitlines() if line.startswith("onecycle: ")]


@pytest.fixture(scope="module", autouse=True)
def _registered() -> Iterator[None]:
    for kind, name, target in (("model", "plain", "PlainNet"), ("data", "quarters", "quarters")):
        registry.register(kind, name, f"distributed_runs:{target}")
    registry.register("model", "with_norms", "distributed_runs:with_norms")
    yield
    for kind, name in (("model", "plain"), ("model", "with_norms"), ("data", "quarters")):
        del registry.ENTRIES[kind][name]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, _registered: None) -> Path:
    """What `distributed_runs.main` leaves, after two trainings that one process began."""
    made = tmp_path_factory.mktemp("distributed")
    train_and_stop(made / "stopped_by_one", **CASES["averaged"])
    train_and_stop(made / "stopped_with_hardest", **CASES["hardest"])
    code, _, said = ended(start(made))
    assert code == 0, said
    return made


def assert_nearly(one: Run, other: Run, near: float = 1e-5) -> None:
    left, right = weights(one), weights(other)
    assert left.keys() == right.keys()
    for name in left:
        torch.testing.assert_close(left[name], right[name], rtol=0, atol=near, msg=name)
    np.testing.assert_allclose(one.predictions()["logits"], other.predictions()["logits"], rtol=0, atol=10 * near)
    for rows, other_rows in ((one.steps(), other.steps()), (one.metrics(), other.metrics())):
        for mine, theirs in zip(rows, other_rows, strict=True):
            assert mine.keys() == theirs.keys()
            for key in mine.keys() & {"step", "epoch", "lr", "loss", "train_loss", "train_accuracy", "val_loss"}:
                assert mine[key] == pytest.approx(theirs[key], abs=near), key


# --- the same training --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_as_one_does(case: str, folder: Path, tmp_path: Path) -> None:
    alone, together = train(tmp_path / "one", **CASES[case]), Run.open(folder / case)
    assert alone.summary["steps"] >= (16 if case == "hardest" else 20)
    assert together.environment["processes"] == 2 and "processes" not in alone.environment
    assert_nearly(alone, together)


def test_the_test_images_are_predicted_once_each_and_as_by_one_process(folder: Path, tmp_path: Path) -> None:
    """70 images in batches of 31: two batches for one process, one of eight for the other."""
    together = Run.open(folder / "averaged")
    shown = together.predictions()
    np.testing.assert_array_equal(shown["labels"], quarters().test.labels)
    alone = train(tmp_path / "one", **CASES["averaged"])
    tested, by_one = together.summary["test"], alone.summary["test"]
    assert tested["images"] == by_one["images"] == 70
    assert tested["accuracy"] == by_one["accuracy"] and tested["accuracy_tta"] == by_one["accuracy_tta"]


def test_norms_of_each_process_reach_about_the_same(folder: Path, tmp_path: Path) -> None:
    alone = train(tmp_path / "one", **distributed_runs._WITH_NORMS)
    left, right = alone.summary["test"], Run.open(folder / "norms").summary["test"]
    assert abs(left["loss"] - right["loss"]) < 0.15 and abs(left["accuracy"] - right["accuracy"]) < 0.1
    assert left["loss"] != right["loss"]  # each process has norms, and dropout, of its own


# --- stopped and resumed ------------------------------------------------------------------------------------------


def test_two_processes_go_on_as_if_never_stopped(folder: Path) -> None:
    """Bit for bit: the sum of two is the same in either order."""
    assert Run.open(folder / "norms_stopped").environment["resumed"][0]["step"] >= STOPPED_AT
    assert_same_run(Run.open(folder / "norms_stopped"), Run.open(folder / "norms"))


def test_one_process_goes_on_with_what_two_began(folder: Path) -> None:
    resumed = resume(folder / "stopped_by_two")
    (noted,) = resumed.environment["resumed"]
    assert STOPPED_AT <= noted["step"] <= STOPPED_AT + 2 and "processes" not in noted
    assert_nearly(resumed, Run.open(folder / "averaged"))


@pytest.mark.parametrize(("stopped", "case"), [("stopped_by_one", "averaged"), ("stopped_with_hardest", "hardest")])
def test_two_processes_go_on_with_what_one_began(stopped: str, case: str, folder: Path) -> None:
    resumed = Run.open(folder / stopped)
    assert [(one["step"], one["processes"]) for one in resumed.environment["resumed"]] == [(STOPPED_AT, 2)]
    assert_nearly(resumed, Run.open(folder / case))


# --- refused ------------------------------------------------------------------------------------------------------


def test_what_cannot_work_is_refused_by_all_alike(folder: Path) -> None:
    first, second = (json.loads((folder / f"refused_{rank}.json").read_text()) for rank in (0, 1))
    assert first["recipe"] == second["recipe"]
    assert "rank 1 differs from rank 0 in the recipe's seed (1 there, 0 on rank 0)" in first["recipe"]
    assert first["images"] == second["images"] and "images (train)" in first["images"]
    assert first["net"] == second["net"] and "in the net" in first["net"]
    assert first["batch"] == second["batch"] and "2 processes are more than a batch has images" in first["batch"]
    assert first["norms"] == second["norms"] and "needs CUDA" in first["norms"]
    assert first["compiled"] == second["compiled"] and "compile default is for a training in one" in first["compiled"]
    assert "exists" in first["folder"] and first["folder"] == second["folder"]
    assert not (folder / "refused").exists()


def recipe_file(folder: Path, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "wanted.yaml").write_text(wanted(**CASES["unequal"], **changes).to_yaml())
    return folder / "wanted.yaml"


def test_processes_that_disagree_say_one_line(tmp_path: Path) -> None:
    words = ["train", recipe_file(tmp_path), "--seed", "RANK", "--out", tmp_path / "run", "--device=cpu"]
    code, out, said = ended(start(*words))
    assert code != 0 and not out
    (line,) = [one for one in said if one.startswith("onecycle: error: ")]
    assert "recipe's seed (1 there, 0 on rank 0)" in line
    assert not (tmp_path / "run").exists()


# --- lost ---------------------------------------------------------------------------------------------------------


def test_a_process_is_lost_and_torchrun_starts_all_again(tmp_path: Path) -> None:
    path = recipe_file(tmp_path, **{"checkpoint.every_seconds": 0.000001})
    words = ["train", path, "--out", tmp_path / "run", "--device=cpu", "--no-report"]
    code, out, said = ended(start(*words, torchrun=("--max-restarts=1",), LOST="1 12"))
    assert code == 0 and "test images after 4 epochs" in out and out.count("\n") == 2
    (line,) = [one for one in said if one.startswith("onecycle: error: ")]
    kept, way_on = r"step-\d+\.safetensors is kept", f"--resume {tmp_path / 'run'}"
    assert re.search(f"rank 0 of 2 has lost another process after step 11 of 24 .*{kept}; .*{way_on}", line), line
    again = Run.open(tmp_path / "run")
    assert [one["step"] for one in again.environment["resumed"]] in ([9], [10], [11])
    assert_nearly(again, train(tmp_path / "one", **CASES["unequal"]))


def test_sigterm_to_torchrun_saves_once_and_the_run_goes_on(tmp_path: Path) -> None:
    words = ["train", recipe_file(tmp_path, **{"schedule.epochs": 30}), "--out", tmp_path / "run", "--device=cpu"]
    process = start(*words, "--set", "data.batch_size=4")
    deadline = time.monotonic() + PATIENCE_S
    while not (tmp_path / "run" / "steps.csv").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    code, out, said = ended(process)
    assert code != 0 and not out
    assert sum("stopping after this step and saving" in one for one in said) == 1
    (line,) = [one for one in said if one.startswith("onecycle: error: ")]
    assert re.search(r"stopped by SIGTERM after step \d+ of 1350; saved, go on with: onecycle train --resume", line)
    run = Run.open(tmp_path / "run")
    step = int(re.findall(r"step (\d+)", line)[0])
    assert run.checkpoints.paths()[-1].name == f"step-{step:08d}.safetensors"
    with (run.path / "steps.csv").open(newline="") as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == list(range(1, step + 1))


# --- in one process -----------------------------------------------------------------------------------------------


def set_place(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    usual = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in {**usual, **variables}.items():
        monkeypatch.setenv(name, value)


def test_a_process_finds_its_place_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert torchrun.place() is None and torchrun.is_first()
    set_place(monkeypatch, RANK="5", WORLD_SIZE="8", LOCAL_RANK="1", LOCAL_WORLD_SIZE="4")
    assert torchrun.place() == Place(5, 8, 1, 4) and not torchrun.is_first()
    set_place(monkeypatch, RANK="0", WORLD_SIZE="1", LOCAL_RANK="0", LOCAL_WORLD_SIZE="1")
    assert torchrun.place() is None
    set_place(monkeypatch, RANK="8", WORLD_SIZE="8")
    with pytest.raises(UserError, match="RANK 8 of WORLD_SIZE 8"):
        torchrun.place()
    set_place(monkeypatch, RANK="two")
    with pytest.raises(UserError, match="RANK is 'two'"):
        torchrun.place()


@pytest.mark.parametrize(
    "words", [["evaluate", "x"], ["find-lr", "digits"], ["train", "digits", "--folds", "3"]], ids=str
)
def test_other_commands_are_refused_under_torchrun(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_place(monkeypatch)
    with pytest.raises(SystemExit) as left:
        distributed_runs.command_line(words)
    (line,) = capsys.readouterr().err.splitlines()
    assert left.value.code == 2 and line.endswith("torchrun started 2; run it without torchrun")


def test_restarts_need_a_folder_to_go_on_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    with pytest.raises(UserError, match="--max-restarts needs --out"):
        train(None)  # type: ignore[arg-type]


def test_groups_end_when_no_process_needs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[bool] = []
    monkeypatch.setattr(joining.dist, "destroy_process_group", lambda: ended.append(True))
    world = object.__new__(joining._JoinedWorld)
    world.rank, world.size, world._keys, world._requests = 0, 2, torch.distributed.HashStore(), None
    assert not world.leave(0.05) and not ended  # the other is still at work
    world._keys.set("left/1", "")
    assert world.leave(5) and ended


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_parts_of_a_batch_are_the_batch(size: int) -> None:
    """As torch.tensor_split has them; augmented as in one process, image by image."""
    usual: dict[str, Any] = {"batch_size": 7, "augmentation": Augmentation(), "seed": 2}
    whole = list(Loader(quarters().test, **usual).epoch(1))
    found: list[list[torch.Tensor]] = [[] for _ in whole]
    for rank in range(size):
        world = object.__new__(joining._JoinedWorld)
        world.rank, world.size = rank, size
        for number, batch in enumerate(Loader(quarters().test, **usual, part=world.part).epoch(1)):
            assert torch.equal(batch.samples, whole[number].samples)
            assert torch.equal(batch.labels, whole[number].labels)
            own = torch.arange(len(batch.labels)).tensor_split(size)[rank]
            assert torch.equal(own, torch.arange(len(batch.labels))[world.part(len(batch.labels))])
            assert len(batch.images_nchw) == (len(own) or 2)  # norms of a process without any need two
            found[number].append(batch.images_nchw[: len(own)])
    for parts, batch in zip(found, whole, strict=True):
        assert torch.equal(torch.cat(parts), batch.images_nchw)
