"""A training on the terminal: one line an epoch, and a bar that is redrawn by time while it runs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO

import rich.console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from ..observer import Observer, Progress, ProgressCallback
from ..recipes import Recipe
from ..run import Run
from . import console as consoles
from .bars import step_progress
from .numbers import aligned, cell, columns, headline, parts

_BAR_WIDTHS = (8, 24)  # the least and the most
_DROPPED = ("images/s", "lr", "left", "acc", "loss")  # of the bar's line where it is too long, the first one first


class TerminalObserver(Observer):
    """Prints to `file` (stderr by default): a live bar on a terminal, plain lines every few seconds elsewhere."""

    def __init__(self, file: IO[str] | None = None) -> None:
        self._console = consoles.Console(file, stderr=True)
        self._live: Live | None = None
        self._lines_at = time.monotonic()
        self._header_due = True

    def on_start(self, recipe: Recipe, run: Run, device: str, step: int) -> None:
        """Say what begins, in what precision and on what."""
        self._header_due = True
        self._console.print(headline(recipe, run, device, step), soft_wrap=True)

    def on_progress(self, progress: Progress) -> None:
        """Redraw the bar, or print a line where there is no terminal."""
        if self._console.redraws:
            if self._live is None:
                self._live = Live(console=self._console, transient=True, auto_refresh=False, **consoles.redirections())
                self._live.start()
            self._live.update(_Bar(progress), refresh=True)
        elif time.monotonic() - self._lines_at >= consoles.PLAIN_SECONDS:
            self._lines_at = time.monotonic()
            where = (f"epoch {progress.epoch}/{progress.epochs}", f"step {progress.step}/{progress.steps}")
            self._console.print("  ".join((*where, *parts(progress).values())), soft_wrap=True)

    def on_epoch(self, row: Mapping[str, float | None], seconds_left: float) -> None:
        """Print the epoch's line, under a header where it is the first."""
        self.on_end()
        self._lines_at = time.monotonic()
        names = columns("val_loss" in row)
        if self._header_due:
            self._header_due = False
            self._console.print(aligned(names, names), style="bold", soft_wrap=True)
        self._console.print(aligned([cell(name, row, seconds_left) for name in names], names), soft_wrap=True)

    def on_message(self, text: str) -> None:
        """Print it."""
        self._console.print(f"onecycle: {text}", soft_wrap=True)

    def on_end(self) -> None:
        """Take the bar away."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def progress_of(self, title: str) -> AbstractContextManager[ProgressCallback]:
        """A bar, or a line every few seconds."""
        return step_progress(title, self._console)


@dataclass(frozen=True)
class _Bar:
    """One line, never more: on a narrow terminal the bar shrinks, then the less important parts are left out."""

    progress: Progress

    def __rich_console__(
        self, console: rich.console.Console, options: rich.console.ConsoleOptions
    ) -> rich.console.RenderResult:
        progress = self.progress
        steps, done = progress.steps_in_epoch, progress.step_in_epoch
        epoch = f"epoch {progress.epoch}/{progress.epochs}"
        count = f"{done:>{len(str(steps))}}/{steps}"
        said = parts(progress)
        least, most = _BAR_WIDTHS
        for dropped in (None, *_DROPPED):
            if dropped is not None:
                del said[dropped]
            after = f"{count} {'  '.join(said.values())}".rstrip()
            room = options.max_width - len(f"{epoch}  {after}")
            if room >= least:
                break
        else:
            yield Text(f"{epoch} {count}", no_wrap=True, overflow="crop")
            return
        grid = Table.grid(*(Column(no_wrap=True) for _ in range(3)), padding=(0, 1))
        grid.add_row(Text(epoch), ProgressBar(total=steps, completed=done, width=min(room, most)), Text(after))
        yield grid
