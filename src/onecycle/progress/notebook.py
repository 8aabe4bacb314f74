"""A training in a notebook: a table of epochs and a bar under it, redrawn in place.

IPython is no dependency: it is looked for only where it is loaded already, as it is in every notebook.
"""

from __future__ import annotations

import html
import importlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..observer import Observer, Progress, ProgressCallback
from ..recipes import Recipe
from ..run import Run
from .numbers import aligned, cell, columns, duration, headline, parts

SECONDS_APART = 0.4  # between two drawings: a notebook that is sent more of them falls behind, and then hangs
_MOST_ROWS = 60  # of the table; each drawing sends all of it
_TABLE = '<table cellpadding="4" style="text-align: right; font-variant-numeric: tabular-nums">'


def is_here() -> bool:
    """Whether this runs in a notebook: Jupyter, Colab, or another one with IPython's kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return any(one.__name__ == "ZMQInteractiveShell" for one in type(shell).__mro__)


class Area:
    """A part of a cell's output that is drawn over, at most every SECONDS_APART but for the last time."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._drawn_at = -SECONDS_APART

    def show(self, document: str, text: str, *, last: bool = False) -> None:
        """Draw HTML, or the text where the reader shows none."""
        if not last and time.monotonic() - self._drawn_at < SECONDS_APART:
            return
        self._drawn_at = time.monotonic()
        shown = _Shown(document, text)
        if self._handle is None:
            self._handle = importlib.import_module("IPython.display").display(shown, display_id=True)
        else:
            self._handle.update(shown)


class NotebookObserver(Observer):
    """Shows a training in the output of a notebook's cell: what stays there is the table of epochs."""

    def __init__(self) -> None:
        self._area = Area()
        self._title = ""
        self._names = columns(held_out=False)
        self._rows: list[list[str]] = []
        self._messages: list[str] = []
        self._progress: Progress | None = None

    def on_start(self, recipe: Recipe, run: Run, device: str, step: int) -> None:
        """Say what begins, in what precision and on what."""
        self._title = headline(recipe, run, device, step)
        self._draw(last=True)

    def on_progress(self, progress: Progress) -> None:
        """Redraw the bar."""
        self._progress = progress
        self._draw()

    def on_epoch(self, row: Mapping[str, float | None], seconds_left: float) -> None:
        """Add the epoch's line."""
        self._names = columns("val_loss" in row)[:-1]  # the time that is left is said beside the bar
        self._rows.append([cell(name, row, seconds_left) for name in self._names])
        self._draw()

    def on_message(self, text: str) -> None:
        """Show it under the table."""
        self._messages.append(text)
        self._draw(last=True)

    def on_end(self) -> None:
        """Take the bar away; what comes next is drawn elsewhere."""
        self._progress = None
        if self._title or self._messages:
            self._draw(last=True)
        self._area, self._title, self._rows, self._messages = Area(), "", [], []

    @contextmanager
    def progress_of(self, title: str) -> Iterator[ProgressCallback]:
        """A line of its own."""
        with own_bar(title) as say:
            yield lambda done, total, text: say(done, total, f"{done}/{total}  {text}")

    def _draw(self, *, last: bool = False) -> None:
        document, text = ([line(self._title)], [self._title]) if self._title else ([], [])
        left_out = max(0, len(self._rows) - _MOST_ROWS)
        if self._rows:
            shown = self._rows[left_out:]
            if left_out:
                document.append(line(f"the first {left_out} epochs are in metrics.csv"))
                text.append(f"the first {left_out} epochs are in metrics.csv")
            document.append(html_table(self._names, shown))
            text += [aligned(texts, self._names) for texts in (self._names, *shown)]
        if self._progress is not None:
            at = self._progress
            said = "  ".join((f"epoch {at.epoch}/{at.epochs}", *parts(at).values()))
            document.append(bar(at.step, at.steps, said))
            text.append(said)
        document += [line(message) for message in self._messages]
        text += self._messages
        self._area.show("\n".join(document), "\n".join(text), last=last)


@contextmanager
def own_bar(title: str) -> Iterator[Callable[[int, int | None, str], None]]:
    """A function that redraws a line of a notebook; at the end it says how long that took."""
    started = time.monotonic()
    area = Area()
    last = ""

    def say(done: int, total: int | None, text: str) -> None:
        nonlocal last
        last = text
        area.show(bar(done, total, f"{title}: {text}"), f"{title}: {text}")

    def end(how: str) -> None:
        if last:
            text = f"{title}: {how} {duration(time.monotonic() - started)}"
            area.show(line(text), text, last=True)

    try:
        yield say
    except BaseException:
        end(f"{last}, broken off after")
        raise
    end("done in")


def bar(done: int, total: int | None, text: str) -> str:
    """A bar and a text beside it, as HTML; a bar that only moves where the total is not known."""
    value = f' value="{done}" max="{total}"' if total else ""
    return f'<div><progress{value} style="width: 16em; vertical-align: middle"></progress> {_escaped(text)}</div>'


def line(text: str) -> str:
    """A line, as HTML."""
    return f"<div>{_escaped(text)}</div>"


class _Shown:
    """What IPython shows: HTML where it can, else the text."""

    def __init__(self, document: str, text: str) -> None:
        self._document, self._text = document, text

    def _repr_html_(self) -> str:
        return self._document

    def __repr__(self) -> str:
        return self._text


def html_table(names: list[str], rows: list[list[str]]) -> str:
    """A table, as HTML."""
    head = "".join(f"<th>{_escaped(name)}</th>" for name in names)
    body = "".join("<tr>" + "".join(f"<td>{_escaped(text)}</td>" for text in row) + "</tr>" for row in rows)
    return f"{_TABLE}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _escaped(text: str) -> str:
    return html.escape(text).replace("  ", " &nbsp;")
