"""What is drawn and written of a run without being asked for: pictures that stand alone, and the report."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn

from .. import evaluation, explanation, plots, reporting
from ..errors import Stopped, UserError
from ..evaluation import Mistakes
from ..explanation import Activations
from ..interruption import Terminated, signal_of
from ..lr_range import LrRange
from ..observer import Observer
from ..plots import Figure
from ..preparation import Sets, trained_net
from ..recipes import Recipe
from ..run import Run

_MAPS = 10  # mistakes whose maps are drawn


def finish(
    run: Run,
    sets: Sets,
    model: nn.Module | None,
    device: torch.device,
    observer: Observer,
    *,
    missing_only: bool = False,
) -> None:
    """Draw the pictures of a run that has ended into its plots folder, and write its report.

    With `missing_only` pictures that are there stay. What goes wrong here does not undo the training: each part is
    tried, and the observer is told what is missing. Raises Stopped on an interrupt.
    """
    failed: dict[str, Exception] = {}
    again = f"write the report anew with: onecycle report {run.path}"
    try:
        _draw_and_report(run, sets, model, device, observer, failed, missing_only)
    except (KeyboardInterrupt, Terminated) as interrupt:
        what = "interrupted while its pictures and report were written"
        number = signal_of(interrupt)
        on = f"go on with: onecycle train --resume {run.path}"
        raise Stopped(f"{run.path}: the training has ended; {what}; {on}", number) from None
    if failed:
        why = " ".join(str(next(iter(failed.values()))).split())
        observer.on_message(f"the training has ended, but not written are {', '.join(failed)} ({why}); {again}")


def write_report(
    run: Run,
    sets: Sets | None,
    net: nn.Module | None,
    device: torch.device,
    out: Path | None = None,
    *,
    why_no_images: str = "",
    why_no_net: str = "",
) -> Path:
    """Write the report of a run with the images and the net that are at hand."""
    return reporting.write_report(
        run,
        images=sets.test if sets else None,
        train_images=sets.train if sets else None,
        why_no_images=why_no_images,
        net=net,
        why_no_net=why_no_net,
        device=device,
        out=out,
    )


def _draw_and_report(
    run: Run,
    sets: Sets,
    model: nn.Module | None,
    device: torch.device,
    observer: Observer,
    failed: dict[str, Exception],
    missing_only: bool,
) -> None:
    """Write every picture and the report; note what could not be written in `failed`."""
    with observer.progress_of("pictures and report") as say, _noting(failed, "the pictures and the report"):
        net = trained_net(run, model=model, device=device)
        pictures = _pictures(run, sets, net, device)
        if missing_only:
            pictures = {name: draw for name, draw in pictures.items() if not (run.plots / f"{name}.png").exists()}
        parts = len(pictures) + 1
        for done, (name, draw) in enumerate(pictures.items()):
            say(done, parts, name)
            with _noting(failed, f"plots/{name}.png"):
                plots.save(draw(), run.plots / f"{name}.png")
        say(parts - 1, parts, "report")
        with _noting(failed, "report.html"):
            write_report(run, sets, net, device)
        say(parts, parts, "report")


@contextlib.contextmanager
def _noting(failed: dict[str, Exception], what: str) -> Iterator[None]:
    """Note what goes wrong in the block rather than pass it on."""
    try:
        yield
    except Exception as error:
        failed[what] = error


def _pictures(run: Run, sets: Sets, net: nn.Module, device: torch.device) -> dict[str, Callable[[], Figure]]:
    """What there is to draw of a finished run, by the names of the files."""
    recipe, title = run.recipe, plots.title_of(run)
    stored = run.predictions()
    found = evaluation.mistakes(stored["logits"], stored["labels"])
    label_errors = explanation.find_label_errors(stored["logits"], stored["labels"])
    pictures: dict[str, Callable[[], Figure]] = {
        "curves": lambda: plots.curves(run),
        "class_accuracy": lambda: plots.class_accuracy(run),
        "confusion": lambda: plots.confusion(run),
        "reliability": lambda: plots.reliability(evaluation.evaluate_run(run).calibration, f"{title}: calibration"),
        "augmented": lambda: plots.augmented(recipe, sets.train),
    }
    if (run.path / "lr_range.json").exists() and not (run.plots / "lr_range.png").exists():  # drawn at the start
        pictures["lr_range"] = lambda: plots.lr_range(LrRange.from_dict(run.lr_range))
    if recipe.schedule.name != "plateau":  # whose rates depend on the losses: the curves have them
        pictures["schedule"] = lambda: plots.schedule(recipe)
    if len(found):
        pictures["misclassified"] = lambda: plots.draw_mistakes(sets.test, found, title)
        activations = _activations(net, sets, found, recipe, device)
        if activations is not None:
            pictures["grad_cam"] = lambda: plots.grad_cam_sheet(sets.test, found, activations, title)
    if len(label_errors):
        pictures["label_errors"] = lambda: plots.label_errors(sets.test, label_errors, title)
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
