"""Figures that are not finite, and sets that are barely sets, in short; and that the torture can lose."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from torture import bare_sets, figures, small_runs

from onecycle.state import TrainingState


def test_nothing_that_is_not_finite_is_saved(tmp_path: Path) -> None:
    with small_runs.quickly():
        figures.not_finite(tmp_path, 0, 0.0).check()


@pytest.mark.parametrize("name", ["a label above", "no test images", "one class in the test set", "an image a class"])
def test_sets_that_are_barely_sets(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bare_sets, "SETS", {name: bare_sets.SETS[name]})
    with small_runs.quickly():
        bare_sets.image_sets(tmp_path, 0, 0.01).check()


@pytest.mark.parametrize("place", ["buffer", "average", "large gradient"])
def test_it_loses_where_the_weights_alone_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr(TrainingState, "not_finite", lambda self: None)
    with small_runs.quickly():
        failure, _ = figures.stopped(tmp_path / "run", place, math.nan, 2, 1e-9)
    assert failure
