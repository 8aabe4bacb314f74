"""The table of what was tried and what was lost, for a terminal and for the documentation."""

from __future__ import annotations

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
    """The page with the table of these rows between its marks."""
    columns = [column for column in COLUMNS if column != "seconds"]
    lines = [
        "| " + " | ".join(columns) + " |",
        "|" + "|".join("---:" if column in _NUMBERS else "---" for column in columns) + "|",
        *("| " + " | ".join(_shown(column, one[column]) for column in columns) + " |" for one in rows),
    ]
    before, rest = text.split(BEGIN)
    return before + "\n".join([BEGIN, *lines, END]) + rest.split(END)[1]


def _shown(column: str, value: str | float) -> str:
    return f"{int(value):,}" if column in ("tried", "lost") else str(value)
