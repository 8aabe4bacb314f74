"""Trials as they are shown: the words, the terminal, the pictures, the page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from chromium import browser, opened  # noqa: F401  # the fixture
from hypothesis import given
from hypothesis import strategies as st
from small import small_recipe
from test_cli import call

from onecycle import Trials, plots, studies
from onecycle.hardware import environment
from onecycle.plots.trials import swarm
from onecycle.studies import Trial
from onecycle.studies.seeds import page, words
from onecycle.studies.seeds.plan import Plan
from onecycle.studies.seeds.printing import print_trials
from onecycle.studies.seeds.variants import variants

ERROR = "the loss is nan at step 17 of 980, learning rate 0.5"


def made(
    path: Path,
    by_label: dict[str, Sequence[float | None]],
    *,
    seconds: float = 80.0,
    difference: float | None = None,
    keys: Sequence[str] = ("loss", "train_seconds", "images_per_second"),
) -> Trials:
    """Trials of these accuracies, seed by seed; None is one that failed."""
    recipes = [small_recipe(name=f"recipe{number}") for number in range(len(by_label))]
    found = variants(list(by_label), recipes)
    known = {**environment(torch.device("cpu")), "argv": ["onecycle", "trials", "digits", "--seeds", "5"]}
    seeds = max(map(len, by_label.values()))
    plan = Plan(tuple(found), seeds, {one.label: {} for one in found}, known, difference)
    rows = []
    for seed in range(seeds):
        for number, one in enumerate(found):
            accuracy = by_label[one.label][seed]
            others = {"loss": 0.2 + 0.01 * number + 0.001 * seed, "train_seconds": seconds + 2 * number + seed % 3}
            others["images_per_second"] = 50_000 / others["train_seconds"]
            measured: Any = {} if accuracy is None else {"accuracy": accuracy, **{key: others[key] for key in keys}}
            place, error = f"{one.folder}/s{seed}", None if measured else ERROR
            status: Any = "finished" if measured else "failed"
            rows.append(Trial(one.label, seed, place, status, measured, "a processor, 2 threads", error))
    path.mkdir(parents=True, exist_ok=True)
    return Trials(path, plan, tuple(rows))


def many(count: int, labels: Sequence[str], apart: float = 0.0005) -> dict[str, Sequence[float | None]]:
    random = np.random.default_rng(0)
    of_seed = random.normal(0, 0.001, count)
    return {
        label: np.round(0.94 + apart * number + of_seed + random.normal(0, 0.0005, count), 4).tolist()
        for number, label in enumerate(labels)
    }


def test_one_recipe_in_words(tmp_path: Path) -> None:
    found = made(tmp_path, {"custom_resnet": [0.9412, 0.9398, 0.9405, None]})
    values = [0.9412, 0.9398, 0.9405]
    low, high = scipy.stats.t.interval(0.95, 2, np.mean(values), scipy.stats.sem(values))
    assert words.headline(found) == (
        "94.05% on the test set, mean of 3 seeds",
        f"Deviation 0.07 points, 95% interval of the mean {100 * low:.2f} to {100 * high:.2f}",
    )
    assert words.counts(found) == "3 of 4 trials finished, 1 failed and is in no mean"
    alone = made(tmp_path, {"custom_resnet": [0.9412]})
    assert words.headline(alone)[0] == "94.12% on the test set, one run" and not alone.needed
    equal = made(tmp_path, {"custom_resnet": [0.94, 0.94, 0.94]})
    assert words.headline(equal)[0] == "94.00% on the test set with each of 3 seeds"
    assert "say nothing of chance" in words.headline(equal)[1]
    assert [words.cells(row)[3] for row in equal.table if row.metric == "accuracy"] == ["\N{EN DASH}"]
    assert words.headline(made(tmp_path, {"custom_resnet": [None]}))[0] == "custom_resnet: no trial has finished"


def test_two_recipes_in_words(tmp_path: Path) -> None:
    better = made(tmp_path, {"a": [0.90, 0.91, 0.92, 0.93], "b": [0.911, 0.922, 0.93, 0.941]})
    headline, support = words.headline(better)
    assert headline == "b is 1.10 points better than a"
    expected = scipy.stats.ttest_rel([0.911, 0.922, 0.93, 0.941], [0.90, 0.91, 0.92, 0.93])
    assert support == (
        "b minus a: +1.10 points, 95% interval 0.97 to 1.23, 4 pairs; "
        "p = 0.00011 by the paired t-test, p = 0.12 by Wilcoxon's"
    )
    assert expected.pvalue == pytest.approx(better.comparisons[0].accuracy.t_p, abs=1e-9)
    worse = made(tmp_path, {"a": [0.911, 0.922, 0.93, 0.941], "b": [0.90, 0.91, 0.92, 0.93]})
    assert words.headline(worse)[0] == "b is 1.10 points worse than a"
    same = made(tmp_path, {"a": [0.90, 0.92, 0.91], "b": [0.92, 0.90, 0.913]})
    headline, support = words.headline(same)
    assert headline == "No difference shown between b and a"
    n = same.comparisons[0].needed
    assert n is not None and n > 3 and support.endswith(f"; to see one of this size takes {n:,} pairs, {n - 3:,} more")
    equal = made(tmp_path, {"a": [0.90, 0.92], "b": [0.92, 0.90]})
    assert words.headline(equal)[1].endswith("; the means are equal")
    one = made(tmp_path, {"a": [0.90, None], "b": [0.92, 0.93]})
    assert words.headline(one)[1].endswith("one pair of runs; two or more are needed to say how sure that is")
    none = made(tmp_path, {"a": [None, 0.9], "b": [0.92, None]})
    assert not none.comparisons and words.headline(none)[0] == "90.00% on the test set, one run"


def test_of_many_recipes_chance_alone_would_find_one(tmp_path: Path) -> None:
    """An interval that leaves out zero is not enough where there are several: Holm's p counts."""
    random = np.random.default_rng(3)
    base = random.normal(0.94, 0.001, 6)
    noise = {f"k={number}": (base + random.normal(0, 0.001, 6)).round(4).tolist() for number in range(6)}
    shift = scipy.stats.t.ppf(0.985, 5) * 0.001 / np.sqrt(6)
    jitter = np.array([-1, 1, -1, 1, -1, 1]) * 0.001 * np.sqrt(5 / 6)
    noise["k=6"] = (np.array(noise["k=0"]) + shift + jitter).round(6).tolist()
    found = made(tmp_path, noise)
    by_label = {one.variant: one for one in found.comparisons}
    lucky = by_label["k=6"]
    assert lucky.accuracy.low is not None and lucky.accuracy.low > 0 and lucky.t_holm is not None
    assert lucky.accuracy.t_p is not None and lucky.accuracy.t_p < 0.05 < lucky.t_holm
    assert words.headline(found) == ("No difference from k=0 shown", "")
    clear = made(tmp_path, many(8, ["k=0", "k=1", "k=2"], apart=0.004))
    headline, support = words.headline(clear)
    assert headline.startswith("k=2 is 0.8") and support.startswith("The largest of 2 differences; k=2 minus k=0: ")
    worse = made(tmp_path, many(8, ["k=0", "k=1", "k=2"], apart=-0.004))
    assert words.headline(worse) == ("None shown to be better than k=0", "2 of 2 are worse")


def test_what_is_to_be_seen_is_asked_for(tmp_path: Path) -> None:
    found = made(tmp_path, many(5, ["a", "b"]), difference=0.3)
    (one,) = found.needed
    assert one.points == 0.3 and one.paired is not None and one.paired <= one.independent
    assert [each.points for each in made(tmp_path, many(5, ["a"])).needed] == [0.1, 0.2, 0.5, 1.0]
    seeds = [each.independent for each in made(tmp_path, many(5, ["a"])).needed]
    assert seeds == sorted(seeds, reverse=True)


@pytest.mark.parametrize(
    "labels", [["custom_resnet"], ["custom_resnet", "fast94"], [f"schedule.lr_max={n}" for n in "123456"]]
)
@pytest.mark.parametrize("columns", [80, 120])
def test_on_the_terminal(
    labels: list[str], columns: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    print_trials(made(tmp_path, many(5, labels), seconds=4800))
    lines = capsys.readouterr().out.splitlines()
    tables = [line for line in lines if re.search(r"\S  +\S", line)]
    assert len(tables) > 8 and max(map(len, tables)) <= columns
    assert all(line == line.rstrip() or len(line) <= columns for line in tables)
    assert lines[-1].startswith(f"wrote {tmp_path}/results.csv")
    assert any(line.startswith("1 point ") for line in lines)
    if len(labels) > 1:
        assert any(line.startswith("Of equal seeds: ") for line in lines)


@given(st.lists(st.integers(0, 60), min_size=1, max_size=50), st.integers(1, 8))
def test_dots_do_not_cover_each_other(values: list[int], apart: int) -> None:
    places = swarm(dict(enumerate(map(float, values))), float(apart))
    levels = list(places.items())
    for number, (seed, level) in enumerate(levels):
        assert abs(level) <= 0.261
        for other, other_level in levels[:number]:
            assert level != other_level or abs(values[seed] - values[other]) >= apart


@pytest.mark.parametrize("seeds", [1, 5, 50])
@pytest.mark.parametrize("count", [1, 6])
def test_every_seed_is_a_dot(seeds: int, count: int) -> None:
    values = many(seeds, [f"k={number}" for number in range(count)])
    strips = [
        plots.Strip(
            label,
            {seed: float(one or 0) for seed, one in enumerate(own)},
            0.94,
            *([0.93, 0.95] if seeds > 1 else [None, None]),
        )
        for label, own in values.items()
    ]
    (axes,) = plots.trials(strips, "a title", "test accuracy", share=True).axes
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [sorted(np.asarray(line.get_xdata()).tolist()) for line in dots] == [sorted(own) for own in values.values()]
    threads = [line for line in axes.lines if line.get_marker() == "None" and len(set(line.get_ydata())) == 2]
    assert len(threads) == (count - 1) * seeds
    low, high = axes.get_xlim()
    assert all(low < one < high for own in values.values() for one in own if one is not None)


def test_an_interval_ends_at_what_there_can_be(tmp_path: Path) -> None:
    """Student's knows no such end."""
    found = made(tmp_path / "trials", {"a": [0.999, 1.0, 0.9]})
    (row,) = (one for one in found.table if one.metric == "accuracy")
    assert row.spread.high is not None and row.spread.high > 1
    (strip,) = page._strips(found, "accuracy")
    assert (strip.low, strip.high) == (row.spread.low, 1.0)


def test_a_long_name_is_shortened_to_the_width_of_the_chart(tmp_path: Path) -> None:
    text = made(tmp_path / "trials", many(3, ["augment.cutout=" + "0" * 300, "b"])).report().read_text(encoding="utf-8")
    (shown,) = re.findall(r">(augment\.cutout=[^<]*)</text>", text)
    assert "…" in shown and len(shown) < 120


def test_names_in_any_script_are_drawn_without_a_word(tmp_path: Path) -> None:
    text = made(tmp_path / "trials", many(3, ["日本 a", "한국어 b"])).report().read_text(encoding="utf-8")
    assert "日本 a</text>" in text and "한국어 b</text>" in text  # and a warning would be an error here


def test_the_page(browser: Any, tmp_path: Path) -> None:  # noqa: F811
    labels = ["<script>alert(1)</script>", "fast94", "third"]
    values = many(5, labels)
    values["fast94"] = [*values["fast94"][:4], None]
    found = made(tmp_path / "trials", values)
    (tmp_path / "trials/fast94/s0").mkdir(parents=True)
    (tmp_path / "trials/fast94/s0/report.html").write_text("the report")
    page = found.report()
    text = page.read_text(encoding="utf-8")
    assert "<script>alert" not in text and "onecycle trials digits --seeds 5" in text
    for width in (380, 1200):
        with opened(browser, page, width) as tab:
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            assert tab.locator("h2").first.inner_text() == words.headline(found)[0] + "."
            rows = tab.locator("table.runs tbody tr")
            assert rows.count() == 15 and ERROR in rows.nth(13).inner_text()
            assert rows.nth(1).locator("a").get_attribute("href") == "fast94/s0/report.html"
            assert rows.nth(2).locator("a").get_attribute("href") == "third/s0/"
            assert tab.locator("svg[role=img]").count() == 1
            rows.nth(1).locator("a").click()
            assert tab.locator("body").inner_text() == "the report"


def test_what_the_docs_show_is_what_is_said(tmp_path: Path) -> None:
    shown = (Path(__file__).parents[1] / "docs/trials.md").read_text(encoding="utf-8")
    right = {"augment.cutout=6": [345, 338, 345, 344, 350], "augment.cutout=0": [347, 343, 348, 351, 351]}
    found = made(tmp_path, {label: [one / 360 for one in own] for label, own in right.items()})
    for line in words.headline(found):
        assert f"\n{line}\n" in shown
    for row in found.table:
        if row.metric == "accuracy":
            assert re.search(r"\s+".join(map(re.escape, words.cells(row))), shown)
    for one in found.needed:
        assert re.search(rf"\n{words.size(one.points)} +{one.independent:,} +{one.paired:,}\n", shown)


def test_the_commands_of_the_docs_are_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(studies, "trials", lambda name, **options: asked.append(options) or 1 / 0)
    shown = (Path(__file__).parents[1] / "docs/trials.md").read_text(encoding="utf-8")
    for line in re.findall(r"^onecycle (trials .*)$", shown, re.MULTILINE):
        assert call(*line.split()) == 1  # a fault of this test's own, once all was read
    assert [one["seeds"] for one in asked] == [5, 5, 5, 5]
    assert asked[1]["against"] == "my_recipe.yaml" and asked[2]["vary"] == {"schedule.lr_max": [0.005, 0.01, 0.02]}
    assert asked[3]["resources.cpus"] == 1 and asked[3]["schedule.epochs"] == 3


def test_many_runs_are_folded_away(tmp_path: Path) -> None:
    many_runs = made(tmp_path, many(50, ["a"])).report().read_text(encoding="utf-8")
    assert "All 50 runs" in many_runs and many_runs.count("a/s") == 100
    assert "<details class" not in made(tmp_path, many(5, ["a"])).report().read_text(encoding="utf-8")
