"""The command find-lr."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest
import torch

from onecycle import api, cli, lr_range, registry


def run_cli(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main(["find-lr", *arguments])
    return int(left.value.code or 0)


DIGITS = ("digits", "--set", "data.train_limit=400", "--set", "data.batch_size=50", "--set", "model.name=tiny")
SHORT = ("--steps", "40", "--sweeps", "2", "--lr-start", "1e-3")


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.ENTRIES["model"], "tiny", "test_find_lr_command:tiny_net")


def tiny_net(num_classes: int) -> torch.nn.Module:
    pool = torch.nn.AvgPool2d(4)
    return torch.nn.Sequential(pool, torch.nn.Flatten(), torch.nn.Linear(192, num_classes))


def test_the_command_prints_a_table(tmp_path: Path, tiny: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(*DIGITS, *SHORT, "--out", str(tmp_path / "out"), "--data-dir", "my data") == 0
    out = capsys.readouterr().out
    stored = json.loads((tmp_path / "out" / "lr_range.json").read_text())
    assert f"lr_min {stored['lr_min']:.3g}, lr_max {stored['lr_max']:.3g}" in out
    assert "minimum -> lr_max" in out and "onset -> lr_min" in out
    assert f"onecycle train {tmp_path}/out/recipe.yaml --data-dir 'my data'" in out
    assert (tmp_path / "out" / "recipe.yaml").exists()


def test_the_command_prints_json_alone(
    tmp_path: Path, tiny: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    constant = ("--set", "schedule.name=constant", "--set", "schedule.lr=0.1")
    assert run_cli(*DIGITS, *SHORT, *constant, "--json") == 0
    shown = capsys.readouterr()
    assert "onecycle: the recipe keeps its own rates, as the schedule constant" in shown.err
    printed = json.loads(shown.out)
    assert {"lr_min", "lr_max", "rule", "stability"} <= printed.keys()
    assert (tmp_path / printed["run"] / "plots" / "lr_range.png").exists()
    assert printed["run"].endswith("_digits_find-lr")


def test_bad_input_is_one_line_and_leaves_nothing(
    tmp_path: Path, tiny: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments, said in (
        (("--lr-start", "1", "--lr-end", "0.1"), "the sweep's range is inverted, 1 to 0.1; the lower rate comes first"),
        (("--rule", "steep"), "the rule 'steep' of lr_max is unknown; did you mean 'steepest'?"),
    ):
        assert run_cli(*DIGITS, "--steps", "20", "--sweeps", "1", *arguments) == 2
        assert capsys.readouterr().err.splitlines()[-1].startswith(f"onecycle: error: {said}")
    assert not list(tmp_path.iterdir())


def test_the_help_names_the_rules_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("--help") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert all(rule in out for rule in (*lr_range.RULES, *lr_range.RULES_MIN))
    defaults = inspect.signature(cli.training.find_lr).parameters
    for name, value in api.find_lr.__kwdefaults__.items():
        assert name not in defaults or name == "out" or defaults[name].default == value, name
