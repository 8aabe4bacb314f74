"""Killed and signalled anywhere, in short; and what is promised of single moments."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from small import StopAt, assert_same_run, dataset, files, net, small_recipe
from test_cli import call
from torture.kills import Victims, again_and_again, at_operations, at_random, real_command, signalled

import onecycle
from onecycle import Observer, Run, Stopped, UserError, interruption, lr_range, training
from onecycle.api import pictures
from onecycle.files import LEFT_OVER_SECONDS
from onecycle.interruption import Terminated, sigterm_raises, stop_on_signals
from onecycle.lr_range import LrRange


class Listener(Observer):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def on_message(self, text: str) -> None:
        self.messages.append(text)


@pytest.fixture(scope="module")
def victims(tmp_path_factory: pytest.TempPathFactory) -> Victims:
    return Victims(tmp_path_factory.mktemp("kills") / "plain")


@pytest.fixture
def tell_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "FLUSH_SECONDS", 0.0)


def train(out: Path, observer: Observer | None = None, **changes: Any) -> Run:
    wanted = small_recipe(**{"precision": "fp32", **changes})
    return onecycle.train(wanted, model=net(), data=dataset(), out=out, device="cpu", observer=observer or Observer())


def resume(path: Path, observer: Observer | None = None, seed: int = 0) -> Run:
    model = net(seed=seed)
    return onecycle.resume(path, model=model, data=dataset(), device="cpu", observer=observer or Observer())


# --- the torture, in short ---------------------------------------------------------------------------------------


def test_killed_inside_writes(victims: Victims) -> None:
    kinds = {name.split("/")[-1] for name in victims.operations}
    assert kinds >= {"write .recipe.yaml.part", "rename best.safetensors", "write steps.csv", "rename summary.json"}
    at_operations(victims, "a training", 0, 0, 0.02).check()


def test_killed_at_random_moments(victims: Victims) -> None:
    at_random(victims, 0, 1).check()


def test_killed_again_and_again(victims: Victims) -> None:
    at_first_resumed = again_and_again(victims, 0, 1)
    at_first_resumed.check()
    assert "kills" in at_first_resumed.figure


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=str)
def test_signalled(number: signal.Signals, victims: Victims) -> None:
    signalled(victims, number, "a training", 0, 1).check()


def test_the_real_command_killed(tmp_path: Path) -> None:
    real_command(tmp_path / "real", 0, 1, drawn=False).check()


def test_files_written_in_place_are_found_half_written(tmp_path: Path) -> None:
    """The torture loses where the protection is away."""
    unsafe = Victims(tmp_path / "unsafe", unsafe=True)
    last = len(unsafe.operations) - 1 - unsafe.operations[::-1].index("write summary.json")
    tally = at_operations(unsafe, "a training without atomic writes", last, 0, 0.0)
    assert any(one.startswith("inside operation") and "summary.json is not whole" in one for one in tally.lost)


# --- before there is a checkpoint --------------------------------------------------------------------------------


class Dies(Observer):
    """Ends the training as a kill does: nothing is saved."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch

    def on_start(self, recipe: Any, run: Run, device: str, step: int) -> None:
        self.monkeypatch.setattr(training._Training, "rescue", lambda self: None)
        raise ZeroDivisionError


def test_a_run_without_a_checkpoint_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(tmp_path / "whole", **{"data.val_fraction": 0.2})
    folder = tmp_path / "run"
    with pytest.raises(ZeroDivisionError), monkeypatch.context() as dying:
        train(folder, Dies(dying), **{"data.val_fraction": 0.2})
    assert not Run.open(folder).checkpoints.paths()
    row = whole.metrics()[0]  # as if killed between the first epoch's row and its checkpoint
    Run.open(folder).append_metrics(row)
    Run.open(folder).append_steps(whole.steps()[:3])
    listener = Listener()
    assert_same_run(whole, resume(folder, listener))
    assert listener.messages == ["there is no checkpoint yet, the training begins with its first step"]
    assert Run.open(folder).environment["resumed"][0]["step"] == 0


def test_checkpoints_that_are_gone_are_not_trained_over(tmp_path: Path, tell_every_step: None) -> None:
    folder = tmp_path / "run"
    with pytest.raises(Stopped):
        train(folder, StopAt(9))
    for path in Run.open(folder).checkpoints.paths():
        path.unlink()
    before = (folder / "steps.csv").read_bytes()
    with pytest.raises(UserError, match=r"checkpoints: there is no checkpoint; the training cannot go on"):
        resume(folder)
    assert (folder / "steps.csv").read_bytes() == before


def test_a_range_test_that_was_kept_is_begun_with_resume(tmp_path: Path) -> None:
    """As a kill leaves it between the range test and the first step."""
    found = tmp_path / "found"
    changes = {"schedule.lr_min": "find", "schedule.lr_max": "find", "precision": "fp32"}
    onecycle.find_lr(small_recipe(**changes), model=net(), data=dataset(), out=found, sweeps=1, steps=20, device="cpu")
    trained = onecycle.train(Run.open(found).recipe, model=net(), data=dataset(), out=tmp_path / "run", device="cpu")
    assert_same_run(trained, resume(found))


def test_a_folder_without_a_recipe_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    with pytest.raises(ZeroDivisionError), monkeypatch.context() as dying:
        dying.setattr(Run, "write_recipe", lambda self, recipe: 1 / 0)
        train(folder)
    assert files(folder) == {"environment.json"}
    with pytest.raises(UserError, match=r"run: holds no recipe.yaml; where a training was killed .* start anew$"):
        resume(folder)
    with pytest.raises(UserError, match=r"run: exists, and holds no run; name a new folder$"):
        train(folder)
    (folder / "holiday.jpg").touch()
    with pytest.raises(UserError, match=r"holds no recipe.yaml; the folder of a run is needed"):
        resume(folder)


# --- what a kill leaves ------------------------------------------------------------------------------------------


def test_old_temporary_files_go_and_young_ones_stay(tmp_path: Path, tell_every_step: None) -> None:
    folder = tmp_path / "run"
    with pytest.raises(Stopped):
        train(folder, StopAt(5))
    (folder / "plots").mkdir()
    places = ("", "checkpoints/", "plots/")
    old = [folder / f"{place}.x.png.abcdefgh.part" for place in places]
    young = [folder / f"{place}.y.png.abcdefgh.part" for place in places]
    for path in [*old, *young]:
        path.write_bytes(b"half")
    for path in old:
        os.utime(path, (time.time() - LEFT_OVER_SECONDS - 5,) * 2)
    resume(folder)
    assert not any(path.exists() for path in old) and all(path.exists() for path in young)
    for path in young:
        os.utime(path, (time.time() - LEFT_OVER_SECONDS - 5,) * 2)
    resume(folder)  # which has ended
    assert not any(path.exists() for path in young)


def test_the_best_weights_follow_the_checkpoint_that_names_them(tmp_path: Path, tell_every_step: None) -> None:
    changes = {"data.val_fraction": 0.2, "ema.decay": 0.5}
    whole = train(tmp_path / "whole", **changes)
    best = int(whole.summary["best"]["epoch"])
    folder = tmp_path / "run"

    class Unwritten(Observer):
        def on_epoch(self, row: Any, seconds_left: float) -> None:
            if row["epoch"] == best:  # as if killed between the checkpoint and the weights
                (folder / "best.safetensors").unlink()
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(folder, Unwritten(), **changes)
    resume(folder)
    assert (folder / "best.safetensors").read_bytes() == (whole.path / "best.safetensors").read_bytes()


def test_no_checkpoint_is_ahead_of_its_rows_when_the_power_fails(
    tmp_path: Path, tell_every_step: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each rename of a checkpoint, every byte of the CSV files has been synced."""
    synced: dict[str, int] = {}
    fsync, replace = os.fsync, Path.replace

    def note(descriptor: int) -> None:
        fsync(descriptor)
        synced[Path(f"/proc/self/fd/{descriptor}").readlink().name] = os.fstat(descriptor).st_size

    def check(self: Path, target: Path) -> Path:
        if target.name.startswith("step-"):
            renamed.append(target.name)
            for path in (tmp_path / "run").glob("*.csv"):
                assert synced.get(path.name) == path.stat().st_size, path
        return replace(self, target)

    renamed: list[str] = []
    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(Path, "replace", check)
    train(tmp_path / "run")
    assert len(renamed) == 3


@pytest.mark.usefixtures("drawn")
def test_what_is_missing_of_an_ended_run_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = pictures._pictures
    two = ("curves", "schedule")  # all are written alike
    monkeypatch.setattr(pictures, "_pictures", lambda *given: {name: everything(*given)[name] for name in two})
    run = train(tmp_path / "run", **{"schedule.epochs": 1, "schedule.peak_epoch": 0.5})
    (run.path / "plots" / "curves.png").unlink()
    (run.path / "report.html").unlink()
    (run.path / "plots" / "schedule.png").write_bytes(b"the user's own")
    summary = (run.path / "summary.json").read_bytes()
    resume(run.path)
    assert (run.path / "plots" / "curves.png").exists() and (run.path / "report.html").exists()
    assert (run.path / "plots" / "schedule.png").read_bytes() == b"the user's own"
    assert (run.path / "summary.json").read_bytes() == summary
    (run.path / "report.html").unlink()
    onecycle.resume(run.path, data=dataset(), device="cpu", observer=Observer())  # without the net: the report alone
    assert (run.path / "report.html").exists()


def test_a_range_test_comes_back_from_its_file(tmp_path: Path) -> None:
    found = onecycle.find_lr(small_recipe(), model=net(), data=dataset(), out=tmp_path / "found", sweeps=2, steps=20)
    assert LrRange.from_dict(Run.open(tmp_path / "found").lr_range) == found


# --- signals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=str)
def test_a_signal_in_the_range_test_is_one_line(
    number: signal.Signals,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(lr_range, "find", lambda *arguments, **options: os.kill(os.getpid(), number))
    before = signal.getsignal(signal.SIGTERM)
    words = ["train", "digits", "--set", "schedule.lr_max=find", "--out", str(tmp_path / "run")]
    assert call(*words, "--set", "model.name=compact", "--device", "cpu") == code
    said = "interrupted" if number == signal.SIGINT else "terminated"
    line = f"onecycle: error: {said}; a training that has its folder goes on with --resume\n"
    assert capfd.readouterr().err.endswith(line)
    assert not (tmp_path / "run").exists() and signal.getsignal(signal.SIGTERM) == before


def test_a_signal_while_the_results_are_written_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Run.write_summary

    def signalled_write(self: Run, summary: Any) -> None:
        write(self, summary)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Run, "write_summary", signalled_write)
    monkeypatch.setattr(pictures, "finish", lambda *arguments, **options: pytest.fail("drawn all the same"))
    with pytest.raises(
        Stopped, match=r"run: the training has ended; stopped by SIGTERM before .*--resume .*run$"
    ) as one:
        train(tmp_path / "run")
    assert one.value.exit_code == 143 and Run.open(tmp_path / "run").summary["epochs"] == 3


def test_a_signal_that_the_loop_did_not_answer_acts_as_without_it(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), stop_on_signals():
        os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(Terminated), sigterm_raises(), stop_on_signals():
        os.kill(os.getpid(), signal.SIGTERM)
    assert capfd.readouterr().err.count("onecycle: stopping after this step") == 2


def test_an_answered_signal_is_answered_once() -> None:
    with stop_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Stopped):
            stop.check()
        stop.check()


def test_a_terminal_that_is_gone_does_not_keep_from_saving(
    tmp_path: Path, tell_every_step: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(descriptor: int, content: bytes) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(interruption.os, "write", gone)
    with pytest.raises(Stopped, match="saved, go on"):
        train(tmp_path / "run", StopAt(5))
