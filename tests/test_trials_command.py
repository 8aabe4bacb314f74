"""The command `trials`, and what it and its function refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from test_cli import call
from test_trials import _draw_where_asked, trials  # noqa: F401  # the fixture of every test

import onecycle
from onecycle import UserError, schedule


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"seeds": 0}, "--seeds 0: 1 to 10,000 are needed, such as 5"),
        ({"seeds": 10**5000}, "--seeds .*: 1 to 10,000 are needed"),
        ({"seeds": True}, "--seeds True: 1 to 10,000 are needed"),
        ({"against": "digits"}, "--against does not go with --vary; one of them"),
        ({"vary": {"schedule.lr_max": [0.02], "seed": [1]}}, "--vary: 2 keys; one key with its values is needed"),
        ({"vary": {"schedule.lr_max": [0.02]}}, "--vary schedule.lr_max: 1 value; two or more are needed"),
        ({"vary": {"schedule.lr_maxx": [0.02, 0.01]}}, "lr_maxx'; did you mean 'schedule.lr_max'|lr_maxx"),
        ({"vary": {"schedule.lr_max": [0.02, 0.0001]}}, r"--vary: recipe .*lr_max 0.0001 is below lr_min"),
        ({"vary": {"schedule.lr_max": [0.02, 0.02]}}, "0.02 and 0.02 make the same recipe; each value once"),
        ({"vary": {"seed": [0, 1]}}, "--vary seed: cannot be varied; --seeds says how many seeds there are"),
        ({"vary": {"resources.cpus": [1, 2]}}, "the recipes differ in resources; all trials are run with the same"),
        ({"difference": "1"}, "--difference '1': points of accuracy are needed"),
        ({"vary": {"schedule.lr_max": 0.1}}, "--vary .*0.1.*: a key with a list of its values is needed"),
        ({"vary": {"augment.flip": "none"}}, "--vary .*none.*: a key with a list of its values is needed"),
        ({"vary": "augment.flip"}, "--vary 'augment.flip': a key with a list of its values is needed"),
        ({"difference": 0.0}, "--difference 0.0: points of accuracy are needed"),
        ({"difference": float("nan")}, "--difference nan: points of accuracy are needed"),
        ({"device": "cuda:99"}, "--device 'cuda:99' is not on this machine"),
        ({"data": None}, "no such|data set|cifar10"),
        ({"vary": {"data.batch_size": [60, 300]}}, "data.batch_size 300 is larger than the training set"),
        ({"vary": {"augment.resize": [[], [[1, 8]]]}}, "takes no images of 8 pixels a side"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_written(
    options: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONECYCLE_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=said) as caught:
        trials(tmp_path / "trials", **options)
    assert len(caught.value.problems) == 1 and not (tmp_path / "trials").exists()


def test_what_an_engine_refuses_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UserError, match="1 GPU a trial: this machine has 0; 0 for none"):
        trials(tmp_path / "trials", **{"resources.gpus": 1.0})
    assert not (tmp_path / "trials").exists()


def test_seeds_in_the_changes_and_other_test_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--set seed=3: the seeds are 0, 1, 2"):
        onecycle.trials("digits", seeds=2, seed=3, out=tmp_path / "trials")
    with pytest.raises(UserError, match="--against digits: the same recipe as digits; another one is needed"):
        onecycle.trials("digits", seeds=2, against="digits", out=tmp_path / "trials")
    assert not (tmp_path / "trials").exists()


# --- the command line --------------------------------------------------------------------------------------------

_SMALL = (
    "model.name=compact",
    "data.train_limit=40",
    "data.batch_size=20",
    "schedule.epochs=1",
    "schedule.peak_epoch=0.5",
)
_CHANGES = [part for one in _SMALL for part in ("--set", one)]


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    common = ("trials", "digits", *_CHANGES, "--out", out)
    assert call(*common, "--seeds", "2", "--json") == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert found["folder"] == out and found["finished"] == 2 and len(found["needed"]) == 4
    assert "onecycle: seed 1 " in said.err and "(2 of 2)" in said.err and "1 of 2, " in said.err
    assert call(*common, "--seeds", "2", "--difference", "0.3") == 0
    said = capsys.readouterr()
    assert "2 of 2 trials are there; 0 to train" in said.err
    for part in ("on the test set, mean of 2 seeds", "Deviation", "0.3 points", f"wrote {out}/results.csv"):
        assert part in said.out, part
    for arguments, line in (
        (("--seeds", "0"), "--seeds 0: 1 to 10,000 are needed"),
        (("--seeds", "2", "--vary", "x"), "--vary 'x': not of the form key=a,b,c"),
        (("--seeds", "2", "--vary", "augment.flip=none,random", "--against", "digits"), "--against does not go with"),
        (("--seeds", "2", "--set", "seed=1"), "--set seed=1: the seeds are 0, 1, 2"),
        (("--seeds", "2", "--engine", "rai"), "--engine 'rai' is unknown; did you mean 'ray'?"),
        (("--seeds", "2", "--ray-address", "auto"), "--ray-address auto does not go with --engine local"),
        (("--seeds", "2", "--gpus-per-trial", "0.5"), "0.5 of a GPU a trial: the local engine"),
        (("--seeds", "2", "--cpus-per-trial", "0"), "resources.cpus 0: must be greater than or equal to 1"),
    ):
        assert call(*common, *arguments) == 2
        errors = [one for one in capsys.readouterr().err.splitlines() if one.startswith("onecycle: error: ")]
        assert len(errors) == 1 and line in errors[0], errors


def test_a_command_with_a_failed_trial_ends_with_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "MOST_RATE", 1e38)
    out = str(tmp_path / "out")
    rates = ("--set", "schedule.lr_min=1e-6", "--vary", "schedule.lr_max=0.002,1.0e+30")
    assert call("trials", "digits", *_CHANGES, "--seeds", "1", *rates, "--out", out, "--json") == 3
    said = capsys.readouterr()
    assert json.loads(said.out)["failed"] == 1
    assert "onecycle: error: 1 of 2 trials failed, first schedule.lr_max=1e+30, seed 0: " in said.err
