"""The tables of trainings over seeds: kept as files, and printed."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from onecycle.files import write_csv, write_json
from onecycle.hardware import environment

from .airbench import SOURCES
from .turns import RUN_COLUMNS, SUMMARY_COLUMNS, summaries


def keep_runs(path: Path, runs: Sequence[Mapping[str, Any]], device: torch.device, **more: Any) -> None:
    """Write `path`.csv, a row a training, `path`_summary.csv, a row a side, and `path`.json with the environment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_csv(path.with_name(f"{path.name}.csv"), runs, RUN_COLUMNS)
    write_csv(path.with_name(f"{path.name}_summary.csv"), summaries(runs), SUMMARY_COLUMNS)
    write_json(path.with_name(f"{path.name}.json"), {"environment": environment(device), **more, "runs": list(runs)})


def report_console() -> Console:
    """Wide enough for the table where it is no terminal."""
    return Console(width=None if sys.stdout.isatty() else 180, highlight=False)


def summary_table(lines: Sequence[Mapping[str, Any]]) -> Table:
    """The same for people."""
    caption = "mean (standard deviation; 95% interval of the mean); ratios are of seconds, seed by seed"
    shown = Table(title="Accuracy and time", caption=caption)
    peers = [peer for peer in SOURCES if any(line[f"seconds_to_{peer}"] is not None for line in lines)]
    words = ("side", "n", "accuracy %", "with TTA %", "seconds", "PFLOP", "GFLOP/s", "of matrix rate")
    for word in (*words, *(f"to {peer}" for peer in peers)):
        shown.add_column(word, justify="left" if word == "side" else "right")
    for line in lines:
        shown.add_row(
            line["side"],
            str(line["n"]),
            _with_spread(line, "accuracy", 100, 2),
            _with_spread(line, "accuracy_tta", 100, 2),
            _with_spread(line, "seconds", 1, 2),
            *(_number(line[what], digits) for what, digits in (("pflop", 3), ("gflops", 0), ("share_of_matrix", 2))),
            *(_with_spread(line, f"seconds_to_{peer}", 1, 3) for peer in peers),
        )
    return shown


def _with_spread(line: Mapping[str, Any], what: str, factor: float, digits: int) -> str:
    text = _number(line[what], digits, factor)
    if line[f"{what}_low"] is None:
        return text
    inside = f"{_number(line[f'{what}_low'], digits, factor)} to {_number(line[f'{what}_high'], digits, factor)}"
    deviation = line.get(f"{what}_sd")
    return f"{text} ({inside})" if deviation is None else f"{text} ({_number(deviation, digits, factor)}; {inside})"


def _number(value: float | None, digits: int, factor: float = 1) -> str:
    return "" if value is None else f"{factor * value:,.{digits}f}"
