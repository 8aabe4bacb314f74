"""A page that follows its run, by a clock of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from compared_runs import made_run

from onecycle.recipes import recipe
from onecycle.reporting.watching import watch
from onecycle.run import Run


class Clock:
    """Sleeping passes its time, and does what is due; a test that never ends fails."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: dict[float, Callable[[], object]] = {}

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        for _ in range(round(seconds)):
            self.now += 1
            self.due.pop(self.now, lambda: None)()
        assert self.now < 1000


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "run", recipe("digits"), {})


def add_step(run: Run, number: int) -> None:
    run.append_steps([{"step": number, "epoch": 1, "lr": 0.1, "loss": 1.0, "elapsed_s": 1.0}])


def add_epoch(run: Run, number: int) -> None:
    run.append_metrics({"epoch": number, "lr": 0.1})


def watched(run: Run, clock: Clock) -> list[tuple[float, bool]]:
    """When a page was written, and whether the run was still going on then."""
    pages: list[tuple[float, bool]] = []

    def write(going_on: bool) -> Path:
        pages.append((clock.now, going_on))
        return run.path / "report.html"

    paths = list(watch(run, write, clock=clock, sleep=clock.sleep))
    assert paths == [run.path / "report.html"] * len(pages)
    return pages


def test_a_page_for_each_epoch_as_soon_as_it_has_ended_and_one_at_the_end(run: Run) -> None:
    clock = Clock()
    clock.due = {
        4: lambda: add_epoch(run, 1),
        9: lambda: add_epoch(run, 2),
        11: lambda: run.write_summary({}),
    }
    with run.locked():
        assert watched(run, clock) == [(0, True), (4, True), (9, True), (11, False)]


def test_steps_alone_do_not_hurry_it(run: Run) -> None:
    clock = Clock()
    for second in range(1, 36):
        clock.due[second] = lambda second=second: add_step(run, second)
    clock.due[36] = lambda: run.write_summary({})
    with run.locked():
        assert watched(run, clock) == [(0, True), (10, True), (20, True), (30, True), (36, False)]


def test_a_training_that_says_nothing_for_long_is_waited_for(run: Run) -> None:
    clock = Clock()
    clock.due = {500: lambda: add_epoch(run, 1), 510: lambda: run.write_summary({})}
    with run.locked():
        assert watched(run, clock) == [(0, True), (500, True), (510, False)]


def test_it_ends_when_nobody_trains_in_the_folder_any_more(run: Run) -> None:
    clock = Clock()
    clock.due = {3: lambda: add_step(run, 1), 5: lambda: holding.__exit__(None, None, None)}
    holding = run.locked()
    holding.__enter__()
    assert watched(run, clock) == [(0, True), (10, True), (20, False)]


def test_a_training_that_goes_on_in_another_process_at_once_is_still_followed(run: Run) -> None:
    clock = Clock()
    clock.due = {5: lambda: add_step(run, 1), 14: lambda: add_epoch(run, 1), 15: lambda: run.write_summary({})}
    assert watched(run, clock) == [(0, True), (10, True), (14, True), (15, False)]


def test_a_run_that_has_ended_gets_one_page(tmp_path: Path) -> None:
    assert watched(made_run(tmp_path / "run"), Clock()) == [(0, False)]
