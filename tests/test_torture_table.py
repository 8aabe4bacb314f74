"""The documentation's table of counts is that of the last long run."""

from __future__ import annotations

from pathlib import Path

from torture.__main__ import PARTS
from torture.tables import BEGIN, END, in_page, row
from torture.tally import Tally

from onecycle.files import read_csv

ROOT = Path(__file__).parents[1]


def test_the_page_has_the_last_long_run() -> None:
    (path,) = (ROOT / "benchmarks" / "results").glob("torture_*.csv")
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    rows = read_csv(path)
    assert in_page(page, rows) == page
    assert list(dict.fromkeys(one["part"] for one in rows)) == list(PARTS)
    assert all(f"| `{part}` |" in page for part in PARTS)


def test_what_was_tried_once_each_is_one_line() -> None:
    rows = [row("a", Tally("many", 1000, ["lost"], "a figure"), 2.0)]
    rows += [row("b", Tally(name, 1), 1.0) for name in ("one", "two")]
    page = in_page(f"before {BEGIN}\nold\n{END} after", rows)
    assert page.startswith(f"before {BEGIN}\n| part |") and page.endswith(f"{END} after") and "old" not in page
    assert "| a | many | 1,000 | 1 | a figure |\n| b | one; two | 2 | 0 |  |\n" in page
