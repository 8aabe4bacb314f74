"""Look at runs: how good they are, what they get wrong and why, on the terminal, as pictures and as pages."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn

from .. import comparison, evaluation, explanation, reporting
from ..comparison import Comparison
from ..data import Dataset, ImageSet
from ..errors import UserError, listed
from ..evaluation import Evaluation
from ..folds import concatenated
from ..hardware import fast, resolve_device
from ..preparation import Sets, as_dataset, build_loader, images_of, load_data, load_own, trained_net
from ..progress import default_observer
from ..recipes import absolute, holds_image_files, images_path, recipe
from ..run import Run, check_no_run_file
from .explanation import Explanation
from .image_files import ImageFiles, image_files
from .pictures import write_report

REFRESH_SECONDS = 5  # of the page of a run in progress
_CLASSES_NAMED = 10  # in an error


def evaluate(
    run: str | Path | Run,
    *,
    data: Dataset | ImageSet | str | Path | None = None,
    data_dir: str | Path | None = None,
    model: nn.Module | None = None,
    device: str = "auto",
) -> Evaluation:
    """Every metric of a finished run, from the logits that it stored of its test set.

    With `data` the net is run on other images with the same classes: an ImageSet, the test part of a Dataset, or that
    of a data set by name, which is looked for in `data_dir`; of one's own images, named by their path, all where they
    have no test part. `model` is the net, where the training was handed one.
    Raises UserError where something is missing or does not fit.
    """
    opened, torch_device = Run.of(run), resolve_device(device)
    if data is None:
        return evaluation.evaluate_run(opened)
    images = _other_images(opened, data, data_dir)
    net = trained_net(opened, model=model, device=torch_device)
    loader = build_loader(opened.recipe, images, torch_device, train=False)
    with default_observer().progress_of("evaluation") as say, fast(opened.recipe.precision, torch_device):
        logits_nk = evaluation.predict_logits(net, loader, on_batch=_counted(say, len(loader)))
    return evaluation.evaluate(logits_nk.numpy(), images.labels, opened.classes)


def explain(
    run: str | Path | Run,
    *,
    count: int = 20,
    true: str | None = None,
    predicted: str | None = None,
    layer: str | None = None,
    method: str = "grad_cam",
    saliency: bool = False,
    data: Dataset | ImageSet | None = None,
    data_dir: str | Path | None = None,
    model: nn.Module | None = None,
    device: str = "auto",
) -> Explanation:
    """The most confident mistakes of a finished run, what its net looked at in them, and likely label errors.

    `true` and `predicted` choose among the mistakes: images of a class, those taken for a class, or both. `layer` and
    `method`, "grad_cam" or "grad_cam++", are those of the class activation maps; `saliency` adds integrated gradients,
    which need the extra `explain`. `data` and `model` are what the training was handed, `data_dir` is where the images
    lie if no longer where they were; without images there are no pictures. Raises UserError where something else is
    missing, or nothing was mistaken so.
    """
    opened = Run.of(run)
    stored = opened.predictions()
    evaluation.evaluate_run(opened)  # whatever is wrong with the predictions is said first
    found = evaluation.mistakes(stored["logits"], stored["labels"])
    chosen = explanation.select(found, opened.classes, true=true, predicted=predicted)
    shown = explanation.first(chosen, count)
    torch_device = resolve_device(device)
    sets, why_no_images = _images_if_there(opened, data, data_dir)
    activations, gradients, files = None, None, None
    if sets is not None:
        files = _test_files(opened, data_dir)
        net = trained_net(opened, model=model, device=torch_device)
        mean, std = opened.recipe.data.statistics
        activations = explanation.explain(
            net, sets.test, shown, mean=mean, std=std, device=torch_device, layer=layer, method=method
        )
        if saliency:
            gradients = explanation.saliency(net, sets.test, shown, mean=mean, std=std, device=torch_device)
    return Explanation(
        run=opened,
        tested=len(stored["labels"]),
        images=sets.test if sets else None,
        why_no_images=why_no_images,
        wrong=len(found),
        mistakes=chosen,
        choice=explanation.chosen_in_words(true, predicted),
        shown=len(shown),
        activations=activations,
        saliency=gradients,
        label_errors=explanation.find_label_errors(stored["logits"], stored["labels"]),
        files=files,
    )


def report(
    run: str | Path | Run,
    *,
    out: str | Path | None = None,
    data: Dataset | ImageSet | None = None,
    data_dir: str | Path | None = None,
    model: nn.Module | None = None,
    device: str = "auto",
) -> Path:
    """Write all there is to see of a run as one HTML file that needs nothing else, by default RUN/report.html.

    What cannot be shown is left out and the page says why: images that are no longer at hand, a net that was handed in
    and is not handed in again, the results of a training that has not ended. Other options are as for `explain`.
    """
    to = _page(out)
    opened = Run.of(run)
    torch_device = resolve_device(device)
    sets, why_no_images = _images_if_there(opened, data, data_dir)
    net, why_no_net = _net_if_there(opened, model, torch_device)
    return write_report(opened, sets, net, torch_device, to, why_no_images=why_no_images, why_no_net=why_no_net)


def watch(
    run: str | Path | Run,
    *,
    out: str | Path | None = None,
    data_dir: str | Path | None = None,
    device: str = "auto",
) -> Iterator[Path]:
    """Keep the report of a run in progress fresh; yields its path each time, the last time when the run is over."""
    opened, to = Run.of(run), _page(out)
    resolve_device(device)  # which the last page alone needs, perhaps hours from now

    def write_without_images(refresh_seconds: int | None) -> Path:
        cpu = torch.device("cpu")
        return reporting.write_report(
            opened, images=None, net=None, device=cpu, out=to, refresh_seconds=refresh_seconds
        )

    def write(running: bool) -> Path:
        if running:
            return write_without_images(REFRESH_SECONDS)
        try:
            return report(opened, out=to, data_dir=data_dir, device=device)
        except UserError:
            with contextlib.suppress(UserError):  # so that the page does not load itself anew for ever
                write_without_images(None)
            raise

    return reporting.watch(opened, write)


def compare(
    *runs: str | Path | Run,
    out: str | Path | None = None,
    data: Dataset | ImageSet | None = None,
    data_dir: str | Path | None = None,
) -> Comparison:
    """Two or more finished runs on the same test set, each compared with the first, image by image.

    With `out` a page is written there, as one HTML file; `data` and `data_dir` are for its images, which are left out
    where they are not at hand. Raises UserError where the runs cannot be compared.
    """
    if out is None and (data is not None or data_dir is not None):
        raise UserError("data and data_dir are for the images of a page; out names it")
    opened, page = [Run.of(run) for run in runs], _page(out)
    found = comparison.compare(opened)
    if page is not None:
        sets, why = _images_if_there(opened[0], data, data_dir)
        reporting.write_comparison(found, sets.test if sets else None, page, why_no_images=why)
    return found


def _images_if_there(run: Run, data: Dataset | ImageSet | None, data_dir: str | Path | None) -> tuple[Sets | None, str]:
    """The images of a run, or None and why they are not at hand; an error where somebody said where they are."""
    try:
        return images_of(run, data=data, data_dir=data_dir, observer=default_observer()), ""
    except UserError as error:
        if data is not None or data_dir is not None:
            raise
        return None, str(error)


def _test_files(run: Run, data_dir: str | Path | None) -> ImageFiles | None:
    """The files of the test images, where they come as files."""
    return image_files(run.recipe, data_dir or run.environment.get("data_dir")).get("test")


def _net_if_there(run: Run, model: nn.Module | None, device: torch.device) -> tuple[nn.Module | None, str]:
    """The trained net, or None and why it is not at hand; an error where somebody handed in a net that does not fit."""
    try:
        return trained_net(run, model=model, device=device), ""
    except UserError as error:
        if model is not None and run.finished:
            raise
        return None, str(error)


def _other_images(run: Run, data: Dataset | ImageSet | str | Path, data_dir: str | Path | None) -> ImageSet:
    """Images to evaluate a run on. Raises UserError where they have other classes, or another size."""
    if isinstance(data, str | Path):
        data = _named_images(run, data if isinstance(data, str) else absolute(data), data_dir)
    images = data if isinstance(data, ImageSet) else as_dataset(data, seed=0).test
    if images.classes != run.classes:
        raise UserError(
            f"the images have the classes {listed(images.classes, _CLASSES_NAMED)}; those of {run.path} are needed: "
            f"{listed(run.classes, _CLASSES_NAMED)}"
        )
    if images.image_size != run.recipe.data.image_size:
        raise UserError(
            f"the images have {images.image_size} pixels a side; {run.path} was trained on {run.recipe.data.image_size}"
        )
    return images


def _named_images(run: Run, name: str, data_dir: str | Path | None) -> ImageSet:
    """The test images of a data set; of one's own that have no test part, all."""
    of_arrays = {} if holds_image_files(name) else {"fit": "crop", "damaged": "refuse"}
    wanted = recipe(run.recipe, data={"name": name, **of_arrays})
    if images_path(name) is None:
        return load_data(wanted, data_dir).test
    found = load_own(wanted, data_dir, observer=default_observer())
    if found.test is not None:
        return found.test
    return found.train if found.val is None else concatenated(found.train, found.val)


def _counted(say: Callable[[int, int, str], None], batches: int) -> Callable[[], None]:
    """What to call after each batch."""
    numbers = itertools.count(1)
    return lambda: say(next(numbers), batches, "batches")


def _page(out: str | Path | None) -> Path | None:
    """Where a page is to be written. Raises UserError where that would take the place of a run's own file."""
    if out is None:
        return None
    check_no_run_file(Path(out), "page.html")
    return Path(out)
