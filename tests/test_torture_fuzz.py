"""Odd recipes and command lines in short; `python -m torture fuzz` is the long version."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import strategies as st
from torture import fuzz, odd
from torture.calling import workshop

from onecycle.recipes import checking, reading
from onecycle.recipes.reading import Unreadable, read_value


def test_whatever_comes_in_a_recipe_or_clear_lines_go_out(tmp_path: Path) -> None:
    tallies = list(fuzz.attacks(tmp_path, seed=0, share=0.01))
    assert [tally.attack for tally in tallies] == list(fuzz.FULL)
    for tally in tallies:
        tally.check()


def test_a_reader_that_lets_errors_out_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "Loader", yaml.SafeLoader)
    cases = odd.special.map(lambda text: ("digits", [f"seed={text}"]))
    with workshop():
        (line,) = fuzz.search("--set values", cases, fuzz.try_set, 100, 0).lost
    assert "seed 0/0: ('digits', [" in line and "fault of onecycle's own" in line


def test_rates_that_are_not_checked_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "_refused_by_builder", lambda *arguments: [])
    cases = st.floats(0, 1e300).map(lambda rate: ("digits", [f"schedule.lr_max={rate}"]))
    with workshop():
        (line,) = fuzz.search("--set values", cases, fuzz.try_set, 30, 0).lost
    assert "schedule.lr_max" in line


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: &a [*a]", "the alias *a stands for what it is a part of"),
        ("a: &a {b: {c: *a}}", "the alias *a stands for what it is a part of"),
        ("[" * 30 + "]" * 30, "lie more than 20 deep"),
        ("[" * 3000, "lie more than 20 deep"),
        ("[" + "1, " * 20_000 + "1]", "more than 20,000 values"),
        ("a: " + "1" * 70_000, "larger than 65,536 bytes"),
        ("1" * 5000, "not readable as int"),
        ("0x" + "f" * 5000, "a whole number is too large; less than 2^64"),
        ("18446744073709551616", "a whole number is too large"),
        ("!!bool perhaps", "'perhaps' is not readable as bool"),
        ("!!timestamp never", "'never' is not readable as timestamp"),
        ("!!int ''", "'' is not readable as int"),
        ("2020-13-45", "'2020-13-45' is not readable as timestamp: month must be in 1..12"),
        ('"\\ud800"', "is no text"),
    ],
)
def test_what_has_no_end_or_no_meaning_is_refused(text: str, reason: str) -> None:
    with pytest.raises(Unreadable) as caught:
        read_value(text)
    assert reason in str(caught.value)


@pytest.mark.parametrize("form", ["[*a{0}, *a{0}, *a{0}, *a{0}]", "{{<<: [*a{0}, *a{0}, *a{0}, *a{0}]}}"])
def test_aliases_that_stand_for_more_than_memory_holds_are_refused(form: str) -> None:
    lines = ["a0: &a0 {x: 1}", *(f"a{level + 1}: &a{level + 1} {form.format(level)}" for level in range(40))]
    with pytest.raises(Unreadable, match="more than 20,000 values, aliases written out"):
        read_value("\n".join(lines))


def test_aliases_within_bounds_go_on_working() -> None:
    assert read_value("a: &a {x: 1}\nb: [*a, *a]\nc: {<<: *a, y: 2}") == {
        "a": {"x": 1},
        "b": [{"x": 1}, {"x": 1}],
        "c": {"x": 1, "y": 2},
    }
    assert read_value("18446744073709551615") == 2**64 - 1
