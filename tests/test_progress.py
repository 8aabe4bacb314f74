"""Progress as terminals and pipes show it."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from progress_samples import AT, NAME, ODD, ROW
from rich.console import Console

import onecycle.progress.console as module
import onecycle.progress.terminal as terminal_module
from onecycle import Run, TerminalObserver, recipe
from onecycle.observer import Progress
from onecycle.progress import (
    default_observer,
    download_progress,
    duration,
    print_data_info,
    print_end,
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def drawn(self) -> list[str]:
        """What stood on the lines, each time that one was drawn."""
        return [line for line in re.split(r"[\r\n]+", plain(self.getvalue())) if line]


class Broken(io.StringIO):
    """A pipe whose reader has left."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


class BrokenTerminal(Broken):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(module, "PLAIN_SECONDS", 0.0)


@pytest.fixture(params=[io.StringIO, Terminal])
def file(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    yield request.param()


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def whole_training(observer: TerminalObserver) -> None:
    observer.on_start(recipe("digits").evolve(name=NAME, precision="fp32"), Run(Path(ODD)), "the CPU", 0)
    observer.on_progress(AT)
    observer.on_message(f"{ODD} is odd")
    observer.on_progress(AT)
    observer.on_epoch(ROW, 754.0)
    observer.on_progress(AT)
    observer.on_end()


def summary() -> dict[str, Any]:
    test = {"accuracy": 0.9412, "accuracy_tta": 0.95, "images": 10000}
    return {"test": test, "epochs": 24, "train_seconds": 61.0, "images_per_second": 12345.0}


def test_names_and_paths_are_printed_as_they_are(file: io.StringIO) -> None:
    whole_training(TerminalObserver(file))
    lines = plain(file.getvalue())
    assert f"{NAME} on digits, seed 0: float32 on the CPU, into {ODD}\n" in lines
    assert f"onecycle: {ODD} is odd\n" in lines


def test_the_end_names_paths_as_they_are_and_is_bold_in_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    print_end(Run(Path(ODD)), summary())
    first, second = terminal.getvalue().splitlines()
    assert first.startswith("\x1b[1m94.12%\x1b[0m of 10,000 test images (95.00% with test-time augmentation) after 24")
    assert "\x1b" not in first.partition(" of ")[2]
    assert second.startswith(f"wrote {ODD}/summary.json, {ODD}/metrics.csv, ")


def test_the_end_has_no_escape_codes_in_a_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    print_end(Run(Path("runs/demo")), summary())
    out, err = capsys.readouterr()
    assert out.startswith("94.12% of 10,000 test images")
    assert "\x1b" not in out
    assert err == ""


def test_the_table_of_a_data_set_names_classes_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    part = {"image_size": 32, "images": 9, "classes": {ODD: 9}, "mean": [0.5] * 3, "std": [0.25] * 3}
    print_data_info(ODD, {"train[/b]": part, ":rocket:": part})
    out = capsys.readouterr().out
    assert out.count(ODD) == 2
    assert "train[/b]" in out
    assert ":rocket:" in out.splitlines()[1]


@pytest.mark.parametrize("kind", [Broken, BrokenTerminal])
def test_a_reader_who_left_ends_no_training(kind: type[Broken]) -> None:
    whole_training(TerminalObserver(kind()))


def test_a_stream_whose_reader_left_can_still_be_flushed_and_closed() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as file:  # noqa: PTH123
        whole_training(TerminalObserver(file))
        file.write("and more")
        file.flush()


def test_a_broken_stdout_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Broken())
    print_end(Run(Path("runs/demo")), summary())


@pytest.mark.parametrize("kind", [Broken, BrokenTerminal])
def test_a_broken_stderr_ends_no_download(kind: type[Broken], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", kind())
    with download_progress("cifar10") as report:
        report(1, None)
        report(10, 10)


@pytest.mark.parametrize(
    "progress",
    [
        AT,
        replace(AT, step=1, epoch=1, loss=float("nan"), seconds_left=100_000.0, images_per_second=1.0),
        replace(AT, step=2_352_000, steps=2_352_000, epoch=24, accuracy=1.0),
    ],
)
@pytest.mark.parametrize("colour", [True, False])
def test_the_bar_is_one_line_that_fits(progress: Progress, colour: bool) -> None:
    for width in range(1, 130):
        system = "standard" if colour else None
        console = Console(width=width, force_terminal=True, file=io.StringIO(), color_system=system)
        lines = console.render_lines(terminal_module._Bar(progress), pad=False)
        assert len(lines) == 1, width
        text = "".join(segment.text for segment in lines[0])
        assert len(text) <= width
        if width >= 40:
            assert f"epoch {progress.epoch}/24 " in text
        if width >= 80:
            assert f"loss {progress.loss:.4f}" in text
            assert f"acc {progress.accuracy:.2%}" in text


@pytest.mark.parametrize(
    "width, shown",
    [
        (120, "epoch 13/24 " + 24 * "━" + " 24/98 loss 1.2346  acc 45.67%  lr 1.23e-01  12,346 images/s  12:34 left"),
        (90, "epoch 13/24 " + 23 * "━" + " 24/98 loss 1.2346  acc 45.67%  lr 1.23e-01  12:34 left"),
        (80, "epoch 13/24 " + 13 * "━" + " 24/98 loss 1.2346  acc 45.67%  lr 1.23e-01  12:34 left"),
        (60, "epoch 13/24 " + 18 * "━" + " 24/98 loss 1.2346  acc 45.67%"),
        (40, "epoch 13/24 " + 10 * "━" + " 24/98 loss 1.2346"),
    ],
)
def test_the_parts_of_the_bar(width: int, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    terminal = Terminal()
    observer = TerminalObserver(terminal)
    observer.on_progress(AT)
    observer.on_progress(AT)
    observer.on_end()
    lines = terminal.drawn()
    assert len(lines) >= 2
    assert len(set(lines)) == 1
    assert re.sub("[╸╺]", "━", lines[0].rstrip()) == shown
    assert len(lines[0]) <= width


def test_a_bar_leaves_alone_what_is_printed_into_a_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    observer = TerminalObserver()
    observer.on_progress(AT)
    print("to the pipe")
    print("to the terminal", file=sys.stderr)
    observer.on_end()
    assert sys.stderr is terminal
    assert capsys.readouterr().out == "to the pipe\n"
    assert "to the terminal" in terminal.drawn()


@pytest.mark.parametrize(
    "kind, name, value",
    [
        (io.StringIO, "FORCE_COLOR", "1"),
        (io.StringIO, "TTY_COMPATIBLE", "1"),
        (io.StringIO, "TERM", "dumb"),
        (Terminal, "TERM", "dumb"),
    ],
)
def test_plain_lines_where_nothing_can_be_redrawn(
    kind: type[io.StringIO], name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    file = kind()
    whole_training(TerminalObserver(file))
    text = file.getvalue()
    assert "\x1b" not in text
    assert "\r" not in text
    line = "epoch 13/24  step 1200/2352  loss 1.2346  acc 45.67%  lr 1.23e-01  12,346 images/s  12:34 left\n"
    assert text.count(line) == 3


def test_plain_lines_keep_their_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PLAIN_SECONDS", 1000.0)
    file = io.StringIO()
    observer = TerminalObserver(file)
    observer.on_progress(AT)
    observer.on_progress(AT)
    assert file.getvalue() == ""


def test_a_closed_stream_is_no_terminal() -> None:
    file = io.StringIO()
    file.close()
    assert not module.is_terminal_file(file)
    assert not module.is_terminal_file(None)


def test_the_table_of_epochs_fits_into_80_columns() -> None:
    file = io.StringIO()
    TerminalObserver(file).on_epoch(ROW, 754.0)
    header, row = file.getvalue().splitlines()
    assert len(header) == len(row) <= 80
    assert row.split() == ["13", "1.00e-01", "1.2000", "50.00%", "-", "-", "12,345", "1:01", "12:34"]


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_a_download_is_one_line(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with download_progress("cifar[/b]") as report:
        report(1_000_000, None)
        report(100_500_000, 170_500_000)
        report(170_500_000, 170_500_000)
    assert "\x1b[1A" not in terminal.getvalue().removesuffix("\x1b[1A\x1b[2K")  # no line above the first but at the end
    lines = terminal.drawn()
    assert lines
    assert all(len(line) <= width and line.startswith("cifar[/b] ") for line in lines)


def test_a_download_into_a_pipe(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with download_progress(ODD) as report:
        report(1_000_000, None)
        report(2_000_000, 2_000_000)
    assert capsys.readouterr().err == f"{ODD}: 1.0 MB\n{ODD}: 2.0 of 2.0 MB\n"


@pytest.mark.parametrize(
    "seconds, shown",
    [
        (0.0, "0 s"),
        (59.0, "59 s"),
        (59.4, "59 s"),
        (59.6, "1:00"),
        (60.0, "1:00"),
        (754.0, "12:34"),
        (3599.0, "59:59"),
        (3600.0, "1:00:00"),
        (5025.0, "1:23:45"),
    ],
)
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_steps_are_one_line(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with default_observer().progress_of("learning-[b]rate range test") as say:
        for done in (1, 150, 300):
            say(done, 300, "lr 1.00e-02  loss [b]1")
    lines = terminal.drawn()
    assert lines
    assert all(len(line) <= width and line.startswith("learning-[b]rate") for line in lines)
    if width >= 80:
        assert any("300/300 lr 1.00e-02  loss [b]1" in line for line in lines)


def test_steps_in_a_pipe(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with default_observer().progress_of(ODD) as say:
        say(1, 3, "loss 2")
        monkeypatch.setattr(module, "PLAIN_SECONDS", 1000.0)
        say(2, 3, "loss 1")
        say(3, 3, "loss 0")
    assert capsys.readouterr().err == f"{ODD}: 1/3  loss 2\n{ODD}: 3/3  loss 0\n"
