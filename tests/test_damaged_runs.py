"""Run folders whose files are missing or damaged: one line that names the file, and what is whole is still shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import small
from report_runs import begun, finished, guesses, noise, report
from test_cli import call, refused

from onecycle import Run, UserError, api

STEPS = "step,epoch,lr,loss,elapsed_s\n"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    images = noise(40, ("a", "b"))
    return finished(tmp_path / "run", images, guesses(images, 1.0))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("environment.json", '{"resumed": [1]}', "damaged; it is not what was written"),
        ("environment.json", '{"argv": 3}', "damaged; it is not what was written"),
        ("metrics.csv", "a,b\n1,2\n", "damaged; it is not what was written"),
        ("steps.csv", "a,b\n1,2\n", "damaged; it is not what was written"),
        ("summary.json", "{}", "damaged; it has no epochs, steps, .*, device, test"),
        ("summary.json", "[]", "damaged; it is not what was written"),
        ("model.json", "[]", "damaged; it is not what was written"),
        ("predictions.npz", "no archive", "damaged; it is not what was written"),
    ],
)
def test_a_damaged_file_is_named_once(run: Run, name: str, content: str, reason: str) -> None:
    named_once(run, name, content, reason)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("metrics.csv", "a,b\n1,2\n", "damaged; a row has no epoch, train_loss, train_accuracy"),
        ("steps.csv", "a,b\n1,2\n", "damaged; a row has no step, epoch, lr, loss, elapsed_s"),
        ("steps.csv", f"{STEPS}1,1,nan,inf,3\n", "damaged; a row has no lr, loss"),
        ("steps.csv", f"{STEPS}1,x,0.1,2,3\n", "damaged; a value is no number"),
        ("predictions.npz", "no archive", "damaged; not readable as arrays"),  # as of a training that is about to end
    ],
)
def test_a_damaged_file_of_a_training_under_way(tmp_path: Path, name: str, content: str, reason: str) -> None:
    path = begun(tmp_path / "run", steps=5).path
    named_once(Run(path), name, content, reason)


def named_once(run: Run, name: str, content: str, reason: str) -> None:
    (run.path / name).write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=f"^{run.path / name}: {reason}") as refusal:
        report(run, None)
    assert str(refusal.value).count(str(run.path)) == 1


def test_files_that_an_ended_training_must_have(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("model.json", "predictions.npz"):
        (run.path / name).unlink()
        assert f"error: {run.path / name}: no such file; the training wrote it" in refused(
            capsys, "evaluate", str(run.path)
        )


def test_a_training_that_has_not_ended_says_how_it_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = begun(tmp_path / "run", steps=5).path
    for command in ("evaluate", "explain"):
        said = refused(capsys, command, str(path))
        assert (
            said == f"onecycle: error: {path}: the training has not ended; go on with: onecycle train --resume {path}\n"
        )


def test_a_folder_without_a_training_says_how_to_start_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "found"
    api.find_lr(small.small_recipe(), model=small.net(), data=small.dataset(), out=path, sweeps=1, steps=20)
    for command in ("evaluate", "explain"):
        said = refused(capsys, command, str(path))
        assert said.endswith(f"no training has begun here; begin it with: onecycle train --resume {path}\n")


def test_values_that_are_not_finite_are_left_out_of_the_curves(tmp_path: Path) -> None:
    diverged = begun(tmp_path / "run", steps=4)
    with (diverged.path / "metrics.csv").open("a") as file:
        file.write("2,0.01,0.7,0.5,nan,0.1\n")
    assert diverged.metrics()[1].keys() == {"epoch", "lr", "train_loss", "train_accuracy", "test_accuracy"}
    assert "were right after epoch 2" in report(diverged, None).read_text(encoding="utf-8")


def test_an_interrupt_ends_the_watching(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(run: Path, **options: object) -> Iterator[Path]:
        yield run / "report.html"
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "watch", interrupted)
    assert call("report", str(tmp_path), "--watch") == 130
    said = capsys.readouterr()
    assert said.out == f"wrote {tmp_path}/report.html\n"
    assert said.err == f"onecycle: error: {tmp_path}: no longer watched; its page stays as it was last written\n"
