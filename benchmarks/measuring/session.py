"""How the benchmarks of speed begin and end: is the machine idle, and where is what was measured kept."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from onecycle.hardware import device_name, environment

from .hardware import hardware_slug
from .settings import CPU
from .table import keep

IDLE_LOAD = 0.5


def begin(*facts: str) -> tuple[Console, float]:
    """Say what is measured on; the console, and the machine's load."""
    console = Console(width=None if sys.stdout.isatty() else 180, highlight=False)
    load = os.getloadavg()[0]
    console.print("; ".join([device_name(CPU), *facts, f"load {load:.1f}"]))
    if load > IDLE_LOAD:
        console.print("Something else runs on this machine, or did a moment ago: it may be faster than this.")
    return console, load


def end(console: Console, name: str, folder: Path | None, table: list[dict[str, Any]], record: dict[str, Any]) -> None:
    """Keep the table as `name`_HARDWARE.csv in the folder, and all that it comes from beside it; say so."""
    if folder is None:
        console.print("Not kept, as this was not the whole of it; --out DIR keeps it there.")
        return
    path = folder / f"{name}_{hardware_slug(CPU)}"
    keep(path, table, {"environment": environment(CPU), **record})
    console.print(f"Kept: {path}.csv and .json", soft_wrap=True)
