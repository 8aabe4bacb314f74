"""An evaluation on stdout."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from ..evaluation import ClassResult, Evaluation, percent
from .console import Console

MOST_CLASSES = 40  # of more, the WORST and the BEST have a line
WORST, BEST = 20, 5
_PAIRS = 5
_NAME_WIDTH = 40  # columns of the terminal
_INTERVAL_FROM, _BAR_FROM = 72, 96  # columns that a terminal needs to have room for them
_BAR_WIDTH = 20
_STYLES = {"95% interval": "dim", "wrong": "yellow"}
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # control characters, bytes that are no UTF-8


def print_evaluation(run_label: str, evaluation: Evaluation, of: str = "test images") -> None:
    """Accuracy, classes from the worst to the best, what is taken for what, and calibration, as text and a table.

    `of` says what images it is of. Of more than MOST_CLASSES classes the worst and the best have a line.
    """
    console = Console()
    console.print(Text(printable(run_label), "dim"), soft_wrap=True)
    console.print(_headline(evaluation, of), soft_wrap=True)
    console.print(_second_line(evaluation), soft_wrap=True)
    shown, note = _classes_shown(evaluation.by_class)
    console.print()
    heading = Text.assemble(("classes", "bold"), (f", {note} (recall = accuracy of a class)", "dim"))
    console.print(heading, soft_wrap=True)
    console.print(_class_table(evaluation, shown, console))
    console.print()
    for line in _confusions(evaluation):
        console.print(line, soft_wrap=True)
    console.print()
    calibration = evaluation.calibration.in_words()
    console.print(Text.assemble(("calibration", "bold"), f": {calibration}"), soft_wrap=True)


def _headline(evaluation: Evaluation, of: str) -> Text:
    low, high = (f"{100 * end:.2f}" for end in evaluation.interval)
    rest = f" of {evaluation.images:,} {of} right (95% interval {low} to {high})"
    return Text.assemble((percent(evaluation.accuracy, 2), "bold"), rest)


def _second_line(evaluation: Evaluation) -> str:
    top = [f"top-{k} {percent(share, 2)}" for k, share in evaluation.top.items() if k > 1]
    return ", ".join([f"{evaluation.images - evaluation.right:,} wrong", f"loss {evaluation.loss:.4f}", *top])


def _classes_shown(results: Sequence[ClassResult]) -> tuple[list[ClassResult | None], str]:
    """The classes that get a line, None where some are left out, and what is to be said of the choice."""
    present = sorted((one for one in results if one.images), key=lambda one: one.recall)
    if len(results) <= MOST_CLASSES:
        return [*present, *(one for one in results if not one.images)], "worst first"
    if len(present) <= MOST_CLASSES:
        return [*present], f"worst first, {len(present)} of {len(results):,} with images"
    return [*present[:WORST], None, *present[-BEST:]], f"{WORST} worst and {BEST} best of {len(present):,} with images"


def _class_table(evaluation: Evaluation, shown: Sequence[ClassResult | None], console: Console) -> Table:
    columns = _columns(evaluation, console)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("class", overflow="fold")  # alone may be narrowed
    for heading in columns:
        justify: JustifyMethod = "left" if heading == "wrong" else "right"
        table.add_column(heading, justify=justify, no_wrap=True, style=_STYLES.get(heading, ""))
    for one in shown:
        if one is None:
            table.add_row("…", style="dim")
        else:
            cells = (cell(one) for cell in columns.values())
            table.add_row(name_of(one.name), *cells, style="" if one.images else "dim")
    macro = {
        "precision": evaluation.macro_precision,
        "recall": evaluation.macro_recall,
        "F1": evaluation.macro_f1,
    }
    means = (percent(macro[heading]) if heading in macro else "" for heading in columns)
    table.add_row("mean of the classes", *means, style="bold")
    return table


def _columns(evaluation: Evaluation, console: Console) -> dict[str, Callable[[ClassResult], str]]:
    """What a class's line says under each heading that there is room for."""
    columns: dict[str, Callable[[ClassResult], str]] = {
        "images": lambda one: f"{one.images:,}",
        "precision": lambda one: percent(one.precision),
        "recall": lambda one: percent(one.recall),
        "95% interval": _between,
        "F1": lambda one: percent(one.f1),
    }
    if console.width < _INTERVAL_FROM:
        del columns["95% interval"]
    most_wrong = max(1 - one.recall for one in evaluation.by_class if one.images)
    if console.is_terminal and console.width >= _BAR_FROM and most_wrong > 0:
        columns["wrong"] = lambda one: _bar((1 - one.recall) / most_wrong) if one.images else ""
    return columns


def _confusions(evaluation: Evaluation) -> Iterable[Text]:
    """The most frequent confusions, a sentence each."""
    if not evaluation.pairs:
        yield Text.assemble(("most confused", "bold"), ": nothing, every image is right")
        return
    yield Text("most confused", "bold")
    for pair in evaluation.pairs[:_PAIRS]:
        images = evaluation.by_class[pair.true].images
        true, predicted = name_of(evaluation.classes[pair.true]), name_of(evaluation.classes[pair.predicted])
        yield Text.assemble(
            true, " taken for ", predicted, f" in {pair.count:,} of {images:,} images ({percent(pair.share)})"
        )


def name_of(name: str) -> Text:
    """A class's name as it is, cut off where it is too long for a column."""
    text = Text(printable(name), no_wrap=True, overflow="ellipsis")
    text.truncate(_NAME_WIDTH, overflow="ellipsis")
    return text


def printable(text: str) -> str:
    """The text without what a terminal would act upon."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def _between(one: ClassResult) -> str:
    low, high = one.interval
    return f"{100 * low:.1f} to {100 * high:.1f}" if one.images else "-"


def _bar(share: float) -> str:
    """A line that is drawn to half a column."""
    full, half = divmod(round(2 * _BAR_WIDTH * share), 2)
    return "━" * full + "╸" * half
