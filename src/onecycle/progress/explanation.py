"""Mistakes and likely label errors on stdout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from ..evaluation import percent
from .console import Console
from .evaluation import name_of, printable

_LABEL_ERRORS = 10  # of so many at most there is a line


def print_explanation(explanation: Mapping[str, Any], written: Sequence[Path]) -> None:
    """The mistakes and the likely label errors as tables, and what was drawn where.

    `explanation` is as `onecycle.Explanation.to_dict` gives it.
    """
    console = Console()
    shown, chosen, wrong = explanation["mistakes"], explanation["chosen"], explanation["wrong"]
    of_all = "" if chosen == wrong else f" (of {wrong:,} in all)"
    console.print(
        Text.assemble(
            (f"{len(shown):,} of {chosen:,} mistakes", "bold"),
            f"{of_all} in {explanation['images']:,} test images, the most confident first",
        ),
        soft_wrap=True,
    )
    console.print(_table(shown, ("true", "predicted"), ("true_probability", "predicted_probability")))
    if explanation["label_errors"]:
        console.print()
        _print_label_errors(console, explanation["label_errors"], " by confident learning; or the net is wrong")
    console.print()
    if not explanation["why_no_images"]:
        console.print(f"{explanation['method']} at layer {explanation['layer']}", soft_wrap=True)
    _print_places(console, explanation, written)


def print_folds_explanation(explanation: Mapping[str, Any], written: Sequence[Path], count: int) -> None:
    """The `count` clearest of the likely label errors as a table, and what was drawn where.

    `explanation` is as `onecycle.CrossValidation.explain` and then `to_dict` give it.
    """
    console = Console()
    unseen = f"in {explanation['images']:,} training images, each predicted by a net that did not see it"
    _print_label_errors(console, explanation["label_errors"], f" {unseen}; or the net is wrong", count)
    console.print()
    _print_places(console, explanation, written)


def _print_label_errors(
    console: Console, errors: Sequence[Mapping[str, Any]], said: str, count: int = _LABEL_ERRORS
) -> None:
    many = f"{len(errors):,} likely label error{'s' * (len(errors) != 1)}"
    console.print(Text.assemble((many, "bold"), said), soft_wrap=True)
    if errors:
        console.print(_table(errors[:count], ("given", "suggested"), ("given_probability", "suggested_probability")))
    if len(errors) > count:
        console.print(Text(f"and {len(errors) - count:,} more; --json lists all", "dim"))


def _print_places(console: Console, explanation: Mapping[str, Any], written: Sequence[Path]) -> None:
    """Where the images are, and where the pictures are or why there are none."""
    if explanation["folder"] is not None:
        console.print(Text(f"images are in {explanation['folder']}"), soft_wrap=True)
    if explanation["why_no_images"]:
        console.print(f"no pictures: {explanation['why_no_images']}", soft_wrap=True)
    elif written:
        console.print("wrote " + ", ".join(map(str, written)), soft_wrap=True)


def _table(rows: Sequence[Mapping[str, Any]], names: Sequence[str], probabilities: Sequence[str]) -> Table:
    """A line an image: its file, else its number in the test set; two classes and what the net gives each."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    from_files = any(row["file"] is not None for row in rows)
    table.add_column("image", justify="left" if from_files else "right", style="dim", no_wrap=not from_files)
    for name in names:
        table.add_column(name)
        table.add_column("", justify="right", no_wrap=True)
    for row in rows:
        file = row["file"]  # in full, so that it can be found
        cells: list[str | Text] = [str(row["index"]) if file is None else Text(printable(file), overflow="fold")]
        for name, probability in zip(names, probabilities, strict=True):
            cells += [name_of(row[name]), percent(row[probability])]
        table.add_row(*cells)
    return table
