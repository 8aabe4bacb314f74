"""The page's parts as HTML. Whatever is not ours, such as the names of classes, is escaped."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..evaluation import Mistakes, percent
from ..plots import overlay
from ..prediction import Ranked
from ..reporting.images import data_uri
from .inference import Inference

_LONGEST_NAME, _LONGEST_REASON = 80, 600
_MAP_SIDE: Final = 96
_SEEN: Final = {
    "crop": "the middle square",
    "pad": "the whole, made square by black bars",
    "squash": "the whole, squashed",
}
# Gradio fills templates of JavaScript and of Handlebars with these texts.
_OF_TEMPLATES: Final = {ord(letter): f"&#{ord(letter)};" for letter in "{}$`\\"}


def text(words: str, most: int = _LONGEST_NAME) -> str:
    """Words as HTML shows them, of long ones the ends."""
    half = most // 2
    short = words if len(words) <= most else f"{words[:half]}…{words[-half + 1 :]}"
    return html.escape(short.encode(errors="replace").decode()).translate(_OF_TEMPLATES)


def header(inference: Inference) -> str:
    """What is served, and how good it is."""
    recipe = inference.run.recipe
    right = f"{percent(inference.accuracy, 2)} of {inference.tested:,} test images right"
    return f"<h1>{text(recipe.name)} <span>on {text(recipe.data.label)}: {right}</span></h1>"


def answer(ranked: Sequence[Ranked]) -> str:
    """The most probable classes with bars."""
    rows = [
        f'<li><div class="answer"><span>{text(one.name)}</span><span>{percent(one.probability)}</span></div>'
        f"{_bar(one.probability, 'blue')}</li>"
        for one in ranked
    ]
    return f'<ol class="answers" aria-label="Classes, the most probable first">{"".join(rows)}</ol>'


def picture(pixels: NDArray[np.uint8], activation: NDArray[np.float32] | None, said: str) -> str:
    """The image as the net sees it, beside it with a map over it, and a sentence below that is HTML."""
    plain = f'<div class="image"><img class="pixels" alt="The image as the net sees it" src="{_lossless(pixels)}">'
    over = "" if activation is None else f"{plain}{_map(activation)}</div>"
    return f'<figure class="seen">{plain}</div>{over}<figcaption>{said}</figcaption></figure>'


def sentence(inference: Inference, activation: NDArray[np.float32] | None, name: str, layer: str) -> str:
    """What `picture` shows."""
    side, seen = inference.side, _SEEN[inference.run.recipe.data.fit]
    sees = f"What the net sees: {seen}, at {side}&nbsp;&times;&nbsp;{side} pixels."
    if activation is None:
        return sees
    height, width = activation.shape
    if not activation.any():
        return f"{sees} Grad-CAM finds nothing that spoke for {text(name)}, at the layer <code>{text(layer)}</code>."
    grid = f"at the layer <code>{text(layer)}</code>, on a grid of {height} &times; {width}"
    return f"{sees} Grad-CAM marks what spoke for {text(name)}, {grid}."


def problem(words: str) -> str:
    """Why there is no answer."""
    return f'<p class="problem" role="alert">{text(words[:1].upper() + words[1:], _LONGEST_REASON)}.</p>'


def cards(inference: Inference, chosen: Mistakes, maps: NDArray[np.float32] | None) -> str:
    """Mistakes as cards, as the report has them."""
    images = inference.images
    assert images is not None
    found = []
    for row, index in enumerate(chosen.index.tolist()):
        said, true = (text(inference.classes[int(which[row])]) for which in (chosen.predicted, chosen.true))
        over = "" if maps is None else _map(maps[row])
        found.append(
            f'<li class="card"><div class="image"><img class="pixels" src="{data_uri(images.images_nhwc[index])}" '
            f'alt="Test image {index}: {true}, taken for {said}">{over}</div>'
            f"{_line('said', said, float(chosen.predicted_probability[row]), 'orange')}"
            f"{_line('is', true, float(chosen.true_probability[row]), 'blue')}</li>"
        )
    return f'<ul class="cards">{"".join(found)}</ul>'


def _line(kind: str, name: str, probability: float, colour: str) -> str:
    words = f'<div class="answer {kind}"><span title="{name}">{name}</span><span>{percent(probability, 0)}</span></div>'
    return words + _bar(probability, colour)


def _bar(share: float, colour: str) -> str:
    return f'<span class="bar"><span style="width: {100 * share:.2f}%; background: var(--{colour})"></span></span>'


def _map(activation: NDArray[np.float32]) -> str:
    blank = np.zeros((1, _MAP_SIDE, _MAP_SIDE, 3), np.uint8)
    return f'<img class="map" alt="" src="{data_uri(overlay(blank, activation[None], 1.0)[0])}">'


def _lossless(pixels: NDArray[np.uint8]) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
