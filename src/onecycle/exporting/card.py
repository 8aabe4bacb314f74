"""The model card: what a net was trained on, how good it is, where it ends, and how to use the file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from torch import nn

from ..data import ImageSet
from ..errors import UserError, one_line
from ..evaluation import ClassResult, Evaluation, percent
from ..files import write_text
from ..preparation import Sets
from ..progress import duration
from ..recipes import Recipe
from ..run import Run
from . import usage
from .description import public
from .verifying import Verification

NAME: Final = "MODEL_CARD.md"
_MARK: Final = "<!-- written by onecycle export -->"
_MOST_CLASSES: Final = 200  # with a line each; of more, the worst
_PAIRS: Final = 5


def check_place(folder: Path) -> None:
    """Raise UserError where a model card of somebody else would be overwritten."""
    path = folder / NAME
    if path.exists() and not path.read_text(encoding="utf-8", errors="replace").startswith(_MARK):
        raise UserError(f"{path}: exists, and is not of onecycle export; name another folder with --out, or move it")


def write_card(
    run: Run,
    net: nn.Module,
    description: Mapping[str, Any],
    evaluation: Evaluation,
    path: Path,
    form: str,
    int8: bool,
    found: Verification,
    sets: Sets | None,
) -> None:
    """Write the card beside the file at `path`, which was exported and tried; `sets` are its images, where at hand."""
    recipe = public(run.recipe)
    parts = [
        _MARK,
        f"# {_cell(path.name)}: {len(run.classes)} classes of {recipe.data.image_size}-pixel images",
        _head(run, net, recipe, description, path, int8),
        "## How good it is",
        _results(evaluation, run, found, int8),
        "## What it was trained on",
        _training(run, recipe, sets),
        "## Where it ends",
        _limits(evaluation, recipe, int8),
        "## How to use it",
        usage.how_to(path, form, recipe),
        "## Licence",
        "Of the weights: whoever trained them decides, within the licence of the images, which onecycle does not know. "
        "State both here before you pass the file on.",
        "## Recipe",
        f"```yaml\n{recipe.to_yaml()}```",
    ]
    write_text(path.parent / NAME, "\n\n".join(parts) + "\n")


def _head(run: Run, net: nn.Module, recipe: Recipe, description: Mapping[str, Any], path: Path, int8: bool) -> str:
    numbers = "8-bit whole numbers (QDQ, weights a channel)" if int8 else "float32"
    parameters = sum(one.numel() for one in net.parameters())
    made_with = ", ".join(f"{name} {number}" for name, number in description["exported_with"].items())
    rows = [
        ("net", f"{_cell(recipe.model.name)}, {parameters:,} parameters"),
        ("file", f"{_cell(path.name)}, {path.stat().st_size / 1e6:.1f} MB, numbers in {numbers}"),
        ("input", _cell(description["input"])),
        ("output", _cell(description["output"])),
        ("classes", _cell(_some(run.classes))),
        ("run", f"{_cell(description['run'])}, SHA-256 of its weights `{description['weights_sha256']}`"),
        ("made with", made_with),
    ]
    if recipe.init is not None:
        sha256 = run.environment.get("init", {}).get("sha256")
        earlier = f"{_cell(Path(recipe.init).name)}, SHA-256 `{sha256}`, and so knows the images of that run too"
        rows.append(("began with", f"the weights of {earlier}"))
    return _table(("", ""), rows)


def _results(evaluation: Evaluation, run: Run, found: Verification, int8: bool) -> str:
    low, high = evaluation.interval
    text = [
        f"As trained, in {run.summary['precision']}: **{percent(evaluation.accuracy, 2)}** of {evaluation.images:,} "
        f"test images are right (95% interval {100 * low:.2f} to {100 * high:.2f}, Wilson's), cross-entropy "
        f"{evaluation.loss:.4f}. One training, so nothing is said of how others with other seeds would do. "
        f"{_sentence(evaluation.calibration.in_words())}"
    ]
    where = f"{found.images:,} {found.kind} images"
    text.append(
        f"This file: on {where} its logits and those of the net in float32 differ by at most "
        f"{found.largest_difference:.2g}; {percent(found.agreement, 2)} get the same class."
    )
    if found.accuracy is not None and found.interval is not None and found.accuracy_float32 is not None:
        rows = [("the net in float32", percent(found.accuracy_float32, 2), "")]
        ends = f"{100 * found.interval[0]:.2f} to {100 * found.interval[1]:.2f}"
        rows.append(("this file, int8" if int8 else "this file", percent(found.accuracy, 2), ends))
        text.append(_table(("on the test images", "accuracy", "95% interval"), rows))
    text.append(_classes(evaluation))
    return "\n\n".join(text)


def _classes(evaluation: Evaluation) -> str:
    results: Sequence[ClassResult] = evaluation.by_class
    note = ""
    if len(results) > _MOST_CLASSES:
        results = sorted((one for one in results if one.images), key=lambda one: one.recall)[:_MOST_CLASSES]
        note = f"\n\nThe {_MOST_CLASSES} worst of {len(evaluation.classes):,} classes."
    rows = [
        (
            _cell(one.name),
            f"{one.images:,}",
            percent(one.recall),
            f"{100 * one.interval.low:.1f} to {100 * one.interval.high:.1f}" if one.images else "-",
            percent(one.precision),
        )
        for one in results
    ]
    return _table(("class", "test images", "recall", "95% interval", "precision"), rows) + note


def _training(run: Run, recipe: Recipe, sets: Sets | None) -> str:
    summary, environment = run.summary, run.environment
    text = [
        f"Images: {_cell(recipe.data.label)}, at {recipe.data.image_size} pixels a side. Recipe {_cell(recipe.name)}, "
        f"seed {recipe.seed}: {summary['epochs']} epochs, {summary['steps']:,} steps, {summary['precision']}, "
        f"{duration(summary['train_seconds'])} on {summary['device']}, with onecycle {environment.get('onecycle')} and "
        f"torch {environment.get('torch')}. The final weights, not the best on the test set."
    ]
    if sets is None:
        text.append("The images were not at hand when this was written, so they are not counted here.")
    else:
        named = {"training": sets.train, "held out": sets.val, "test": sets.test}
        counts = {name: _counts(images) for name, images in named.items() if images is not None}
        rows = [("all", *(f"{sum(own):,}" for own in counts.values()))]
        for label, name in list(enumerate(run.classes))[:_MOST_CLASSES]:
            rows.append((_cell(name), *(f"{own[label]:,}" for own in counts.values())))
        text.append(_table(("images", *counts), rows))
    return "\n\n".join(text)


def _limits(evaluation: Evaluation, recipe: Recipe, int8: bool) -> str:
    side = recipe.data.image_size
    lines = [
        "It knows these classes and no others: whatever an image shows, the probabilities of these sum to 1.",
        f"It sees {side} x {side} pixels; what cannot be told at that size it cannot tell.",
        "The figures hold for images that were taken and chosen as those of the test set. On others, measure first.",
        "Nothing was tested for fairness, for robustness, or against images made to mislead it.",
    ]
    pairs = [
        f"{evaluation.classes[one.true]} for {evaluation.classes[one.predicted]} ({percent(one.share)} of its images)"
        for one in evaluation.pairs[:_PAIRS]
    ]
    if pairs:
        lines.append(_cell(f"It most often takes {', '.join(pairs)}."))
    if int8:
        lines.append(
            "Its accuracy in 8 bits was measured on the processor that wrote this card. Without VNNI instructions sums "
            "of products can be cut off at 16 bits, as onnxruntime's page on quantisation says: measure there too."
        )
    return "\n".join(f"- {line}" for line in lines)


def _counts(images: ImageSet) -> list[int]:
    return [int(count) for count in np.bincount(images.labels, minlength=len(images.classes))]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= _MOST_CLASSES else f"{', '.join(names[:10])}, ... ({len(names):,} in all)"


def _cell(text: str) -> str:
    """A text as Markdown shows it, in one line of a table: names of classes may hold anything."""
    return re.sub(r"([\\|<>*_\[\]#])", r"\\\1", one_line(text))


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if not text.endswith(".") else text
