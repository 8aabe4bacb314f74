"""A training on the terminal: one line an epoch, and a bar that is redrawn by time while it runs."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any, TypedDict

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as BarsProgress
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from .observer import Observer, Progress
from .recipes import Recipe
from .run import Run

_PRECISIONS = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
PLAIN_SECONDS = 10.0  # between lines where there is no terminal to redraw
_BAR_WIDTHS = (8, 24)  # the least and the most
_DROPPED = ("images/s", "lr", "left", "acc", "loss")  # of the bar's line where it is too long, the first one first


class _Console(Console):
    """Prints names as they are, and falls silent where its reader has left: no training ends because of that."""

    def __init__(self, file: IO[str] | None = None, *, stderr: bool = False) -> None:
        super().__init__(file=file, stderr=stderr, markup=False, emoji=False, highlight=False)

    @property
    def is_terminal(self) -> bool:
        """Whether it is one: FORCE_COLOR alone, which is enough for rich, makes no file one."""
        return super().is_terminal and _is_terminal(self.file)

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


def _is_terminal(file: object) -> bool:
    isatty: Callable[[], bool] | None = getattr(file, "isatty", None)
    try:
        return isatty is not None and isatty()
    except ValueError:  # it is closed
        return False


class _Redirections(TypedDict):
    """Which streams a live bar takes over, so as to print above itself."""

    redirect_stdout: bool
    redirect_stderr: bool


def _redirections() -> _Redirections:
    """Terminals only: what is printed into a file or a pipe must arrive there."""
    return {"redirect_stdout": _is_terminal(sys.stdout), "redirect_stderr": _is_terminal(sys.stderr)}


class TerminalObserver(Observer):
    """Prints to `file` (stderr by default): a live bar on a terminal, plain lines every few seconds elsewhere."""

    def __init__(self, file: IO[str] | None = None) -> None:
        self._console = _Console(file, stderr=True)
        self._live: Live | None = None
        self._lines_at = time.monotonic()
        self._header_due = True
        self._held_out = False

    def on_start(self, recipe: Recipe, run: Run, device: str, step: int) -> None:
        """Say what begins, in what precision and on what."""
        self._held_out = recipe.data.val_fraction > 0
        self._header_due = True
        went_on = f", going on after step {step}" if step else ""
        how = f"{_PRECISIONS[recipe.precision]} on {device}, into {run.path}{went_on}"
        self._console.print(f"{recipe.name} on {recipe.data.name}, seed {recipe.seed}: {how}", soft_wrap=True)

    def on_progress(self, progress: Progress) -> None:
        """Redraw the bar, or print a line where there is no terminal."""
        if self._console.redraws:
            if self._live is None:
                self._live = Live(console=self._console, transient=True, auto_refresh=False, **_redirections())
                self._live.start()
            self._live.update(_Bar(progress), refresh=True)
        elif time.monotonic() - self._lines_at >= PLAIN_SECONDS:
            self._lines_at = time.monotonic()
            self._console.print(_line(progress), soft_wrap=True)

    def on_epoch(self, row: Mapping[str, float | None], seconds_left: float) -> None:
        """Print the epoch's line, under a header where it is the first."""
        self.on_end()
        self._lines_at = time.monotonic()
        if self._header_due:
            self._header_due = False
            self._console.print(_header(self._held_out), style="bold", soft_wrap=True)
        self._console.print(_row(row, seconds_left, self._held_out), soft_wrap=True)

    def on_message(self, text: str) -> None:
        """Print it."""
        self._console.print(f"onecycle: {text}", soft_wrap=True)

    def on_end(self) -> None:
        """Take the bar away."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def duration(seconds: float) -> str:
    """59 s, 12:34 or 1:23:45."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return f"{hours}:{minutes:02}:{whole % 60:02}"
    return f"{minutes}:{whole % 60:02}" if minutes else f"{whole} s"


@dataclass(frozen=True)
class _Bar:
    """One line, never more: on a narrow terminal the bar shrinks, then the less important parts are left out."""

    progress: Progress

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        progress = self.progress
        steps = progress.steps // progress.epochs
        done = progress.step - (progress.epoch - 1) * steps
        epoch = f"epoch {progress.epoch}/{progress.epochs}"
        count = f"{done:>{len(str(steps))}}/{steps}"
        parts = _parts(progress)
        least, most = _BAR_WIDTHS
        for dropped in (None, *_DROPPED):
            if dropped is not None:
                del parts[dropped]
            after = f"{count} {'  '.join(parts.values())}".rstrip()
            room = options.max_width - len(f"{epoch}  {after}")
            if room >= least:
                break
        else:
            yield Text(f"{epoch} {count}", no_wrap=True, overflow="crop")
            return
        grid = Table.grid(*(Column(no_wrap=True) for _ in range(3)), padding=(0, 1))
        grid.add_row(Text(epoch), ProgressBar(total=steps, completed=done, width=min(room, most)), Text(after))
        yield grid


def _parts(progress: Progress) -> dict[str, str]:
    """What is said of a training while it runs, in this order."""
    return {
        "loss": f"loss {progress.loss:.4f}",
        "acc": f"acc {progress.accuracy:.2%}",
        "lr": f"lr {progress.lr:.2e}",
        "images/s": f"{progress.images_per_second:,.0f} images/s",
        "left": f"{duration(progress.seconds_left)} left",
    }


def _line(progress: Progress) -> str:
    where = (f"epoch {progress.epoch}/{progress.epochs}", f"step {progress.step}/{progress.steps}")
    return "  ".join((*where, *_parts(progress).values()))


def _columns(held_out: bool) -> list[str]:
    sets = ["train", *(["val"] if held_out else []), "test"]
    measured = [f"{name} {what}" for name in sets for what in ("loss", "acc")]
    return ["epoch", "lr", *measured, "images/s", "time", "left"]


def _header(held_out: bool) -> str:
    return " ".join(f"{name:>{_width(name)}}" for name in _columns(held_out))


def _row(row: Mapping[str, float | None], seconds_left: float, held_out: bool) -> str:
    def shown(name: str) -> str:
        if name in ("epoch", "lr"):
            return f"{row[name]:.0f}" if name == "epoch" else f"{row[name]:.2e}"
        if name == "images/s":
            return f"{row['images_per_second']:,.0f}"
        if name in ("time", "left"):
            return duration((row["train_seconds"] or 0.0) if name == "time" else seconds_left)
        value = row[name.replace(" acc", "_accuracy").replace(" loss", "_loss")]
        if value is None:
            return "-"
        return f"{value:.2%}" if name.endswith("acc") else f"{value:.4f}"

    return " ".join(f"{shown(name):>{_width(name)}}" for name in _columns(held_out))


def _width(name: str) -> int:
    """Columns of a table that fits into 80 characters where nothing is held out."""
    return {"epoch": 5, "lr": 8}.get(name, max(len(name), 7))


@contextlib.contextmanager
def download_progress(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """A function that is told (bytes so far, bytes in all); a bar on a terminal, a line every few seconds elsewhere."""
    console = _Console(stderr=True)
    if not console.redraws:
        said_at = time.monotonic() - PLAIN_SECONDS

        def say(done: int, total: int | None) -> None:
            nonlocal said_at
            if time.monotonic() - said_at >= PLAIN_SECONDS or done == total:
                said_at = time.monotonic()
                of = f" of {total / 1e6:.1f}" if total else ""
                console.print(f"{name}: {done / 1e6:.1f}{of} MB", soft_wrap=True)

        yield say
        return
    one_line = Column(no_wrap=True)
    wide = console.width >= 80
    columns = [
        TextColumn("{task.description}", markup=False, table_column=one_line),
        BarColumn(_BAR_WIDTHS[wide], table_column=one_line),
        DownloadColumn(table_column=one_line),
    ]
    if wide:
        columns += [TransferSpeedColumn(table_column=one_line), TimeRemainingColumn(table_column=one_line)]
    with BarsProgress(*columns, console=console, transient=True, **_redirections()) as bars:
        task = bars.add_task(name, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def print_data_info(name: str, parts: Mapping[str, Mapping[str, Any]]) -> None:
    """Counts, classes and channel statistics of the sets in `parts` as a table on stdout."""
    table = Table(
        title=f"{name}, {next(iter(parts.values()))['image_size']} pixels a side", title_justify="left", box=None
    )
    table.add_column("class")
    for part in parts:
        table.add_column(part, justify="right")
    for one in next(iter(parts.values()))["classes"]:
        table.add_row(one, *(f"{part['classes'][one]:,}" for part in parts.values()))
    table.add_row("images", *(f"{part['images']:,}" for part in parts.values()), style="bold")
    for what in ("mean", "std"):
        for channel, colour in enumerate(("red", "green", "blue")):
            table.add_row(f"{what}, {colour}", *(f"{part[what][channel]:.4f}" for part in parts.values()))
    _Console().print(table)


def print_end(run: Run, summary: Mapping[str, Any]) -> None:
    """The result in one line, and what was written where."""
    console = _Console()
    test = summary["test"]
    tta = f" ({test['accuracy_tta']:.2%} with test-time augmentation)" if "accuracy_tta" in test else ""
    rest = (
        f" of {test['images']:,} test images{tta} after {summary['epochs']} epochs, "
        f"{duration(summary['train_seconds'])} of training at {summary['images_per_second']:,.0f} images/s"
    )
    console.print(Text.assemble((f"{test['accuracy']:.2%}", "bold"), rest), soft_wrap=True)
    written = [
        f"{run.path}/{name}" for name in ("summary.json", "metrics.csv", "model.safetensors", "plots/curves.png")
    ]
    console.print("wrote " + ", ".join(written), soft_wrap=True)
