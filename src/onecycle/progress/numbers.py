"""The numbers of a training as texts, the same wherever they are shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..evaluation import percent
from ..observer import Progress
from ..recipes import Recipe
from ..run import Run

_PRECISIONS = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}


def duration(seconds: float) -> str:
    """59 s, 12:34 or 1:23:45."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return f"{hours}:{minutes:02}:{whole % 60:02}"
    return f"{minutes}:{whole % 60:02}" if minutes else f"{whole} s"


def parts(progress: Progress) -> dict[str, str]:
    """What is said of a training while it runs, in this order."""
    return {
        "loss": f"loss {progress.loss:.4f}",
        "acc": f"acc {progress.accuracy:.2%}",
        "lr": f"lr {progress.lr:.2e}",
        "images/s": f"{progress.images_per_second:,.0f} images/s",
        "left": f"{duration(progress.seconds_left)} left",
    }


def columns(held_out: bool) -> list[str]:
    """The headings of the table of epochs."""
    sets = ["train", *(["val"] if held_out else []), "test"]
    measured = [f"{name} {what}" for name in sets for what in ("loss", "acc")]
    return ["epoch", "lr", *measured, "images/s", "time", "left"]


def cell(column: str, row: Mapping[str, float | None], seconds_left: float) -> str:
    """What the table of epochs shows of a row of metrics.csv; "-" where nothing was measured."""
    if column in ("epoch", "lr"):
        return f"{row[column]:.0f}" if column == "epoch" else f"{row[column]:.2e}"
    if column == "images/s":
        return f"{row['images_per_second']:,.0f}"
    if column in ("time", "left"):
        return duration((row["train_seconds"] or 0.0) if column == "time" else seconds_left)
    value = row[column.replace(" acc", "_accuracy").replace(" loss", "_loss")]
    if value is None:
        return "-"
    return percent(value, 2) if column.endswith("acc") else f"{value:.4f}"


def aligned(texts: Iterable[str], names: Iterable[str]) -> str:
    """A line of the table; the whole of it fits into 80 characters where nothing is held out."""
    return " ".join(f"{text:>{_width(name)}}" for text, name in zip(texts, names, strict=True))


def headline(recipe: Recipe, run: Run, device: str, step: int) -> str:
    """What begins, in what precision, on what, and where it is written."""
    went_on = f", going on after step {step}" if step else ""
    how = f"{_PRECISIONS[recipe.precision]} on {device}, into {run.path}{went_on}"
    return f"{recipe.name} on {recipe.data.label}, seed {recipe.seed}: {how}"


def _width(name: str) -> int:
    return {"epoch": 5, "lr": 8}.get(name, max(len(name), 7))
