"""What a net gets right and wrong, class by class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from .. import evaluation
from ..errors import UserError, suggestion
from ..run import Run
from ..stats import wilson_interval
from .names import class_names, text_width
from .style import BLUE, ORANGE, Figure, style, title_of, words

Order = Literal["class", "accuracy"]

MOST_BARS = 40  # of more classes, the worst half and the best half of so many are drawn
_WIDE_CELLS = 10
_BLUES = LinearSegmentedColormap.from_list("blues", ["#eaf3f9", BLUE])
_LUMINANCE = np.array([0.299, 0.587, 0.114])  # of red, green and blue to the eye
_ORANGES = LinearSegmentedColormap.from_list("oranges", ["#fdf1e7", ORANGE])


def class_accuracy(run: Run, *, order: Order = "class") -> Figure:
    """The accuracy of a run on each class of the test set; `order` is that of the classes, or by accuracy.

    Raises UserError where the run has no predictions yet.
    """
    if order not in ("class", "accuracy"):
        raise UserError(f"order {order!r} is not allowed; {suggestion(order, ['class', 'accuracy'])}")
    found = evaluation.evaluate_run(run)
    return draw_class_accuracy(found.confusion, found.classes, title_of(run, "accuracy by class"), order=order)


def confusion(run: Run) -> Figure:
    """Which classes of the test set a run takes for which.

    Of more than 20 classes those with the most mistakes are shown, the others in one row and column together. Raises
    UserError where the run has no predictions yet.
    """
    found = evaluation.evaluate_run(run)
    return draw_confusion(found.confusion, found.classes, title_of(run, "confusion matrix"))


def draw_class_accuracy(
    matrix: NDArray[np.int64], classes: Sequence[str], title: str, *, order: Order = "class"
) -> Figure:
    """Bars from a confusion matrix [true, predicted], with their 95% intervals, and the counts beside them."""
    counts, accuracy = evaluation.class_accuracy(matrix)
    right, images = int(matrix.trace()), int(matrix.sum())
    shown, note = _bars_shown(counts, accuracy, order)
    figure = Figure(9, 0.3 * len(shown) + 1.4, title)
    axes = figure.subplots()
    style(axes, f"all (dashed): {evaluation.percent(right / images, 2)} ({right:,} of {images:,}){note}")
    places = np.arange(len(shown))
    axes.barh(places, np.nan_to_num(accuracy[shown]), color=BLUE, height=0.7)
    known = counts[shown] > 0
    intervals = [wilson_interval(int(matrix[one, one]), int(counts[one])) for one in shown[known]]
    axes.hlines(places[known], *np.transpose(intervals), color="black", linewidth=1.2)
    axes.axvline(right / images, color=ORANGE, linewidth=1.2, linestyle=(0, (4, 3)))
    for place, one in zip(places, shown, strict=True):
        text = (
            f"{evaluation.percent(accuracy[one])}  ({matrix[one, one]:,} of {counts[one]:,})"
            if counts[one]
            else "no images"
        )
        where = (1.0, float(place))
        axes.annotate(
            text, where, xytext=(8, 0), textcoords="offset points", va="center", fontsize=9, annotation_clip=False
        )
    names = class_names(classes, shown, 10, 130)
    axes.set_yticks(places, [names[one] for one in shown], **words(*names.values()))
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("accuracy: the share of a class's images that is right, with its 95% interval")
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.tick_params(axis="y", length=0)
    return figure


def draw_confusion(matrix: NDArray[np.int64], classes: Sequence[str], title: str) -> Figure:
    """Counts [true, predicted] in a grid: what is right in blue, confusions in orange, by the share of their row."""
    right, images = int(matrix.trace()), int(matrix.sum())
    kept = evaluation.most_confused(matrix)
    short = class_names(classes, kept, 10, 120)
    names = [short[one] for one in kept]
    note = f"{right:,} of {images:,} are right (blue); darker is more of the row"
    if len(kept) < len(classes):
        matrix = evaluation.with_others(matrix, kept)
        names.append(f"{len(classes) - len(kept):,} others")
        note = f"{len(kept)} of {len(classes):,} classes, those of the largest confusions; the others together (grey)"
    side = len(names)
    wide = side <= _WIDE_CELLS
    cell = 0.62 if wide else 0.48
    room = max(text_width(name, 10) for name in names) / 72
    figure = Figure(max(cell * side + room + 1.0, 6.0), cell * side + 0.75 * room + 1.6, f"{title}\n{note}")
    axes = figure.subplots()
    colours, letters = _cell_colours(matrix, coloured=len(kept))
    axes.imshow(colours)
    for row, column in np.argwhere(matrix):
        count, colour = f"{matrix[row, column]:,}", letters[row, column]
        axes.text(column, row, count, ha="center", va="center", color=colour, fontsize=9.5 if wide else 8)
    lettering = words(*names)
    if room < cell:
        axes.set_xticks(range(side), names, **lettering)
    else:
        axes.set_xticks(range(side), names, rotation=45, ha="right", rotation_mode="anchor", **lettering)
    axes.set_yticks(range(side), names, **lettering)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(1, side) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, side) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0)
    return figure


def _bars_shown(
    counts: NDArray[np.int64], accuracy: NDArray[np.float64], order: Order
) -> tuple[NDArray[np.int64], str]:
    """Which classes get a bar, from top to bottom, and what is to be said where not all do."""
    worst_first = np.argsort(np.nan_to_num(accuracy, nan=2.0), kind="stable")  # what has no images comes last
    if len(counts) <= MOST_BARS:
        return (worst_first if order == "accuracy" else np.arange(len(counts))), ""
    present = worst_first[: np.count_nonzero(counts)]
    if len(present) <= MOST_BARS:
        return present, f"; the {len(present)} of {len(counts):,} classes that have images"
    half = MOST_BARS // 2
    return (
        np.concatenate([present[:half], present[-half:]]),
        f"; the {half} worst and the {half} best of {len(counts):,} classes",
    )


def _cell_colours(matrix: NDArray[np.int64], coloured: int) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    """Colours [rows, columns, 4] of cells and of the letters in them; rows and columns from `coloured` on are grey."""
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    diagonal = np.eye(len(matrix), dtype=bool)
    others = np.zeros_like(diagonal)
    others[coloured:], others[:, coloured:] = True, True
    off = np.where(diagonal | others, 0, shares)
    depth = np.sqrt(off / (off.max() or 1.0))  # so that the small ones are told apart too
    colours = np.where(diagonal[..., None], _BLUES(shares), _ORANGES(depth))
    colours[others] = to_rgba("#e8e8e8")
    colours[(matrix == 0) & ~diagonal & ~others] = to_rgba("#f7f7f7")
    return colours, np.where(colours[..., :3] @ _LUMINANCE > 0.5, "#222222", "white")
