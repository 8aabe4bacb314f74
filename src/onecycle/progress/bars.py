"""Progress of anything slow that is not a training."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.progress import (
    BarColumn,
    DownloadColumn,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as BarsProgress
from rich.table import Column

from ..observer import ProgressCallback
from . import console as consoles
from . import notebook
from .console import Console

_BAR_WIDTHS = (8, 24)  # on a narrow terminal, and on others
_WIDE_DOWNLOAD, _WIDE_STEPS = 80, 100  # letters of a terminal that has room for everything


@contextlib.contextmanager
def download_progress(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """A function that is told (bytes so far, bytes in all); a bar, or a line every few seconds."""
    if notebook.is_here():
        with notebook.own_bar(name) as say_there:
            yield lambda done, total: say_there(done, total, f"{done / 1e6:.1f}{_of(total)} MB")
        return
    console = Console(stderr=True)
    if not console.redraws:
        with _lines(console) as say_line:
            yield lambda done, total: say_line(f"{name}: {done / 1e6:.1f}{_of(total)} MB", done == total)
        return
    columns: list[ProgressColumn] = [DownloadColumn(table_column=_one_line())]
    wide = console.width >= _WIDE_DOWNLOAD
    if wide:
        columns += [TransferSpeedColumn(table_column=_one_line()), TimeRemainingColumn(table_column=_one_line())]
    with _bars(console, columns, wide) as bars:
        task = bars.add_task(name, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


@contextlib.contextmanager
def step_progress(title: str, console: Console) -> Iterator[ProgressCallback]:
    """A bar on the console, or a line every few seconds where it is no terminal."""
    if not console.redraws:
        with _lines(console) as say_line:
            yield lambda done, total, text: say_line(f"{title}: {done}/{total}  {text}", done == total)
        return
    count = TextColumn("{task.completed}/{task.total}", table_column=_one_line())
    columns: list[ProgressColumn] = [count, TextColumn("{task.fields[text]}", markup=False, table_column=_one_line())]
    wide = console.width >= _WIDE_STEPS
    if wide:
        columns.append(TimeRemainingColumn(table_column=_one_line()))
    with _bars(console, columns, wide) as bars:
        task = bars.add_task(title, total=None, visible=False, text="")
        yield lambda done, total, text: bars.update(task, completed=done, total=total, text=text, visible=True)


def _bars(console: Console, columns: list[ProgressColumn], wide: bool) -> BarsProgress:
    """A name, a bar and columns, on one line which is taken away at the end."""
    name = TextColumn("{task.description}", markup=False, table_column=_one_line())
    bar = BarColumn(_BAR_WIDTHS[wide], table_column=_one_line())
    return BarsProgress(name, bar, *columns, console=console, transient=True, **consoles.redirections())


def _one_line() -> Column:
    return Column(no_wrap=True)


@contextlib.contextmanager
def _lines(console: Console) -> Iterator[Callable[[str, bool], None]]:
    """A function that prints a line, but not more often than every few seconds, unless it is the last one."""
    said_at = time.monotonic() - consoles.PLAIN_SECONDS

    def say(line: str, last: bool) -> None:
        nonlocal said_at
        if time.monotonic() - said_at >= consoles.PLAIN_SECONDS or last:
            said_at = time.monotonic()
            console.print(line, soft_wrap=True)

    yield say


def _of(total: int | None) -> str:
    return f" of {total / 1e6:.1f}" if total else ""
