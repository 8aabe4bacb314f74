"""From samples to the table that is printed and kept."""

from __future__ import annotations

import csv
import itertools
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from .settings import PRECISION, Samples


@dataclass(frozen=True)
class Row:
    """A line of the table, before it has samples; `reference` names the row that it is compared with."""

    name: str
    what: str
    unit: str
    reference: str = ""
    bar: float | None = None
    aim: float | None = None
    less_is_better: bool = False


ROWS = (
    Row("matmul_fp32", "matrix product, float32", "GFLOP/s"),
    Row("matmul_bf16", "matrix product, bfloat16", "GFLOP/s", "matmul_fp32"),
    Row("train_gflops", "training: our loop, of the matrix product", "GFLOP/s", "matmul_beside_training", 0.85, 0.95),
    Row("matmul_beside_training", f"matrix product, {PRECISION}, before each round of training", "GFLOP/s"),
    Row("train", "training: our loop", "images/s", "train_usual", 2.4, 2.7),
    Row("train_usual", "training: the usual way", "images/s"),
    Row("loop", "compact net: our loop", "ms/step", "loop_bare", 1.05, 1.02, less_is_better=True),
    Row("loop_beside_augmented", "the same, beside bare + augmentation", "ms/step", "loop_bare_augmented"),
    Row("loop_bare", "compact net: bare step on one batch", "ms/step"),
    Row("loop_bare_augmented", "compact net: bare step + our augmentation", "ms/step"),
    Row("augment_zeros_bf16", "augmentation: zeros, bfloat16", "images/s", "", 60_000, 150_000),
    Row("augment_reflect_bf16", "augmentation: reflect, bfloat16", "images/s", "", 60_000, 150_000),
    Row("augment_zeros_fp32", "augmentation: zeros, float32", "images/s", "", 60_000, 150_000),
    Row("augment_reflect_fp32", "augmentation: reflect, float32", "images/s", "", 60_000, 150_000),
    Row("augment_usual", "augmentation: albumentations, two workers", "images/s", "augment_zeros_fp32"),
    Row("memory", "training: peak memory of the process", "MiB"),
    Row("startup_help", "onecycle --help", "s", "", 0.4, 0.2, less_is_better=True),
    Row("startup_import", "import onecycle", "s", "", 0.15, 0.05, less_is_better=True),
)
CAPTION = "median (least to most), a ratio's over the rounds; bar and aim are meant for the ratio where there is one"


def results(samples: Samples, rows: Sequence[Row] = ROWS) -> list[dict[str, Any]]:
    """The rows that have samples, as they go into the CSV."""
    table = []
    for row in rows:
        if not samples.get(row.name):
            continue
        values = list(itertools.chain.from_iterable(samples[row.name]))
        numbers = {
            "value": statistics.median(values),
            "unit": row.unit,
            "min": min(values),
            "max": max(values),
            "n": len(values),
        }
        ratio = compared(samples[row.name], samples.get(row.reference, []))
        line = {"name": row.name, **numbers, "reference": row.reference, **ratio, "bar": row.bar, "aim": row.aim}
        table.append({key: float(f"{value:.5g}") if isinstance(value, float) else value for key, value in line.items()})
    return table


def compared(rounds: list[list[float]], others: list[list[float]]) -> dict[str, float | None]:
    """The median of the ratios of the rounds, and their range; all None where there is nothing to compare with.

    A ratio within a round, as the load of a shared machine changes more between rounds than the sides differ.
    """
    # One side may have taken part in the first rounds alone.
    ratios = [statistics.median(ours) / statistics.median(theirs) for ours, theirs in zip(rounds, others, strict=False)]
    if not ratios:
        return {"ratio": None, "ratio_min": None, "ratio_max": None}
    return {"ratio": statistics.median(ratios), "ratio_min": min(ratios), "ratio_max": max(ratios)}


def rendered(table: list[dict[str, Any]], title: str, rows: Sequence[Row] = ROWS) -> Table:
    """The same for people."""
    shown = Table(title=title, caption=CAPTION)
    for column in ("", "value", "unit", "n", "ratio", "bar", "aim", "reached"):
        shown.add_column(column, justify="left" if column in ("", "unit", "reached") else "right")
    named = {row.name: row for row in rows}
    for line in table:
        row = named[line["name"]]
        spread = f" ({_short(line['min'])} to {_short(line['max'])})" if line["n"] > 1 else ""
        ratio = "" if line["ratio"] is None else _ratio(line)
        limits = [_short(limit) if limit else "" for limit in (row.bar, row.aim)]
        numbers = [_short(line["value"]) + spread, row.unit, str(line["n"]), ratio, *limits]
        shown.add_row(row.what, *numbers, reached(row, line))
    return shown


def reached(row: Row, line: dict[str, Any]) -> str:
    """The better one of bar and aim that the line reaches."""
    measured = line["ratio"] if row.reference else line["value"]
    if row.bar is None or row.aim is None or measured is None:
        return ""
    bar, aim = (measured <= limit if row.less_is_better else measured >= limit for limit in (row.bar, row.aim))
    return "aim" if aim else "bar" if bar else "no"


def keep(path: Path, table: list[dict[str, Any]], record: dict[str, Any]) -> None:
    """Write the table to `path`.csv, and all that it comes from to `path`.json."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    path.with_name(f"{path.name}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _ratio(line: dict[str, Any]) -> str:
    return f"{line['ratio']:.3f} ({line['ratio_min']:.3f} to {line['ratio_max']:.3f}) x {line['reference']}"


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
