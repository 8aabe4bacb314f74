"""Trials on one page of their own, and as pictures."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ... import plots
from ...comparison import p_value, setting
from ...files import disk_errors, write_text
from ...plots import inline
from ...recipes import flatten
from ...reporting.making import FACTS, command
from ...reporting.rendering import render
from ...stats import Spread
from . import words
from .measured import METRICS, Metric

if TYPE_CHECKING:
    from .results import Trials

_DRAWN: dict[Metric, tuple[str, str]] = {  # the file, and what it shows
    "accuracy": ("accuracy.png", "test accuracy of every seed"),
    "train_seconds": (
        "train_seconds.png",
        "seconds of training of every seed",
    ),
}


@dataclass(frozen=True)
class _Row:
    """A run in the table: its cells, and where its report or folder is, as the page reaches it."""

    number: int
    variant: str
    seed: int
    status: str
    cells: tuple[str, ...]
    link: str
    error: str | None


def write(found: Trials, out: Path) -> Path:
    """Write the page to `out` and return its path; links to the runs are relative to it."""
    colours = [inline.run_colour(number) for number in range(len(found.variants))]
    shown = shown_metrics(found)
    headline, support = words.headline(found)
    page = render(
        "trials.html.j2",
        found=found,
        words=words,
        headline=headline,
        support=support,
        colours=dict(zip(found.variants, colours, strict=True)),
        chart=_chart(found),
        metrics=shown,
        rows=_rows(found, out, shown),
        needed_of=max((one.spread.n for one in found.table if one.metric == "accuracy"), default=0),
        recipes=_differing(found),
        p_value=p_value,
        command=command(found.plan.environment.get("argv")),
        environment=_environment(found),
        baseline=found.plan.variants[0],
    )
    write_text(out, page)
    return out


def draw(found: Trials) -> list[Path]:
    """Draw accuracy and seconds of every seed into plots/ of the folder; nothing where no trial has finished."""
    folder = found.path / "plots"
    with disk_errors(folder):
        folder.mkdir(exist_ok=True)
    written = []
    for metric, (name, what) in _DRAWN.items():
        strips = _strips(found, metric)
        if strips:
            few = len(found.variants) < 3
            title = f"{' and '.join(found.variants) if few else found.path.resolve().name}: {_seeds(found)}"
            what += "; diamond and bar: mean and its 95% interval"
            figure = plots.trials(strips, title, what, share=metric == "accuracy")
            written.append(plots.save(figure, folder / name))
    return written


def shown_metrics(found: Trials) -> list[Metric]:
    """The metrics that any of the trials has."""
    return [metric for metric in METRICS if any(one.metric == metric for one in found.table)]


def _strips(found: Trials, metric: Metric) -> list[plots.Strip]:
    rows = {one.variant: one.spread for one in found.table if one.metric == metric}
    return [
        plots.Strip(
            label,
            {one.seed: one.measured[metric] for one in found.finished if one.variant == label},
            rows[label].mean,
            *_ends(metric, rows[label]),
        )
        for label in found.variants
        if label in rows
    ]


def _ends(metric: Metric, spread: Spread) -> tuple[float | None, float | None]:
    """Of the interval, none where there is one seed."""
    low, high = (None if end is None else words.within(metric, end) for end in (spread.low, spread.high))
    return low, high


def _chart(found: Trials) -> inline.Chart | None:
    strips = _strips(found, "accuracy")
    if not strips:
        return None
    said = "; ".join(f"{one.label}: mean {100 * one.mean:.2f}% of {len(one.values)}" for one in strips)
    return inline.trials(strips, "trials-accuracy", "Test accuracy of every seed", said, share=True)


def _seeds(found: Trials) -> str:
    return "1 seed" if found.plan.seeds == 1 else f"{found.plan.seeds} seeds"


def _rows(found: Trials, out: Path, shown: list[Metric]) -> list[_Row]:
    numbers = {label: number for number, label in enumerate(found.variants)}
    rows = []
    for one in found.trials:
        report = found.path / one.path / "report.html"
        place = report if report.exists() else report.parent
        link = quote(Path(os.path.relpath(place, out.parent)).as_posix()) + ("" if report.exists() else "/")
        cells = tuple(words.value(metric, one.measured[metric]) if metric in one.measured else "" for metric in shown)
        rows.append(_Row(numbers[one.variant], one.variant, one.seed, one.status, cells, link, one.error))
    return rows


def _differing(found: Trials) -> dict[str, list[str]]:
    """The keys in which the recipes differ, with a value for each."""
    flat: list[dict[str, Any]] = [flatten(one.recipe.model_dump(mode="json")) for one in found.plan.variants]
    keys = dict.fromkeys(key for one in flat for key in one if key != "seed")
    table = {key: [setting(one.get(key)) for one in flat] for key in keys}
    return {key: values for key, values in table.items() if len(set(values)) > 1}


def _environment(found: Trials) -> dict[str, str]:
    known = found.plan.environment
    return {name: str(known[key]) for key, name in FACTS.items() if known.get(key) is not None}
