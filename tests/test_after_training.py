"""What happens where the pictures and the report of a training that has ended cannot be written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from small import dataset, net, small_recipe
from test_cli import TINY, call

import onecycle
from onecycle import Observer, Run, Stopped
from onecycle.api import pictures

pytestmark = pytest.mark.usefixtures("drawn")


class Listener(Observer):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def on_start(self, *arguments: object) -> None:
        """Forget what was said before the training."""
        self.messages.clear()

    def on_message(self, text: str) -> None:
        self.messages.append(text)


def train(out: Path, model: torch.nn.Module | None = None) -> tuple[Run, list[str]]:
    listener = Listener()
    short = small_recipe(**{"schedule.epochs": 2, "schedule.lr_max": 0.003})
    run = onecycle.train(short, model=model or net(), data=dataset(), out=out, observer=listener)
    return run, listener.messages


def broken(*arguments: object, **options: object) -> None:
    raise RuntimeError("a bug in\nthe drawing")


def test_a_picture_that_cannot_be_drawn_costs_itself_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures.plots, "confusion", broken)
    run, messages = train(tmp_path / "run")
    assert run.summary["test"]["images"] == 60
    assert (run.path / "report.html").exists() and (run.path / "plots" / "curves.png").exists()
    assert messages == [
        "the training has ended, but not written are plots/confusion.png (a bug in the drawing); "
        f"write the report anew with: onecycle report {run.path}"
    ]


def test_a_full_disk_after_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*arguments: object) -> None:
        raise onecycle.UserError("plots: the disk is full")

    monkeypatch.setattr(pictures.plots, "save", full)
    monkeypatch.setattr(pictures.reporting, "write_report", full)
    run = tmp_path / "run"
    assert call("train", "digits", "--set", "model.name=compact", "--out", str(run), "--json", *TINY) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["run"] == str(run)
    told = said.err.splitlines()[-1]
    assert "plots/curves.png, " in told and "report.html (plots: the disk is full)" in told


def test_an_interrupt_while_the_report_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pictures.reporting, "write_report", interrupted)
    with pytest.raises(
        Stopped, match=r"run: the training has ended; interrupted .*onecycle train --resume .*run$"
    ) as stopped:
        train(tmp_path / "run")
    assert stopped.value.exit_code == 130 and Run.open(tmp_path / "run").summary["epochs"] == 2


def test_a_net_without_maps_has_a_report_that_says_so(tmp_path: Path) -> None:
    torch.manual_seed(0)
    flat = torch.nn.Sequential(torch.nn.AvgPool2d(32), torch.nn.Flatten(), torch.nn.Linear(3, 4))
    run, messages = train(tmp_path / "run", flat)
    assert messages == [] and run.evaluate().right < 60
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert "What it looked at in them is left out: Sequential has no layer that gives maps" in page
    assert not (run.path / "plots" / "grad_cam.png").exists()
