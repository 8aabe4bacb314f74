"""What is drawn and written of a run without being asked for: pictures that stand alone, and the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from .. import evaluation, explanation, plots, reporting
from ..errors import UserError
from ..evaluation import Evaluation, Mistakes
from ..explanation import Activations
from ..plots import Figure
from ..preparation import Sets, trained_net
from ..progress import step_progress
from ..recipes import Recipe
from ..run import Run

_MAPS = 10  # mistakes whose maps are drawn


def finish(run: Run, sets: Sets, model: nn.Module | None, device: torch.device) -> None:
    """Draw the pictures of a run that has just ended into its plots folder, and write its report."""
    net = trained_net(run, model=model, device=device)
    pictures = _pictures(run, sets, net, device)
    with step_progress("pictures and report") as say:
        for done, (name, draw) in enumerate(pictures.items()):
            say(done, len(pictures) + 1, name)
            plots.save(draw(), run.plots / f"{name}.png")
        say(len(pictures), len(pictures) + 1, "report")
        write_report(run, sets, "", net, device, None)


def write_report(
    run: Run, sets: Sets | None, why_no_images: str, net: nn.Module | None, device: torch.device, out: Path | None
) -> Path:
    """Write the report of a run with the images that are at hand."""
    return reporting.write_report(
        run,
        images=sets.test if sets else None,
        train_images=sets.train if sets else None,
        why_no_images=why_no_images,
        net=net,
        device=device,
        out=out,
    )


def evaluated(run: Run) -> Evaluation:
    """Every metric of the stored predictions. Raises UserError, which names the file, where they are damaged."""
    stored = run.predictions()
    try:
        return evaluation.evaluate(stored["logits"], stored["labels"], run.classes)
    except UserError as error:
        path = run.path / "predictions.npz"
        raise UserError(*(f"{path}: {problem}" for problem in error.problems)) from None


def _pictures(run: Run, sets: Sets, net: nn.Module, device: torch.device) -> dict[str, Callable[[], Figure]]:
    """What there is to draw of a finished run, by the names of the files."""
    recipe, title = run.recipe, plots.title_of(run)
    stored = run.predictions()
    found = evaluation.mistakes(stored["logits"], stored["labels"])
    doubtful = explanation.find_label_errors(stored["logits"], stored["labels"])
    pictures: dict[str, Callable[[], Figure]] = {
        "curves": lambda: plots.curves(run),
        "class_accuracy": lambda: plots.class_accuracy(run),
        "confusion": lambda: plots.confusion(run),
        "reliability": lambda: plots.reliability(evaluated(run).calibration, f"{title}: calibration"),
        "augmented": lambda: plots.augmented(recipe, sets.train),
    }
    if recipe.schedule.name != "plateau":  # whose rates depend on the losses: the curves have them
        pictures["schedule"] = lambda: plots.schedule(recipe)
    if len(found):
        pictures["misclassified"] = lambda: plots.draw_mistakes(sets.test, found, title)
        activations = _activations(net, sets, found, recipe, device)
        if activations is not None:
            pictures["grad_cam"] = lambda: plots.grad_cam_sheet(sets.test, found, activations, title)
    if len(doubtful):
        pictures["label_errors"] = lambda: plots.label_errors(sets.test, doubtful, title)
    return pictures


def _activations(
    net: nn.Module, sets: Sets, found: Mistakes, recipe: Recipe, device: torch.device
) -> Activations | None:
    """The class activation maps of the first mistakes; None where the net has no layer that gives maps."""
    mean, std = recipe.data.statistics
    try:
        return explanation.explain(net, sets.test, explanation.first(found, _MAPS), mean=mean, std=std, device=device)
    except UserError:
        return None
