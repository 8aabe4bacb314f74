"""What is there before a training: data sets and nets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch

from .. import plots, registry
from ..data import ImageSet
from ..data import fetch as fetching
from ..errors import UserError, one_line, suggestion
from ..models.summary import Summary, summarize
from ..preparation import Sets, load_data, split
from ..progress import default_observer, download_progress
from ..recipes import Recipe, recipe


def summarize_net(name: str, *, num_classes: int = 10, image_size: int = 32, batch_size: int = 1) -> Summary:
    """The layer table of a registered net, which is built without memory for weights and images.

    Raises UserError where the net is unknown, or takes no images of that size.
    """
    build = registry.load("model", name)
    with torch.device("meta"):
        net = build(num_classes)
    try:
        return summarize(net, (batch_size, 3, image_size, image_size))
    except (RuntimeError, ValueError, AssertionError) as error:
        raise UserError(f"net {name} takes no images of {image_size} pixels a side ({one_line(str(error))})") from error


def fetch(
    name: str = "cifar10",
    *,
    data_dir: str | Path | None = None,
    mirrors: Sequence[str] = (),
    timeout_s: float = 30.0,
) -> Path:
    """Download and verify a data set's archive unless it is there, going on where an earlier try was cut off.

    It goes to `data_dir`, else where ONECYCLE_DATA points, else into the user's cache. `mirrors` are tried first;
    `timeout_s` bounds each wait for the network. Raises UserError where the set is unknown, or no mirror gave it.
    """
    if name not in fetching.ARCHIVES:
        raise UserError(f"data set {name!r} cannot be fetched; {suggestion(name, fetching.ARCHIVES)}")
    archive, target = fetching.ARCHIVES[name], fetching.data_folder(None if data_dir is None else Path(data_dir))
    with download_progress(name) as report:
        return fetching.fetch(archive, target, mirrors=[*mirrors, *archive.urls], timeout_s=timeout_s, progress=report)


def describe_data(images: ImageSet) -> dict[str, Any]:
    """Counts, classes and channel statistics of a set."""
    mean, std = images.channel_statistics()
    counts = np.bincount(images.labels, minlength=len(images.classes)).tolist()
    return {
        "images": len(images),
        "image_size": images.image_size,
        "classes": dict(zip(images.classes, counts, strict=True)),
        "mean": list(mean),
        "std": list(std),
    }


def load_sets(name: str, *, data_dir: str | Path | None = None, **changes: Any) -> Sets:
    """The images of a data set by its name or path, in its parts or those that `changes`, a recipe's, make of it.

    The observer of a training says what was left out of one's own images. Raises UserError as loading does.
    """
    wanted = recipe("custom_resnet", **{"data.name": name}, **changes)
    # Not for training, so any size of batch will do.
    return split(wanted.evolve(data={"batch_size": 1}), load_data(wanted, data_dir, observer=default_observer()))


@overload
def preview(
    name: str | Path | Recipe,
    *,
    out: None = None,
    samples: int = 10,
    epochs: int = 8,
    data_dir: str | Path | None = None,
    **changes: Any,
) -> plots.Figure: ...


@overload
def preview(
    name: str | Path | Recipe,
    *,
    out: str | Path,
    samples: int = 10,
    epochs: int = 8,
    data_dir: str | Path | None = None,
    **changes: Any,
) -> Path: ...


def preview(
    name: str | Path | Recipe,
    *,
    out: str | Path | None = None,
    samples: int = 10,
    epochs: int = 8,
    data_dir: str | Path | None = None,
    **changes: Any,
) -> plots.Figure | Path:
    """Draw training images, one a class in turn, beside what the recipe makes of each in its first epochs.

    The figure is returned, or with `out` written there, and the path is returned.
    """
    wanted = recipe(name, **changes)
    # Of a set that is smaller than the recipe's batch too.
    images = split(
        wanted.evolve(data={"batch_size": 1}), load_data(wanted, data_dir, observer=default_observer())
    ).train
    figure = plots.augmented(wanted, images, samples=samples, epochs=epochs)
    return figure if out is None else plots.save(figure, Path(out))
