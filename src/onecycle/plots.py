"""Every drawing. matplotlib is imported here alone, and without its global state."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from .errors import UserError
from .files import atomic_path

BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#555555"  # Okabe and Ito: safe for the colour-blind
_FORMATS = (".png", ".svg", ".pdf", ".jpg")
_COLOURS = {"train": BLUE, "test": ORANGE, "val": GREEN}
_NAMES = {"train": "training", "test": "test", "val": "held out"}


def curves(metrics: Sequence[dict[str, float]], steps: Sequence[dict[str, float]], title: str) -> Figure:
    """Accuracy, loss and learning rate side by side on one axis of epochs.

    The training loss includes label smoothing where the recipe has it; the others never do.
    """
    figure = Figure(figsize=(15, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.01, ha="left", fontsize=13)
    accuracy, loss, lr = figure.subplots(1, 3)
    _style(accuracy, "accuracy")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1.0))
    _lines(accuracy, metrics, "accuracy", "{:.2%}")
    _style(loss, "cross-entropy, nats")
    _lines(loss, metrics, "loss", "{:.3f}")
    loss.set_ylim(bottom=0)
    _style(lr, "learning rate of each step")
    _learning_rate(lr, steps, epochs=metrics[-1]["epoch"])
    return figure


def augmentation_grid(
    originals: NDArray[np.uint8], augmented: NDArray[np.uint8], labels: Sequence[str], title: str
) -> Figure:
    """Originals [n, h, w, 3] in the first column, k augmentations of each [n, k, h, w, 3] beside them."""
    rows, columns = augmented.shape[0], augmented.shape[1] + 1
    figure = Figure(figsize=(0.95 * columns + 1.0, 0.98 * rows + 0.75), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=12)
    grid = figure.subplots(rows, columns, squeeze=False)
    for row in range(rows):
        for column in range(columns):
            axes = grid[row, column]
            image = originals[row] if column == 0 else augmented[row, column - 1]
            axes.imshow(image, interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
        grid[row, 0].set_ylabel(labels[row], rotation=0, ha="right", va="center", fontsize=10)
    grid[0, 0].set_title("original", fontsize=10, color=GREY)
    grid[0, 1].set_title("augmented", fontsize=10, color=GREY, loc="left")
    return figure


def save(figure: Figure, path: Path) -> Path:
    """Write a figure atomically, as its ending says; 144 dots an inch. Raises UserError on an unknown ending."""
    if path.suffix not in _FORMATS:
        raise UserError(f"{path}: {path.suffix or 'no'} ending that says the format; one of {', '.join(_FORMATS)}")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:], dpi=144)
    return path


def _style(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, color=GREY)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


def _lines(axes: Axes, metrics: Sequence[dict[str, float]], what: str, form: str) -> None:
    ends: list[tuple[float, str, str]] = []
    for name, colour in _COLOURS.items():
        points = [(row["epoch"], row[f"{name}_{what}"]) for row in metrics if f"{name}_{what}" in row]
        if points:
            epochs, values = zip(*points, strict=True)
            axes.plot(epochs, values, color=colour, marker="o", markersize=3)
            ends.append((values[-1], f"{_NAMES[name]}\n{form.format(values[-1])}", colour))
    last = metrics[-1]["epoch"]
    axes.set_xlim(0, last * 1.02)
    _label_ends(axes, last, ends)


def _learning_rate(axes: Axes, steps: Sequence[dict[str, float]], epochs: float) -> None:
    steps_per_epoch = steps[-1]["step"] / epochs
    at = [row["step"] / steps_per_epoch for row in steps]
    rates = [row["lr"] for row in steps]
    axes.plot(at, rates, color=BLUE)
    axes.set_xlim(0, epochs * 1.02)
    axes.set_ylim(0, max(rates) * 1.15 or 1)
    peak = int(np.argmax(rates))
    place = (at[peak], rates[peak])
    text = f"{rates[peak]:.3g} at epoch {at[peak]:.3g}"
    axes.annotate(text, place, xytext=(0, 6), textcoords="offset points", ha="center", color=GREY)


def _label_ends(axes: Axes, last: float, ends: list[tuple[float, str, str]]) -> None:
    """Name each line at its end, moved apart where the names would overlap."""
    low, high = axes.get_ylim()
    apart = (high - low) * 0.13
    places: list[float] = []
    for value, _, _ in sorted(ends):
        places.append(max([value, *(place + apart for place in places[-1:])]))
    too_high = max(0.0, max(places, default=low) - (high - apart / 3))
    for place, (_, text, colour) in zip(places, sorted(ends), strict=True):
        axes.annotate(
            text,
            (last, place - too_high),
            xytext=(8, 0),
            textcoords="offset points",
            color=colour,
            va="center",
            annotation_clip=False,
        )
