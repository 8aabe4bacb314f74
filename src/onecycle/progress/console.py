"""Where progress is printed: a terminal, a file or a pipe."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterable
from typing import IO, TypedDict

import rich.console
from rich.console import ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table

_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
PLAIN_SECONDS = 10.0  # between lines where there is no terminal to redraw


class Console(rich.console.Console):
    """Prints names as they are, and falls silent where its reader has left: no training ends because of that."""

    def __init__(self, file: IO[str] | None = None, *, stderr: bool = False) -> None:
        super().__init__(file=file, stderr=stderr, markup=False, emoji=False, highlight=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The text to print; what a terminal would obey, as a class of a stranger's run may be named, is replaced."""
        for segment in super().render(renderable, options):
            safe = segment.control or not _CONTROL.search(segment.text)
            yield segment if safe else segment._replace(text=_CONTROL.sub("\N{REPLACEMENT CHARACTER}", segment.text))

    @property
    def is_terminal(self) -> bool:
        """Whether it is one: FORCE_COLOR alone, which is enough for rich, makes no file one."""
        return super().is_terminal and is_terminal_file(self.file)

    @property
    def redraws(self) -> bool:
        """Whether a line can be drawn over."""
        return self.is_terminal and not self.is_dumb_terminal

    def on_broken_pipe(self) -> None:
        """Say nothing more, also not when the stream is flushed at the end."""
        self.quiet = True
        with contextlib.suppress(AttributeError, OSError):  # a file object without a descriptor
            descriptor = self.file.fileno()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            try:
                os.dup2(nowhere, descriptor)
            finally:
                os.close(nowhere)


def fitted(table: Table, console: Console, dropped: Iterable[str]) -> Table:
    """The table without as many of the `dropped` columns, in their order, as are too many for the console's width."""
    wide = console.options.update(max_width=10_000)
    for heading in dropped:
        if Measurement.get(console, wide, table).maximum <= console.width:
            break
        table.columns = [column for column in table.columns if str(column.header) != heading]
    return table


def is_terminal_file(file: object) -> bool:
    """Whether it is an open file that is shown on a terminal."""
    isatty: Callable[[], bool] | None = getattr(file, "isatty", None)
    try:
        return isatty is not None and isatty()
    except ValueError:  # it is closed
        return False


class Redirections(TypedDict):
    """Which streams a live bar takes over, so as to print above itself."""

    redirect_stdout: bool
    redirect_stderr: bool


def redirections() -> Redirections:
    """Terminals only: what is printed into a file or a pipe must arrive there."""
    return {"redirect_stdout": is_terminal_file(sys.stdout), "redirect_stderr": is_terminal_file(sys.stderr)}
