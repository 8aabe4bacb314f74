"""A comparison of runs on stdout."""

from __future__ import annotations

from rich.console import RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from ..comparison import Comparison, OneSided, caveat, in_words, setting
from ..evaluation import percent
from .console import Console, fitted
from .numbers import duration

_DROPPED = ("parameters", "images/s", "epochs", "training", "loss", "95% interval")
_SHOWN = 5  # images of each side, where two runs are compared


def print_comparison(comparison: Comparison) -> None:
    """What was compared, how good each is, what the recipes differ in, and how each run differs from the first.

    Where there are but two runs, also the most telling images that only one gets right.
    """
    console = Console()
    prose = not console.is_terminal  # in a file or a pipe a sentence is one line
    console.print(f"{len(comparison.runs)} runs on the same {comparison.images:,} test images", style="bold")
    for run in comparison.runs:
        role = "" if run.letter != comparison.runs[0].letter else "  (the baseline)"
        console.print(Text.assemble((run.letter, "bold"), f"  {run.path}", (role, "dim")), soft_wrap=True)
    console.print()
    console.print(fitted(_results(comparison), console, _DROPPED))
    devices = {run.device for run in comparison.runs}
    if len(devices) > 1:
        where = "; ".join(f"{run.letter} on {run.device}" for run in comparison.runs)
        console.print(f"Times are of different machines: {where}", soft_wrap=prose)
    console.print()
    console.print(_recipes(comparison, console))
    for number, one in enumerate(comparison.differences):
        this, baseline = comparison.runs[number + 1].letter, comparison.runs[0].letter
        console.print()
        console.print(in_words(comparison, number), style="bold", soft_wrap=prose)
        console.print(
            f"right: both {one.both_right:,}, only {this} {len(one.only_this):,}, "
            f"only {baseline} {len(one.only_baseline):,}, neither {one.both_wrong:,}",
            soft_wrap=prose,
        )
        if len(comparison.differences) == 1:
            _print_images(console, comparison.classes, this, baseline, one.only_this)
            _print_images(console, comparison.classes, baseline, this, one.only_baseline)
    console.print()
    console.print(caveat(comparison), style="dim", soft_wrap=prose)


def _results(comparison: Comparison) -> Table:
    table = _table("", "accuracy", "95% interval", "loss", "epochs", "training", "images/s", "parameters")
    for run in comparison.runs:
        low, high = run.interval
        table.add_row(
            run.letter,
            percent(run.accuracy, 2),
            f"{100 * low:.2f} to {100 * high:.2f}",
            f"{run.loss:.3f}",
            str(run.epochs),
            duration(run.train_seconds),
            f"{run.images_per_second:,.0f}",
            f"{run.parameters:,}",
        )
    return table


def _recipes(comparison: Comparison, console: Console) -> RenderableType:
    """A table of the keys that differ; where that is too wide for the console, each value with its runs."""
    if not comparison.recipe:
        return Text("The recipes are the same.")
    letters = [run.letter for run in comparison.runs]
    table = _table("recipe", *letters)
    for key, values in comparison.recipe.items():
        table.add_row(key, *(setting(value) for value in values))
    if Measurement.get(console, console.options.update(max_width=1000), table).maximum <= console.width:
        return table
    grouped = Table("recipe", "", box=None, pad_edge=False, header_style="dim")
    for key, values in comparison.recipe.items():
        runs: dict[str, str] = {}
        for letter, value in zip(letters, values, strict=True):
            runs[setting(value)] = f"{runs.get(setting(value), '')} {letter}"
        grouped.add_row(key, "\n".join(f"{value} ({own.strip()})" for value, own in runs.items()))
    return grouped


def _print_images(console: Console, classes: tuple[str, ...], right: str, wrong: str, images: OneSided) -> None:
    """The first ones in a table, with their places in the test set."""
    if not len(images):
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(f"only {right} right", justify="right")
    table.add_column("class", overflow="fold")
    table.add_column(f"{right} gives it", justify="right")
    table.add_column(f"{wrong} gives it", justify="right")
    table.add_column(f"{wrong} says", overflow="fold")
    table.add_column("with", justify="right")
    for one in images.to_list(classes, _SHOWN):
        table.add_row(
            f"image {one['index']}",
            one["true"],
            percent(one["right_probability"], 0),
            percent(one["wrong_probability"], 0),
            one["mistaken"],
            percent(one["mistaken_probability"], 0),
        )
    console.print()
    console.print(table)


def _table(first: str, *columns: str) -> Table:
    """Numbers at the right, under small headings."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(first)
    for name in columns:
        table.add_column(name, justify="right")
    return table
