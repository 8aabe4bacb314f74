"""Trials on stdout."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from ...comparison import p_value
from ...progress.console import Console, fitted
from . import words
from .page import shown_metrics
from .results import PAGE, RESULT, TABLE, Trials

_DROPPED = ("most", "least", "Holm", "p, W", "p, Wilcoxon", "n", "pairs", "95% interval", "p, t", "deviation")


def print_trials(found: Trials) -> None:
    """What was found, in a sentence; every metric; each comparison; the seeds needed; what was written where."""
    console = Console()
    prose = not console.is_terminal  # in a file or a pipe a sentence is one line
    headline, support = words.headline(found)
    console.print(Text(headline, "bold"), soft_wrap=prose)
    if support:
        console.print(support, soft_wrap=prose)
    console.print(words.counts(found), soft_wrap=prose)
    for failed in found.failed:
        named = f"{failed.variant}, seed {failed.seed}" if len(found.variants) > 1 else f"seed {failed.seed}"
        console.print(f"failed: {named}: {failed.error}", soft_wrap=prose)
    for table in (*_metrics(found), *_comparisons(found), *_needed(found)):
        console.print()
        console.print(fitted(table, console, _DROPPED))
    console.print()
    if len(found.devices) > 1:
        console.print(f"Times are of different machines: {'; '.join(found.devices)}", soft_wrap=prose)
    for line in (words.TIMES, *([words.PAIRS] if found.comparisons else []), *([words.METHOD] if found.needed else [])):
        console.print(Text(line, "dim"), soft_wrap=prose)
    names = [TABLE, RESULT, *(["plots/*.png"] if found.finished else []), PAGE]
    console.print("wrote " + ", ".join(f"{found.path}/{name}" for name in names), soft_wrap=True)


def _metrics(found: Trials) -> Iterator[Table]:
    """Of one recipe a table of the metrics, of several a table of the recipes for each metric."""
    columns = ("n", "mean", "deviation", "95% interval", "least", "most")
    if len(found.variants) == 1:
        table = _numbers("metric", *columns)
        for row in found.table:
            table.add_row(words.NAMES[row.metric], *words.cells(row))
        yield table
        return
    names = words.names(found)
    for metric in shown_metrics(found):
        table = _numbers(words.NAMES[metric], *columns)
        for row in found.table:
            if row.metric == metric:
                table.add_row(names[row.variant], *words.cells(row))
        yield table


def _comparisons(found: Trials) -> Iterator[Table]:
    """Of two recipes the difference in every metric, of more the differences in accuracy."""
    names = words.names(found)
    if len(found.comparisons) == 1:
        one = found.comparisons[0]
        table = _numbers("difference of", "pairs", "mean", "95% interval", "p, t", "p, Wilcoxon")
        for metric, effect in one.effects.items():
            table.add_row(words.NAMES[metric], *words.effect_cells(metric, effect))
        yield table
    elif found.comparisons:
        columns = ("pairs", "points", "95% interval", "p, t", "Holm", "p, W", "Holm")
        table = _numbers(f"minus {names[found.variants[0]]}", *columns)
        for one in found.comparisons:
            pairs, mean, between, t_p, wilcoxon_p = words.effect_cells("accuracy", one.accuracy)
            corrected = [
                "\N{EN DASH}" if p is None else p_value(p).removeprefix("= ") for p in (one.t_holm, one.wilcoxon_holm)
            ]
            table.add_row(names[one.variant], pairs, mean, between, t_p, corrected[0], wilcoxon_p, corrected[1])
        yield table


def _needed(found: Trials) -> Iterator[Table]:
    if not found.needed:
        return
    paired = ["equal seeds of both"] if found.comparisons else []
    table = _numbers("to see a difference of", "seeds of each recipe", *paired)
    for one in found.needed:
        of_pairs = [f"{one.paired:,}" if one.paired is not None else "\N{EN DASH}"] if paired else []
        table.add_row(words.size(one.points), f"{one.independent:,}", *of_pairs)
    yield table


def _numbers(first: str, *columns: str) -> Table:
    """Numbers at the right, under small headings."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(Text(first), overflow="fold")
    for name in columns:
        table.add_column(Text(name), justify="right", no_wrap=True)
    return table
