"""Results on stdout."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Column, Table
from rich.text import Text

from ..evaluation import percent
from ..run import Run
from .console import Console
from .numbers import duration

if TYPE_CHECKING:
    from ..lr_range import LrRange


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
    Console().print(table)


def print_end(run: Run, summary: Mapping[str, Any]) -> None:
    """The result in one line, and what was written where."""
    console = Console()
    test = summary["test"]
    tta = f" ({percent(test['accuracy_tta'], 2)} with test-time augmentation)" if "accuracy_tta" in test else ""
    rest = (
        f" of {test['images']:,} test images{tta} after {summary['epochs']} epochs, "
        f"{duration(summary['train_seconds'])} of training at {summary['images_per_second']:,.0f} images/s"
    )
    console.print(Text.assemble((percent(test["accuracy"], 2), "bold"), rest), soft_wrap=True)
    names = ["summary.json", "metrics.csv", "model.safetensors"]
    if any(run.path.glob("plots/*.png")):
        names.append("plots/*.png")
    console.print("wrote " + ", ".join(f"{run.path}/{name}" for name in names), soft_wrap=True)
    if (run.path / "report.html").exists():
        console.print(f"all there is to see: {run.path}/report.html", soft_wrap=True)


def print_lr_range(found: LrRange, folder: Path, data_dir: Path | None = None) -> None:
    """What was chosen, what every rule says of every sweep, where it was written, and what trains with it."""
    console = Console()
    names, rows = found.table
    table = Table(names[0], *(Column(name, justify="right") for name in names[1:]), box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row, style="bold" if row[0] not in found.suggestions else "")  # marked as chosen
    console.print(table)
    console.print(Text(f"lr_min {found.lr_min:.3g}, lr_max {found.lr_max:.3g}", "bold"))
    written = ", ".join(f"{folder}/{name}" for name in ("lr_range.json", "plots/lr_range.png", "recipe.yaml"))
    train = shlex.join(
        ["onecycle", "train", f"{folder}/recipe.yaml", *(["--data-dir", str(data_dir)] * bool(data_dir))]
    )
    console.print(f"wrote {written}; train with: {train}", soft_wrap=True)
