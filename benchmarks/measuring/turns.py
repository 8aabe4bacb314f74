"""Trainings over seeds, the sides in turn; what is done is kept, and not done again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from onecycle import Stopped, UserError
from onecycle.files import read_json, write_json
from onecycle.hardware import device_name
from onecycle.stats import Spread, spread

from .airbench import SOURCES
from .rates import matrix_rate
from .sides import Side, differing

RUN_COLUMNS = (
    "side",
    "seed",
    "accuracy",
    "accuracy_tta",
    "train_seconds",
    "tta_seconds",
    "seconds",
    "pflop",
    "gflops",
    "matrix_gflops",
    "share_of_matrix",
    "precision",
    "resumed",
    "hardware",
)
MEASURED = ("accuracy", "accuracy_tta", "train_seconds", "seconds")
SUMMARY_COLUMNS = (
    "side",
    "n",
    "seeds",
    *(f"{what}{part}" for what in MEASURED for part in ("", "_sd", "_low", "_high")),
    "pflop",
    "gflops",
    "share_of_matrix",
    *(f"seconds_to_{peer}{part}" for peer in SOURCES for part in ("", "_low", "_high")),
    "hardware",
)


def take_turns(
    sides: Sequence[Side],
    seeds: Sequence[int],
    folder: Path,
    device: torch.device,
    *,
    deadline: float | None = None,
    quick: bool = False,
    say: Callable[[str], None] = print,
    on_row: Callable[[], None] = lambda: None,
) -> bool:
    """Train each side with each seed; every other seed the order of the sides is turned round. Whether all is done.

    A training has a record `folder`/SIDE_sSEED.json, and its run folder beside it. One that has a record is not done
    again. At the `deadline`, of time.perf_counter, it ends: no training is begun that would take longer than what is
    left, going by the longest of that side so far, and one of ours under way is stopped and saved. A side that fails
    is left out from then on. `on_row` is called after each record. Raises UserError where a record is of other settings
    than the side's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    longest: dict[str, float] = {}
    failed: set[str] = set()
    for turn, seed in enumerate(seeds):
        for side in list(sides)[:: -1 if turn % 2 else 1]:
            record = folder / f"{side.name}_s{seed}.json"
            if side.name in failed or _is_done(record, side, device):
                continue
            if deadline is not None and time.perf_counter() + longest.get(side.name, 0.0) > deadline:
                say(f"{side.name}, seed {seed}: not begun, the time is over")
                return False
            rate = matrix_rate(device, side.precision, quick=quick)
            try:
                if side.name not in longest:
                    side.warm_up()
                begin = time.perf_counter()
                found = side.train(seed, folder / f"{side.name}_s{seed}", deadline)
                longest[side.name] = max(longest.get(side.name, 0.0), time.perf_counter() - begin)
                row = as_row(side, seed, found, rate, device)
            except Stopped as stopped:
                say(f"{side.name}, seed {seed}: {stopped}")
                return False
            except Exception as error:  # whatever a compiler or somebody else's code ends with: the others go on
                say(f"{side.name}, seed {seed}: {type(error).__name__}: {error}; left out")
                failed.add(side.name)
                continue
            write_json(record, {"description": side.description(), "row": row})
            say(in_words(row))
            on_row()
    return not failed


def as_row(side: Side, seed: int, found: Mapping[str, Any], rate: float, device: torch.device) -> dict[str, Any]:
    """A training's line. GFLOP/s are those of training alone where its time is known apart."""
    pflop = side.pflop()
    gflops = None if pflop is None else 1e6 * pflop / (found["train_seconds"] or found["seconds"])
    return {
        "side": side.name,
        "seed": seed,
        **found,
        "pflop": pflop,
        "gflops": gflops,
        "matrix_gflops": rate,
        "share_of_matrix": None if gflops is None else gflops / rate,
        "precision": side.precision,
        "hardware": device_name(device),
    }


def rows(folder: Path) -> list[dict[str, Any]]:
    """All trainings that have a record, by side and seed, rounded for a table."""
    found = [read_json(path)["row"] for path in folder.glob("*_s*.json")]
    found.sort(key=lambda row: (row["side"], row["seed"]))
    return [rounded(row) for row in found]


def summaries(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A line for each side; ratios of seconds are taken seed by seed with the peers, where both have the seed."""
    by_side: dict[str, list[Mapping[str, Any]]] = {}
    for row in runs:
        by_side.setdefault(row["side"], []).append(row)
    return [rounded(_summary(own, by_side)) for own in by_side.values()]


def in_words(row: Mapping[str, Any]) -> str:
    """A training's line for people."""
    accuracy = f"{100 * row['accuracy']:.2f}%"
    if row["accuracy_tta"] is not None:
        accuracy += f", {100 * row['accuracy_tta']:.2f}% with test-time augmentation"
    rate = ""
    if row["gflops"] is not None:
        rate = f"; {row['pflop']:.3g} PFLOP at {row['gflops']:.0f} GFLOP/s"
        rate += f", {row['share_of_matrix']:.2f} of the matrix rate"
    return f"{row['side']}, seed {row['seed']}: {accuracy}; {row['seconds']:.2f} s{rate}"


def rounded(row: Mapping[str, Any]) -> dict[str, Any]:
    """Six digits are more than is known of any of it."""
    return {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in row.items()}


def _summary(own: list[Mapping[str, Any]], by_side: Mapping[str, list[Mapping[str, Any]]]) -> dict[str, Any]:
    line: dict[str, Any] = {"side": own[0]["side"], "n": len(own), "seeds": " ".join(str(row["seed"]) for row in own)}
    for what in MEASURED:
        line |= _columns(what, [row[what] for row in own if row[what] is not None], ("", "_sd", "_low", "_high"))
    for what in ("pflop", "gflops", "share_of_matrix"):
        values = [row[what] for row in own if row[what] is not None]
        line[what] = spread(values).mean if values else None
    for peer in SOURCES:
        theirs = {row["seed"]: row["seconds"] for row in by_side.get(peer, [])}
        ratios = [row["seconds"] / theirs[row["seed"]] for row in own if row["seed"] in theirs]
        line |= _columns(f"seconds_to_{peer}", [] if peer == line["side"] else ratios, ("", "_low", "_high"))
    return line | {"hardware": own[0]["hardware"]}


def _columns(what: str, values: Sequence[float], parts: Sequence[str]) -> dict[str, float | None]:
    found = spread(values) if values else Spread(0, 0.0, None, None, None)
    of_part = {
        "": found.mean if values else None,
        "_sd": found.deviation,
        "_low": found.low,
        "_high": found.high,
    }
    return {f"{what}{part}": of_part[part] for part in parts}


def _is_done(record: Path, side: Side, device: torch.device) -> bool:
    if not record.exists():
        return False
    stored = read_json(record)
    keys = differing(stored["description"], side.description())
    if stored["row"]["hardware"] != device_name(device):
        keys = [*keys, "hardware"]
    if keys:
        raise UserError(f"{record}: of other settings ({', '.join(keys)} differ); remove it, or name another folder")
    return True
