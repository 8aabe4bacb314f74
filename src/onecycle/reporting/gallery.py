"""What does it look at? The images it gets wrong, what it looked at in them, and labels that are likely wrong."""

from __future__ import annotations

import base64
import functools
import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..data import ImageSet
from ..errors import UserError
from ..evaluation import Labels, Logits, Mistakes, mistakes, percent
from ..explanation import Activations, LabelErrors, explain, find_label_errors
from .images import data_uri

CARDS_BYTES = 2_600_000  # of all images that are wrong; with the rest of the page it stays under 4 MB
LABEL_ERRORS_BYTES = 200_000
MOST_CARDS = 1_000
MOST_LABEL_ERRORS = 12
_CARD_BYTES = 1_000  # of a card's elements, beside its image, its maps and the names of its classes


@dataclass(frozen=True)
class Card:
    """A wrong image; `maps` are class activation maps for the predicted and the true class: [h * w] bytes, base64."""

    index: int
    true: int
    predicted: int
    true_probability: float
    predicted_probability: float
    uri: str
    maps: tuple[str, str] | None


@dataclass(frozen=True)
class LabelError:
    """An image whose label is likely wrong, and why."""

    index: int
    given: str
    suggested: str
    reason: str
    uri: str


@dataclass(frozen=True)
class Gallery:
    """Cards by falling confidence, `pairs_shown` pairs of a true and a predicted class among them.

    `map_shape` is (h, w), None without maps; `layer` is the one they are of. `label_errors` are the
    clearest of `label_error_count`.
    """

    cards: tuple[Card, ...]
    pairs_shown: int
    layer: str
    map_shape: tuple[int, int] | None
    why_no_maps: str
    label_errors: tuple[LabelError, ...]
    label_error_count: int


def gallery(
    logits_nk: Logits,
    labels: Labels,
    images: ImageSet,
    classes: Sequence[str],
    net: nn.Module | None,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device,
    why_no_net: str = "",
) -> Gallery:
    """As many mistakes as there is room for: first the most confident one of each pair of classes, then the others.

    `classes` are their names in the page; the net, in eval mode on `device`, is there to make the maps, and where it is
    None `why_no_net` is said in their place.
    """
    found = mistakes(logits_nk, labels)
    looked = None if net is None else functools.partial(explain, net, images, mean=mean, std=std, device=device)
    shape, why_no_maps = None, why_no_net
    if looked and len(found):
        try:
            shape = _shape(looked(found.subset(np.arange(1))))  # of which depends how many there is room for
        except UserError as error:  # the net has no layer that gives maps
            why_no_maps = str(error)
    rows, uris = _with_room(found, images, classes, shape)
    shown = found.subset(rows)
    maps = looked(shown) if looked and shape and len(shown) else None
    errors = find_label_errors(logits_nk, labels)
    return Gallery(
        cards=tuple(
            Card(
                int(shown.index[number]),
                int(shown.true[number]),
                int(shown.predicted[number]),
                float(shown.true_probability[number]),
                float(shown.predicted_probability[number]),
                uris[number],
                None if maps is None else (_packed(maps.of_predicted[number]), _packed(maps.of_true[number])),
            )
            for number in range(len(shown))
        ),
        pairs_shown=len(_first_of_each_pair(shown)),
        layer=maps.layer if maps else "",
        map_shape=shape if maps else None,
        why_no_maps=why_no_maps,
        label_errors=tuple(_clearest(errors, images, classes)),
        label_error_count=len(errors),
    )


def _with_room(
    found: Mistakes, images: ImageSet, classes: Sequence[str], map_shape: tuple[int, int] | None
) -> tuple[NDArray[np.int64], list[str]]:
    """Which mistakes are shown, ascending, and their images."""
    height, width = map_shape or (0, 0)
    bytes_of_card = _CARD_BYTES + 2 * 4 * -(-height * width // 3)  # base64 has four letters for three bytes
    first = _first_of_each_pair(found)
    others = np.setdiff1d(np.arange(len(found)), first)
    bytes_of = [len(html.escape(name).encode()) for name in classes]
    room, uris = CARDS_BYTES, {}
    for row in [*first.tolist(), *others.tolist()][:MOST_CARDS]:
        uri = data_uri(images.images_nhwc[found.index[row]])
        room -= len(uri) + bytes_of_card + 3 * (bytes_of[found.true[row]] + bytes_of[found.predicted[row]])
        if room < 0:
            break
        uris[row] = uri
    rows = np.sort(np.fromiter(uris, np.int64, len(uris)))
    return rows, [uris[row] for row in rows.tolist()]


def _first_of_each_pair(found: Mistakes) -> NDArray[np.int64]:
    """The most confident mistake of each pair of classes, by falling confidence."""
    pairs = np.stack([found.true, found.predicted], axis=1)
    return np.sort(np.unique(pairs, axis=0, return_index=True)[1])


def _packed(activation: NDArray[np.float32]) -> str:
    return base64.b64encode((activation * 255).round().astype(np.uint8).tobytes()).decode()


def _shape(maps: Activations) -> tuple[int, int]:
    height, width = maps.of_predicted.shape[1:]
    return int(height), int(width)


def _clearest(errors: LabelErrors, images: ImageSet, classes: Sequence[str]) -> list[LabelError]:
    room, found = LABEL_ERRORS_BYTES, []
    for number in range(min(len(errors), MOST_LABEL_ERRORS)):
        index, likely = int(errors.index[number]), int(errors.suggested[number])
        given, suggested = classes[errors.given[number]], classes[likely]
        uri = data_uri(images.images_nhwc[index])
        room -= len(uri)
        if room < 0:
            break
        reason = (
            f"{suggested} at {percent(errors.suggested_probability[number])}, where images labelled so have "
            f"{percent(errors.thresholds[likely])} on average; {given} at {percent(errors.given_probability[number])}"
        )
        found.append(LabelError(index, given, suggested, reason, uri))
    return found
