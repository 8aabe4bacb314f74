"""A run folder becomes its report: one HTML page that answers what a reader asks, in that order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..data import ImageSet
from ..errors import UserError
from ..evaluation import Evaluation, evaluate_run
from ..files import write_text
from ..plots import inline
from ..run import Run
from .confidence import in_words
from .failures import failures
from .gallery import Gallery, gallery
from .headline import headline
from .making import making
from .rendering import render, short
from .training import is_training, progress, training


def write_report(
    run: Run,
    *,
    images: ImageSet | None,
    why_no_images: str = "",
    net: nn.Module | None,
    why_no_net: str = "",
    device: torch.device,
    train_images: ImageSet | None = None,
    out: Path | None = None,
    refresh_seconds: int | None = None,
) -> Path:
    """Write the page, by default report.html in the run, and return its path.

    `images` is the run's test set, and `net` the trained net in eval mode on `device`, for class activation maps and
    the table of layers; where they are not at hand, `why_no_images` and `why_no_net` are said in their place.
    `train_images` are for augmented samples. With `refresh_seconds` the page loads itself anew, for a training in
    progress. A training that has not ended gives a page of what there is. Raises UserError where a file of the run is
    damaged, or the images are not those of its predictions.
    """
    running = refresh_seconds is not None or is_training(run)
    evaluation, shown = None, None
    if run.has("predictions.npz"):
        evaluation, shown = _evaluated(run, images, net, why_no_net, device)
    recipe = run.recipe
    page = render(
        "report.html.j2",
        run=run,
        recipe=recipe,
        refresh_seconds=refresh_seconds,
        progress=progress(run, running=running),
        headline=headline(run, evaluation),
        training=training(run),
        evaluation=evaluation,
        failures=evaluation and failures(evaluation),
        gallery=shown,
        why_no_images=why_no_images,
        confidence=evaluation and in_words(evaluation.calibration),
        reliability=evaluation and inline.reliability(evaluation.calibration),
        confidences=evaluation and inline.confidences(evaluation.calibration),
        making=making(run, net, train_images),
    )
    path = out or run.path / "report.html"
    write_text(path, page)
    return path


def _evaluated(
    run: Run, images: ImageSet | None, net: nn.Module | None, why_no_net: str, device: torch.device
) -> tuple[Evaluation, Gallery | None]:
    """What the stored predictions are worth, and the images that they get wrong where these are at hand."""
    evaluation = evaluate_run(run)
    evaluation = replace(evaluation, classes=tuple(short(name) for name in evaluation.classes))
    if images is None:
        return evaluation, None
    stored = run.predictions()
    logits_nk, labels = stored["logits"], stored["labels"]
    if not np.array_equal(images.labels, labels) or images.classes != run.classes:
        what = f"its predictions are of {len(labels):,} other images; the run's test set is needed"
        raise UserError(f"{run.path / 'predictions.npz'}: {what}")
    mean, std = run.recipe.data.statistics
    shown = gallery(
        logits_nk,
        labels,
        images,
        evaluation.classes,
        net,
        mean=mean,
        std=std,
        device=device,
        why_no_net=why_no_net,
    )
    return evaluation, shown
