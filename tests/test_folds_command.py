"""Cross-validation from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from own_images import own_cache, write_images  # noqa: F401  # the fixture of every test
from small import images, weights
from test_cli import call

from onecycle import CrossValidation, Run
from onecycle.api import pictures


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    photos, out = tmp_path / "photos", tmp_path / "cv"
    write_images(photos / "train", images(100))  # of which a fifth tests
    write_images(photos / "val", images(40, 1))
    changes = ("model.name=compact", "data.batch_size=20", "schedule.epochs=1", "schedule.peak_epoch=0.5")
    small = [part for one in changes for part in ("--set", one)]
    drawn: list[object] = []
    monkeypatch.setattr(pictures, "finish", lambda run, *arguments, **options: drawn.append(run.path))
    cross_validation = ("train", "digits", "--data", str(photos), *small, "--folds", "2")
    assert call(*cross_validation, "--no-report", "--out", str(tmp_path / "plain")) == 0 and drawn == []
    capsys.readouterr()
    assert call(*cross_validation, "--out", str(out)) == 0 and drawn == [out / "fold1", out / "fold2"]
    said = capsys.readouterr()
    assert "onecycle: fold 2 of 2" in said.err and said.err.count("the test set has 20 images") == 1
    for part in ("images held out", "fold2", "mean of 2 folds", "Bengio & Grandvalet", "120 training images, each"):
        assert part in said.out, part
    assert call("evaluate", str(out), "--json") == 0
    assert json.loads(capsys.readouterr().out)["folds"] == 2
    assert call("evaluate", str(out / "fold1")) == 0
    assert "of 20 test images right" in capsys.readouterr().out
    assert call("train", "--resume", str(out), "--json") == 0  # nothing is left to do
    assert json.loads(capsys.readouterr().out)["run"] == str(out)
    check_explanation(photos, out, capsys)
    for arguments, line in (
        (("explain", out, "--layer", "x"), f"{out}: --layer goes with one run; name one of the folds, such as {out}"),
        (("explain", out, "--count", 0), "count 0 is outside 1 to 200"),
        (("explain", out, "--data-dir", tmp_path / "x"), f"{tmp_path}/x: no such folder"),
        (("report", out), f"{out}: holds the runs of a cross-validation; name one, such as {out}/fold1; for all"),
        (("evaluate", out, "--data", "digits"), f"{out}: --data goes with one run; name one of the folds"),
        (("train", "digits", "--out", out), f"--out {out}: exists; name a new folder, or go on with --resume {out}"),
        (("train", "digits", "--folds", 2, "--out", out), f"--out {out}: exists; name a new folder, or go on with"),
        (("train", "--resume", out, "--folds", 2), "--folds does not go with --resume; a cross-validation keeps"),
        (("train", "digits", "--resume", out), f"{out}: a cross-validation goes on as it began; leave the recipe"),
        (("train", "--resume", out, "--seed", 1), f"{out}: a cross-validation goes on as it began; leave the recipe"),
    ):
        assert call(*map(str, arguments)) == 2
        errors = [one for one in capsys.readouterr().err.splitlines() if one.startswith("onecycle: error: ")]
        assert len(errors) == 1 and line in errors[0]
    assert weights(Run.open(out / "fold1")).keys() == weights(Run.open(out / "fold2")).keys()


def check_explanation(photos: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """That the training images whose label is likely wrong are listed with the files that they are in."""
    assert call("explain", str(out), "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    errors = listed["label_errors"]
    assert (listed["images"], listed["folds"], listed["folder"]) == (120, 2, str(photos)) and errors
    assert listed["pictures"] == [f"{out}/plots/label_errors.png"] and Path(listed["pictures"][0]).exists()
    found = CrossValidation.load(out)
    rows = {place: row for row, place in enumerate(found.index.tolist())}
    chances = np.exp(found.logits_nk - found.logits_nk.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    for one in errors:
        row = rows[one["index"]]
        assert Path(one["file"]).parent.name == one["given"] == found.classes[found.labels[row]]
        suggested = found.classes.index(one["suggested"])
        assert one["suggested_probability"] == pytest.approx(float(chances[row, suggested]), rel=1e-4)
    assert call("explain", str(out), "--count", "1", "--out", str(out / "seen")) == 0
    said = capsys.readouterr().out
    assert f"{len(errors)} likely label error" in said and "in 120 training images, each predicted by a net" in said
    assert errors[0]["file"] in said and f"wrote {out}/seen/label_errors.png" in said
    assert len(errors) == 1 or f"and {len(errors) - 1} more; --json lists all" in said
