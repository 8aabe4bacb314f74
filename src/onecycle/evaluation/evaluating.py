"""From stored logits to every metric, in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..run import Run
from .calibration import reliability
from .counting import Labels, Logits, count_pairs
from .result import Evaluation

_TOP = (1, 2, 3, 5)
_BLOCK = 2**20  # logits that are in float64 at a time: 8 MiB


def evaluate(logits_nk: Logits, labels: Labels, classes: Sequence[str]) -> Evaluation:
    """Measure how well logits [n, classes] tell the labels [n]; of equal logits the first class is the answer.

    Raises UserError where the three do not fit, or logits are not finite.
    """
    _check(logits_nk, labels, classes)
    labels = labels.astype(np.int64)
    images = _read(logits_nk, labels)
    return Evaluation(
        classes=tuple(classes),
        confusion=count_pairs(labels, images.predicted, len(classes)),
        loss=float(images.loss.mean()),
        top={k: float((images.rank < k).mean()) for k in _TOP if k < len(classes)},
        calibration=reliability(images.confidence, images.predicted == labels),
    )


def evaluate_run(run: Run) -> Evaluation:
    """Every metric of a run's stored predictions. Raises UserError, which names the file, where they are damaged."""
    stored, classes = run.predictions(), run.classes
    try:
        return evaluate(stored["logits"], stored["labels"], classes)
    except UserError as error:
        path = run.path / "predictions.npz"
        raise UserError(*(f"{path}: {problem}" for problem in error.problems)) from None


class _Images(NamedTuple):
    """An array [n] each; `rank` counts the classes that come before the true one, `loss` is in nats."""

    predicted: Labels
    rank: NDArray[np.int64]
    confidence: NDArray[np.float64]
    loss: NDArray[np.float64]


def _read(logits_nk: Logits, labels: Labels) -> _Images:
    rows = max(1, _BLOCK // logits_nk.shape[1])
    blocks = [
        _read_block(logits_nk[start : start + rows], labels[start : start + rows, None])
        for start in range(0, len(labels), rows)
    ]
    return _Images(*(np.concatenate(parts) for parts in zip(*blocks, strict=True)))


def _read_block(logits_nk: Logits, labels_n1: Labels) -> _Images:
    predicted = logits_nk.argmax(axis=1)
    true_n1 = np.take_along_axis(logits_nk, labels_n1, axis=1)
    earlier = np.arange(logits_nk.shape[1]) < labels_n1
    before = (logits_nk > true_n1) | ((logits_nk == true_n1) & earlier)
    largest_n1 = logits_nk.max(axis=1, keepdims=True).astype(np.float64)
    sums = np.exp(logits_nk - largest_n1).sum(axis=1)  # of odds against the largest, which is 1
    loss = np.log(sums) + (largest_n1 - true_n1)[:, 0]
    return _Images(predicted, before.sum(axis=1), 1 / sums, loss)


def _check(logits_nk: Logits, labels: Labels, classes: Sequence[str]) -> None:
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise UserError(f"labels are {labels.dtype} {list(labels.shape)}; a whole number for each image is needed")
    needed = [len(labels), len(classes)]
    if list(logits_nk.shape) != needed or logits_nk.dtype.kind != "f":
        raise UserError(
            f"logits are {logits_nk.dtype} {list(logits_nk.shape)}; floats {needed} are needed for "
            f"{len(labels):,} labels and {len(classes):,} classes"
        )
    if len(labels) == 0:
        raise UserError("there are no predictions; those of one image at least are needed")
    if labels.min() < 0 or labels.max() >= len(classes):
        raise UserError(
            f"labels run from {labels.min()} to {labels.max()}; 0 to {len(classes) - 1} is needed, "
            f"as there are {len(classes):,} classes"
        )
    bad = np.flatnonzero(~np.isfinite(logits_nk).all(axis=1))
    if len(bad):
        raise UserError(
            f"logits of {len(bad):,} of {len(labels):,} images are NaN or infinite, the first at row {bad[0]}; "
            "finite ones are needed"
        )
