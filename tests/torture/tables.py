"""The table of what was tried and what was lost, for a terminal and for the documentation."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from rich.table import Table

from torture.tally import Tally

Row = Mapping[str, str | int | float]

COLUMNS = ("part", "attack", "tried", "lost", "figure", "seconds")
BEGIN, END = "<!-- counts: written by python -m torture --page -->", "<!-- end of counts -->"
_NUMBERS = ("tried", "lost", "seconds")


def row(part: str, tally: Tally, seconds: float) -> Row:
    """A line of the table."""
    return {
        "part": part,
        "attack": tally.attack,
        "tried": tally.tried,
        "lost": len(tally.lost),
        "figure": tally.figure,
        "seconds": round(seconds, 1),
    }


def console_table(rows: Sequence[Row]) -> Table:
    """For rich."""
    table = Table()
    for column in COLUMNS:
        table.add_column(column, justify="right" if column in _NUMBERS else "left")
    for one in rows:
        table.add_row(*(_shown(column, one[column]) for column in COLUMNS))
    return table


def in_page(text: str, rows: Sequence[Row]) -> str:
    """The page with the table of these rows between its marks; what a part tried once each is one line."""
    rows = [line for _, group in itertools.groupby(rows, _kind) for line in _condensed(list(group))]
    columns = [column for column in COLUMNS if column != "seconds"]
    lines = [
        "| " + " | ".join(columns) + " |",
        "|" + "|".join("---:" if column in _NUMBERS else "---" for column in columns) + "|",
        *("| " + " | ".join(_shown(column, one[column]) for column in columns) + " |" for one in rows),
    ]
    before, rest = text.split(BEGIN)
    return before + "\n".join([BEGIN, *lines, END]) + rest.split(END)[1]


def _kind(one: Row) -> tuple[str, bool]:
    return str(one["part"]), int(one["tried"]) == 1


def _condensed(rows: Sequence[Row]) -> Sequence[Row]:
    """One line for many things of a part that were tried once each."""
    if len(rows) == 1 or int(rows[0]["tried"]) != 1:
        return rows
    names = "; ".join(str(one["attack"]) for one in rows)
    return [{**rows[0], "attack": names, "tried": len(rows), "lost": sum(int(one["lost"]) for one in rows)}]


def _shown(column: str, value: str | float) -> str:
    return f"{int(value):,}" if column in ("tried", "lost") else str(value)
