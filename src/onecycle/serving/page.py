"""The page: an image and what the net says of it, the mistakes, the way for programs. Gradio is imported here alone."""

from __future__ import annotations

import base64
import binascii
import json
from importlib import resources
from typing import Any, Final

import gradio as gr
import numpy as np

from ..data.decode import BadImage
from ..errors import UserError
from . import browsing, parts
from .endpoints import MOST_CLASSES
from .inference import Inference, Seen
from .limits import Limits
from .looks import theme_settings

_FONTS: Final = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "Helvetica Neue", "sans-serif")
_MONO: Final = ("ui-monospace", "SF Mono", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace")
_QUIET: Final = {"show_progress": "hidden", "api_visibility": "private"}
_OPACITY: Final = "(value) => { document.documentElement.style.setProperty('--opacity', value / 100); }"
_HOST: Final = 'element.querySelector(".host").textContent = location.host;'
_ANY: Final = ("any class", -1)


def mount(app: Any, inference: Inference, limits: Limits) -> None:
    """Put the page at / of a FastAPI application."""
    with gr.Blocks(analytics_enabled=False, title=f"onecycle: {inference.run.recipe.name}", fill_width=True) as page:
        gr.HTML(parts.header(inference), elem_classes="top", js_on_load=None)
        with gr.Tabs():
            with gr.Tab("An image"):
                _image(inference, limits)
            with gr.Tab("Its mistakes"):
                _mistakes(inference)
            with gr.Tab("For programs"):
                gr.HTML(_programs(inference, limits), js_on_load=_HOST)
    page.queue(max_size=limits.at_once, default_concurrency_limit=4, status_update_rate=60)
    theme = gr.themes.Base(font=_FONTS, font_mono=_MONO, text_size="md", radius_size="sm").set(**theme_settings())
    gr.mount_gradio_app(
        app,
        page,
        path="/",
        theme=theme,
        css=_asset("page.css"),
        footer_links=[],
        run_history=False,
        allowed_paths=[],
        blocked_paths=["/"],
        show_error=False,
        max_file_size=1,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        pwa=False,
    )


def _image(inference: Inference, limits: Limits) -> None:
    """Drop an image; classes with probabilities; Grad-CAM for a class at a layer."""
    most = min(MOST_CLASSES, len(inference.classes))
    seen = gr.State(None)
    with gr.Row(elem_classes="columns"):
        with gr.Column(scale=1, min_width=320):
            drop = gr.HTML(
                "",
                html_template=_asset("drop.html"),
                js_on_load=_asset("drop.js").replace("MOST_BYTES", str(limits.upload_bytes)),
                elem_id="drop",
            )
            picture = gr.HTML("", js_on_load=None)
        with gr.Column(scale=1, min_width=320):
            answer = gr.HTML('<p class="note">The answer comes here.</p>', js_on_load=None)
            with gr.Column(visible=False) as controls:
                count = gr.Slider(1, most, value=min(5, most), step=1, label="Classes shown", buttons=[])
                with gr.Column(visible=bool(inference.layers)):
                    label = gr.Dropdown([], label="Grad-CAM for", interactive=True)
                    layer = gr.Dropdown(inference.layers, value=inference.layer, label="at the layer", interactive=True)
                    opacity = gr.Slider(0, 100, value=55, step=1, label="opacity, %", buttons=[])
            if inference.why_no_maps:
                gr.HTML(parts.problem(inference.why_no_maps), js_on_load=None)

    def look(found: Seen | None, wanted: int | None, at: str | None) -> str:
        if found is None:
            return ""
        if not inference.layers or wanted is None or at not in inference.layers:
            return parts.picture(found.pixels, None, parts.sentence(inference, None, "", ""))
        try:
            activation = inference.map_of(found.pixels, wanted, at)
        except UserError as error:
            return parts.picture(found.pixels, None, parts.problem(str(error)))
        said = parts.sentence(inference, activation, inference.classes[wanted], at)
        return parts.picture(found.pixels, activation, said)

    def ranked(found: Seen | None, shown: float) -> str:
        return "" if found is None else parts.answer(found.predictions.top(int(shown))[0])

    def see(dropped: str | None, shown: float, at: str | None) -> tuple[Any, ...]:
        try:
            found = inference.see(_content(dropped or ""))
        except BadImage as error:
            return None, parts.problem(str(error)), gr.update(visible=False), gr.skip(), ""
        (top,) = found.predictions.top(most)
        choices = [(one.name, one.label) for one in top]
        return (
            found,
            ranked(found, shown),
            gr.update(visible=True),
            gr.update(choices=choices, value=top[0].label),
            look(found, top[0].label, at),
        )

    drop.upload(see, [drop, count, layer], [seen, answer, controls, label, picture], **_QUIET)
    count.change(ranked, [seen, count], answer, **_QUIET)
    for control in (label, layer):
        control.input(look, [seen, label, layer], picture, **_QUIET)
    opacity.change(None, opacity, None, js=_OPACITY)


def _mistakes(inference: Inference) -> None:
    """Misclassified test images, filtered, with maps, a page at a time."""
    found = inference.mistakes
    instead = browsing.instead(inference)
    if instead:
        gr.HTML(instead, js_on_load=None)
        return
    said, first = browsing.shown(inference, None, None, browsing.OFF, 0)
    at = gr.State(0)
    with gr.Row(elem_classes="filters"):
        true, predicted = (
            gr.Dropdown([_ANY, *_choices(inference, labels)], value=-1, label=words, min_width=150, interactive=True)
            for words, labels in (("It is", found.true), ("taken for", found.predicted))
        )
        kinds = [browsing.OFF, browsing.OF_PREDICTED, browsing.OF_TRUE]
        maps = gr.Radio(kinds, value=browsing.OFF, label="Grad-CAM", visible=bool(inference.layers), min_width=400)
        opacity = gr.Slider(
            0, 100, value=55, step=1, label="opacity, %", visible=bool(inference.layers), min_width=160, buttons=[]
        )
    status, listed = gr.HTML(said, js_on_load=None), gr.HTML(first, js_on_load=None)
    with gr.Row(elem_classes="paging"):
        back = gr.Button("Surer ones", interactive=False, min_width=120)
        on = gr.Button("Less sure ones", interactive=browsing.pages(len(found)) > 1, min_width=120)

    def show(is_class: int, said_class: int, kind: str, page: int) -> tuple[Any, ...]:
        classes = [None if one is None or one < 0 else int(one) for one in (is_class, said_class)]
        last = browsing.pages(len(browsing.selected(found, classes[0], classes[1]))) - 1
        page = min(max(page, 0), last)
        said, cards = browsing.shown(inference, classes[0], classes[1], kind, page)
        return page, said, cards, gr.update(interactive=page > 0), gr.update(interactive=page < last)

    def turn(by: int) -> Any:
        return lambda is_class, said_class, kind, page: show(is_class, said_class, kind, page + by)

    def restart(is_class: int, said_class: int, kind: str, page: int) -> tuple[Any, ...]:
        return show(is_class, said_class, kind, 0)

    inputs, outputs = [true, predicted, maps, at], [at, status, listed, back, on]
    for control in (true, predicted):
        control.input(restart, inputs, outputs, **_QUIET)
    maps.input(turn(0), inputs, outputs, **_QUIET)
    back.click(turn(-1), inputs, outputs, **_QUIET)
    on.click(turn(1), inputs, outputs, **_QUIET)
    opacity.change(None, opacity, None, js=_OPACITY)


def _choices(inference: Inference, labels: Any) -> list[tuple[str, int]]:
    return [(inference.classes[label], label) for label in np.unique(labels).tolist()]


def _content(dropped: str) -> bytes:
    """The file in a data URI. Raises BadImage where it is none."""
    kind, _, encoded = dropped.partition(",")
    try:
        if not kind.endswith(";base64"):
            raise ValueError
        return base64.b64decode(encoded, validate=True)
    except (ValueError, binascii.Error):
        raise BadImage("nothing was sent that can be read") from None


def _programs(inference: Inference, limits: Limits) -> str:
    most = min(MOST_CLASSES, len(inference.classes))
    return (
        _asset("programs.html")
        .replace("SHOWN", str(min(3, most)))
        .replace("MOST_CLASSES", str(most))
        .replace("MOST_BYTES", f"{limits.upload_bytes / 1e6:g} MB")
        .replace("PER_SECOND", f"{limits.per_second:g}")
        .replace("A_CLASS", parts.text(json.dumps(inference.classes[0], ensure_ascii=False)))
    )


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath("assets", name).read_text(encoding="utf-8")
