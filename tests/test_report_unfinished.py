"""The page of a training that has not ended, was stopped, or was gone on with."""

from __future__ import annotations

from pathlib import Path

from report_runs import Page, begun, report, resolved


def test_a_stopped_training_says_how_far_it_came_and_how_to_go_on(tmp_path: Path) -> None:
    run = begun(tmp_path / "run", steps=6)
    page = Page(report(run, None))
    said = page.section("result")
    assert "Stopped after step 6 of 12; go on with:" in said
    assert f"onecycle train --resume {run.path}" in said
    assert "55.00%" in said
    assert "after epoch 1" in said
    assert not page.all("section", id="failures")


def test_a_training_that_was_stopped_in_its_first_epoch(tmp_path: Path) -> None:
    page = Page(report(begun(tmp_path / "run", steps=3), None))
    assert "Stopped after step 3, in epoch 1 of 3" in page.section("result")
    assert len(page.all("svg")) == 1


def test_a_training_whose_epochs_differ_says_in_which_it_is(tmp_path: Path) -> None:
    run = begun(tmp_path / "run", resolved(**{"data.hardest": [[1, 0.5]]}), steps=10)
    said = Page(report(run, None)).section("result")
    assert "Stopped after step 10, in epoch 3 of 3" in said and "after epoch 2" in said


def test_a_training_that_has_not_begun(tmp_path: Path) -> None:
    page = Page(report(begun(tmp_path / "run"), None))
    assert "Stopped after step 0" in page.section("result")
    assert not page.all("svg")


def test_a_training_in_progress_is_told_from_a_stopped_one(tmp_path: Path) -> None:
    run = begun(tmp_path / "run", steps=6)
    watched = Page(report(run, None, refresh_seconds=5))
    assert [a["content"] for a, _ in watched.all("meta") if a.get("http-equiv") == "refresh"] == ["5"]
    assert "Training now: step 6 of 12." in watched.section("result")
    with run.locked():
        assert "Training now:" in Page(report(run, None)).section("result")
    still = Page(report(run, None))
    assert "Stopped" in still.section("result")
    assert not [a for a, _ in still.all("meta") if a.get("http-equiv") == "refresh"]


def test_where_it_was_resumed_and_where_the_peak_was(tmp_path: Path) -> None:
    run = begun(tmp_path / "run", steps=12)
    run.add_resumption(run.recipe, {"step": 6})
    said = Page(report(run, None)).section("training")
    assert "the peak of the learning rate, at epoch 1." in said
    assert "resumed, at epoch 1.5." in said
    assert "In epoch 3, 80.0% of the training images were right" in said
    assert "75.0% of the test images: a gap of 5.0 points" in said
