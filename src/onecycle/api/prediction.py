"""Let a run's net say what images show."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final, TextIO, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from ..data import ImageSet, Pixels, Rows
from ..data.decode import BadImage, fit_image
from ..data.folder import decode_file
from ..data.listing import first_of
from ..data.own import Damaged
from ..errors import UserError, suggestion
from ..hardware import resolve_device
from ..prediction import FORMATS, FileBatch, Predictions, Predictor, Writer, list_images, predict_files, writer
from ..prediction.result import SHOWN, check_top
from ..progress import default_observer
from ..run import Run

OneImage = str | Path | Image.Image
Images = ImageSet | NDArray[np.uint8] | OneImage | Sequence[OneImage]
_FORMS: Final = "an ImageSet, a uint8 array, images of Pillow's, or paths are needed"


def predict(
    run: str | Path | Run,
    images: Images,
    *,
    model: nn.Module | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    tta: str = "none",
    damaged: Damaged = "refuse",
) -> Predictions:
    """What the net of a finished run says of images.

    `images` is an ImageSet; a uint8 array [n, h, w, 3], or [h, w, 3] for one image; an image of Pillow's; the path of a
    file or a folder; or a list of paths and images of Pillow's. Whatever has another size than the run's images is
    made square and scaled as the recipe's `data.fit` says, the same way whether it comes as a file, an image or an
    array; JPEG files that are much larger are decoded at a part of their size, see `onecycle.data.decode`.

    Logits come in the run's precision and, unless `batch_size` says otherwise, its batches: those of its test set are
    the ones that it stored. `tta`, "flip" or "flip_shift", averages them over views of each image. `model` is the net,
    where the training was handed one. Files that cannot be read are all named in one error; of paths alone they are
    left out, and named in the result, with `damaged="skip"`. Raises UserError where there is nothing to predict or
    something does not fit.
    """
    if damaged not in get_args(Damaged):
        raise UserError(f"damaged {damaged!r} is not allowed; {suggestion(damaged, get_args(Damaged))}")
    opened = Run.of(run)
    several: Any = [images] if isinstance(images, str | os.PathLike | Image.Image) else images
    of_paths = isinstance(several, Sequence) and all(isinstance(image, str | os.PathLike) for image in several)
    files = list_images(several) if of_paths else []
    if of_paths and not files:
        raise UserError("there are no images to predict; one at least is needed")
    predictor = Predictor(opened, device=resolve_device(device), model=model, batch_size=batch_size, tta=tta)
    if not of_paths:
        return _predict_pixels(predictor, _pixels(several, predictor))
    parts = list(_told(predictor, files))
    bad = {path: reason for part in parts for path, reason in part.damaged.items()}
    if bad and (damaged == "refuse" or len(bad) == len(set(files))):
        lines = [f"{path}: {reason}" for path, reason in bad.items()]
        raise UserError(*first_of(lines, f"{len(bad):,} of {len(files):,} files cannot be read"))
    return Predictions(
        np.concatenate([part.logits_nk for part in parts]),
        predictor.classes,
        tuple(path for part in parts for path in part.paths),
        bad,
        np.concatenate([part.images_nhwc[:SHOWN] for part in parts[:SHOWN]])[:SHOWN],
    )


def write_predictions(
    run: str | Path | Run,
    paths: Iterable[str | Path],
    out: TextIO | None = None,
    *,
    form: str = "table",
    top_k: int | None = None,
    model: nn.Module | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    tta: str = "none",
) -> dict[Path, str]:
    """Predict files, and folders of them, of any number, and write a line for each as soon as it is known.

    To `out`, by default stdout, as "table", "csv" or "json", which is `form`; `top_k` is the number of classes to each
    image, by default 3. Files that cannot be read are left out and returned, with the reason. Other options are as for
    `predict`. Nothing is written before all is known to fit.
    """
    opened = Run.of(run)
    if form not in FORMATS:
        raise UserError(f"format {form!r} is not allowed; {suggestion(form, FORMATS)}")
    top = min(3, len(opened.classes)) if top_k is None else top_k
    check_top(top, len(opened.classes))
    files = list_images(paths)
    if not files:
        raise UserError("there are no images to predict; name one at least")
    predictor = Predictor(opened, device=resolve_device(device), model=model, batch_size=batch_size, tta=tta)
    damaged: dict[Path, str] = {}
    lines: Writer | None = None
    for part in _told(predictor, files):
        if lines is None:
            lines = writer(form, out or sys.stdout, opened.classes, top)  # which a bar may have taken over by now
            lines.begin(opened.path, files)
        lines.add(Predictions(part.logits_nk, opened.classes, tuple(part.paths)))
        damaged |= part.damaged
    assert lines is not None
    lines.end(damaged)
    return damaged


def _told(predictor: Predictor, files: Sequence[Path]) -> Iterator[FileBatch]:
    """The batches of some files, with progress."""
    begin = time.monotonic()
    done = 0
    with default_observer().progress_of("prediction") if len(files) > predictor.batch_size else nullcontext() as say:
        for part in predict_files(predictor, files, predictor.recipe.data.fit):
            done += len(part.paths) + len(part.damaged)
            if say is not None:
                say(done, len(files), f"{done / (time.monotonic() - begin):,.0f} images/s")
            yield part


def _predict_pixels(predictor: Predictor, images_nhwc: Pixels) -> Predictions:
    if not len(images_nhwc):
        raise UserError("there are no images to predict; one at least is needed")
    if len(images_nhwc) <= predictor.batch_size:
        logits_nk = predictor.logits(images_nhwc)
    else:
        with default_observer().progress_of("prediction") as say:
            logits_nk = predictor.logits(images_nhwc, lambda done: say(done, len(images_nhwc), "images"))
    return Predictions(logits_nk, predictor.classes, first_nhwc=images_nhwc[:SHOWN].copy())


def _pixels(images: Any, predictor: Predictor) -> Pixels:
    """What was handed in as uint8 [n, side, side, 3]. Raises UserError where it is nothing of the kind."""
    side, fit = predictor.side, predictor.recipe.data.fit
    if isinstance(images, ImageSet):
        images = images.images_nhwc
    if isinstance(images, np.ndarray | Rows):
        if images.dtype != np.uint8 or images.ndim not in (3, 4) or images.shape[-1] != 3 or 0 in images.shape[-3:]:
            raise UserError(f"images are {images.dtype} {list(images.shape)}; uint8 [n, height, width, 3] is needed")
        if images.ndim == 3:
            images = images[None]
        if images.shape[1:3] == (side, side):
            whole: Pixels = images
            return whole
        images = [Image.fromarray(image) for image in images]
    if not isinstance(images, Sequence):
        raise UserError(f"images are of the type {type(images).__name__}; {_FORMS}")
    found, bad = np.empty((len(images), side, side, 3), np.uint8), []
    for number, image in enumerate(images):
        try:
            if isinstance(image, str | os.PathLike):
                found[number] = decode_file(Path(image), side=side, fit=fit)
            elif isinstance(image, Image.Image):
                found[number] = fit_image(image, side=side, fit=fit)
            else:
                raise UserError(f"image {number} is of the type {type(image).__name__}; {_FORMS}")
        except BadImage as error:
            name = image if isinstance(image, str | os.PathLike) else f"image {number}"
            bad.append(f"{name}: {error}")
    if bad:
        raise UserError(*first_of(bad, f"{len(bad):,} of {len(images):,} images cannot be read"))
    return found
