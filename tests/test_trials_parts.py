"""What trials are made of: the local engine, threads, variants and their folders."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from small import dataset, net, small_recipe
from test_trials import SILENT

import onecycle
from onecycle import TrainingFailed, UserError
from onecycle.progress.console import Console, fitted
from onecycle.studies import LocalEngine, Resources, read_vary
from onecycle.studies.seeds import words
from onecycle.studies.seeds.measured import Trial, compare_in_pairs, measure, seeds_needed
from onecycle.studies.seeds.plan import Plan
from onecycle.studies.seeds.variants import variants


def test_the_local_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = torch.get_num_threads()
    asked: list[int] = []

    def work(one: int) -> tuple[int, int]:
        if one == 1:
            raise TrainingFailed("the loss is nan")
        if one == 3:
            raise KeyboardInterrupt
        return one, torch.get_num_threads()

    def jobs() -> Iterator[int]:
        for one in range(5):
            asked.append(one)
            yield one

    found = LocalEngine().run(work, jobs(), Resources(cpus=2))
    assert next(found) == (0, (0, 2)) and asked == [0]  # the next is asked for when there is room
    assert torch.get_num_threads() == threads
    one, error = next(found)
    assert one == 1 and isinstance(error, TrainingFailed)
    assert next(found) == (2, (2, 2))
    with pytest.raises(KeyboardInterrupt):
        next(found)
    assert torch.get_num_threads() == threads
    with pytest.raises(UserError, match=r"0\.5 of a GPU a trial: the local engine runs one trial at a time"):
        next(LocalEngine().run(work, jobs(), Resources(gpus=0.5)))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UserError, match="1 GPU a trial: this machine has 0; 0 for none"):
        next(LocalEngine().run(work, jobs(), Resources(gpus=1)))


def test_the_threads_of_a_recipe_are_those_of_its_training(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    wanted = small_recipe(**{"resources.cpus": 2, "schedule.epochs": 1, "schedule.peak_epoch": 0.5})
    run = onecycle.train(wanted, model=net(), data=dataset(), out=tmp_path / "run", observer=SILENT, report=False)
    assert run.environment["threads"] == 2 and run.summary["device"].endswith(", 2 threads")
    assert torch.get_num_threads() == before and run.recipe.resources.cpus == 2


@given(st.lists(st.text(min_size=1, max_size=120), min_size=1, max_size=4))
def test_folders_are_safe_names_of_their_own(labels: list[str]) -> None:
    found = variants(labels, [small_recipe()] * len(labels))
    folders = [one.folder for one in found]
    assert len({one.lower() for one in folders}) == len(folders) and len({one.label for one in found}) == len(found)
    for one in folders:
        assert one.isascii() and not set(one) & set('<>:"/\\|?* ') and one not in (".", "..") and len(one) <= 90
        assert not one.endswith(".") and one.lower().partition(".")[0] not in ("con", "nul", "com1", "lpt9")


def test_values_to_vary_are_read_as_yaml() -> None:
    assert read_vary("augment.flip=random,none") == ("augment.flip", ["random", "none"])
    assert read_vary("schedule.lr_max=0.01, 2e-2") == ("schedule.lr_max", [0.01, "2e-2"])
    assert read_vary("augment.resize=[],[[0, 16]]") == ("augment.resize", [[], [[0, 16]]])
    for text in ("schedule.lr_max", "=1,2", "a=[1,2"):
        with pytest.raises(UserError, match=r"--vary '.*': "):
            read_vary(text)


def test_a_further_variant_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    base, other = small_recipe(), small_recipe(**{"augment.cutout": 0})
    plans = [
        Plan(tuple(variants(["base", label], [base, other])), 1, {"base": {}, label: {}}, {}, None)
        for label in ("cutout", "Cutout")
    ]
    extended = plans[0].extended(plans[1], tmp_path)
    assert [(one.label, one.folder) for one in extended.variants] == [
        ("base", "base"),
        ("Cutout", "Cutout_2"),
        ("cutout", "cutout"),
    ]


def test_variants_of_one_name_are_told_apart() -> None:
    one, other = variants(["digits", "digits"], [small_recipe(), small_recipe()])
    assert (one.label, one.folder, other.label, other.folder) == ("digits", "digits", "digits (2)", "digits_2")
    assert replace(one, label="x").folder == "digits"


def measured(*accuracies: float | None) -> list[Trial]:
    """Trials of the variants a, b, c, ... in turn, each over as many seeds; None has failed."""
    count = len(accuracies) // SEEDS
    return [
        Trial("abcdefgh"[number // SEEDS], number % SEEDS, f"{number}", "failed" if one is None else "finished", {})
        if one is None
        else Trial("abcdefgh"[number // SEEDS], number % SEEDS, f"{number}", "finished", {"accuracy": one})
        for number, one in enumerate(accuracies[: count * SEEDS])
    ]


SEEDS = 4
_A, _B = (0.90, 0.91, 0.90, 0.92), (0.93, 0.95, 0.92, 0.96)


def test_a_variant_that_fails_makes_no_other_surer() -> None:
    """Holm's correction is for the comparisons that were planned."""
    whole = compare_in_pairs(measured(*_A, *_B, *_B, *_A[::-1]), "abcd")
    failing = compare_in_pairs(measured(*_A, *_B, *_B, 0.91, None, None, None), "abcd")
    missing = compare_in_pairs(measured(*_A, *_B, *_B, *[None] * 4), "abcd")
    assert [one.variant for one in missing] == ["b", "c"] and failing[2].t_holm is None
    for one in (whole, failing, missing):
        assert one[0].t_holm == pytest.approx(3 * one[0].accuracy.t_p)  # type: ignore[operator]
    (alone,) = compare_in_pairs(measured(*_A, *_B, *[None] * 4), "abc")
    assert alone.t_holm == pytest.approx(2 * alone.accuracy.t_p)  # type: ignore[operator]


def test_differences_that_are_all_the_same_show_nothing() -> None:
    trials = measured(*_A, *[round(one + 1 / 360, 12) for one in _A])
    (one,) = compare_in_pairs(trials, "ab")
    assert not words.shows_difference(one)
    assert "in each of 4 pairs; differences that are all the same say nothing of chance" in words.evidence(one)
    assert words.verdict(one) == "No difference shown between b and a"
    assert words.to_see(one) == "all pairs differ alike; more seeds are needed"
    (single,) = compare_in_pairs(measured(0.90, None, None, None, 0.93, None, None, None), "ab")
    assert words.to_see(single) == "one pair of runs; two or more are needed"
    assert all(row.paired is None for row in seeds_needed(measure(trials, "ab"), [one], [1.0]))
    perfect = measured(*[1.0] * 8)
    assert seeds_needed(measure(perfect, "ab"), compare_in_pairs(perfect, "ab"), [0.1]) == ()


def test_a_narrow_terminal_gets_fewer_columns_rather_than_cut_ones() -> None:
    every = ["name", "n", "mean", "least", "most"]
    for width, headings in ((200, every), (24, every[:3]), (3, ["name", "mean"])):
        table = Table("name", "n", "mean", "least", "most", box=None)
        table.add_row("accuracy", "5", "94.01%", "93.80%", "94.20%")
        console = Console(io.StringIO())
        console.width = width
        assert [column.header for column in fitted(table, console, ("most", "least", "n")).columns] == headings
