"""The page in a browser: a real upload, classes, Grad-CAM, mistakes; requests go to the server alone."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import browser
from PIL import Image
from served import CLASSES, Server, needs_gradio, server

__all__ = ["browser"]  # a fixture
pytestmark = needs_gradio


@pytest.fixture(scope="module")
def live() -> Server:
    return server()


@pytest.fixture
def page(browser: Any, live: Server) -> Iterator[Any]:
    yield from _opened(browser, live, width=1280)


def _opened(browser: Any, live: Server, **options: Any) -> Iterator[Any]:
    """The page; what goes wrong in it, and each request to somewhere else, fails the test."""
    tab = browser.new_page(viewport={"width": options.pop("width"), "height": 900}, **options)
    wrong: list[str] = []
    ours = f"http://127.0.0.1:{live.port}/"
    tab.on("console", lambda message: wrong.append(message.text))
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("dialog", lambda dialog: (wrong.append(f"alert: {dialog.message}"), dialog.dismiss()))
    tab.on("request", lambda one: None if one.url.startswith((ours, "data:", "blob:")) else wrong.append(one.url))
    tab.on("response", lambda one: wrong.append(f"{one.status} {one.url}") if one.status >= 400 else None)
    tab.goto(ours)
    tab.locator(".zone").wait_for()
    yield tab
    tab.close()
    assert not wrong


@pytest.fixture
def photo(live: Server, tmp_path: Path) -> Path:
    path = tmp_path / "photo <b>.png"
    Image.fromarray(live.test.images_nhwc[0]).save(path)
    return path


def pixels(tab: Any, selector: str) -> np.ndarray:
    """Those of an image with a data URI."""
    uri = tab.locator(selector).first.get_attribute("src")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB"))


def answers(tab: Any) -> list[str]:
    tab.locator(".answers").wait_for()
    return tab.locator(".answers li .answer span:first-child").all_inner_texts()


def choose(tab: Any, label: str, option: str) -> None:
    tab.get_by_label(label, exact=True).locator("visible=true").click()
    tab.get_by_role("option", name=option, exact=True).click()


def test_an_upload_gets_its_classes_and_the_maps_of_any_layer(page: Any, live: Server, photo: Path) -> None:
    page.set_input_files("#photo", photo)
    expected = live.run.predict(live.test.images_nhwc[0]).top(4)[0]
    assert answers(page) == [one.name for one in expected]  # hostile as they are: text, and nothing else
    assert page.locator(".told").inner_text() == photo.name
    np.testing.assert_array_equal(pixels(page, ".seen .pixels"), live.test.images_nhwc[0])
    first = pixels(page, ".seen .map")
    assert first.shape == (96, 96, 3) and first.std() > 1
    said = page.locator(".seen figcaption")
    assert f"spoke for {expected[0].name}, at the layer" in said.inner_text()
    choose(page, "Grad-CAM for", expected[3].name)
    said.get_by_text(f"spoke for {expected[3].name}").wait_for()
    assert not np.array_equal(pixels(page, ".seen .map"), first)
    choose(page, "at the layer", _another_layer(page))
    said.get_by_text(re.compile(f"at the layer {re.escape(_another_layer(page))}")).wait_for()
    page.get_by_label("number input for opacity, %").locator("visible=true").fill("20")
    page.wait_for_function("getComputedStyle(document.querySelector('.seen .map')).opacity === '0.2'")
    page.get_by_label("number input for Classes shown").fill("2")
    page.wait_for_function("document.querySelectorAll('.answers li').length === 2")


def _another_layer(tab: Any) -> str:
    config = tab.evaluate("window.gradio_config.components.find(one => one.props.label === 'at the layer').props")
    return next(name for name, _ in config["choices"] if name != config["value"])


def test_what_is_no_image_is_said_and_the_next_one_is_seen(page: Any, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "words.png").write_text("no image")
    page.set_input_files("#photo", tmp_path / "words.png")
    page.get_by_role("alert").get_by_text("No image that can be read").wait_for()
    (tmp_path / "large.png").write_bytes(b"x" * 500_001)
    page.set_input_files("#photo", tmp_path / "large.png")
    page.locator(".told").get_by_text("at most 0.5 MB").wait_for()
    (tmp_path / "empty.png").write_bytes(b"")
    page.set_input_files("#photo", tmp_path / "empty.png")
    page.get_by_role("alert").get_by_text("The file is empty").wait_for()
    page.set_input_files("#photo", photo)
    assert len(answers(page)) == 4
    assert page.get_by_role("alert").count() == 0


def test_a_drop_and_a_paste_are_taken(page: Any, photo: Path) -> None:
    content = base64.b64encode(photo.read_bytes()).decode()
    make = """([content, kind]) => {
      const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
      const data = new DataTransfer();
      data.items.add(new File([bytes], `${kind}.png`, { type: "image/png" }));
      const event = kind === "drop" ? new DragEvent("drop", { dataTransfer: data, bubbles: true })
        : new ClipboardEvent("paste", { clipboardData: data, bubbles: true });
      document.querySelector(kind === "drop" ? ".zone" : "body").dispatchEvent(event);
    }"""
    for kind in ("drop", "paste"):
        page.evaluate(make, [content, kind])
        page.locator(".told").get_by_text(f"{kind}.png").wait_for()
        assert len(answers(page)) == 4


def test_mistakes_are_filtered_paged_and_mapped(page: Any, live: Server) -> None:
    stored = live.run.predictions()
    predicted, labels = stored["logits"].argmax(1), stored["labels"]
    page.get_by_role("tab", name="Its mistakes").click()
    status, cards = page.locator(".status span[role=status]"), page.locator(".card:visible")
    wrong = int((predicted != labels).sum())
    assert wrong > 24 and cards.count() == 24
    assert status.inner_text() == f"{wrong} wrong images: 1 to 24, the surest first."
    page.get_by_role("button", name="Less sure ones").click()
    status.get_by_text(f": 25 to {wrong}").wait_for()
    assert cards.count() == wrong - 24
    true = int(np.bincount(labels[predicted != labels]).argmax())
    choose(page, "It is", CLASSES[true])
    of_true = int(((predicted != labels) & (labels == true)).sum())
    status.get_by_text(f"{of_true} wrong images of {CLASSES[true]}").wait_for()
    assert cards.count() == of_true
    assert set(page.locator(".card:visible .is span:first-child").all_inner_texts()) == {CLASSES[true]}
    assert page.locator(".card .map").count() == 0
    page.get_by_label("predicted class", exact=True).click()
    page.locator(".card .map").first.wait_for()
    first = pixels(page, ".card .map")
    source = page.locator(".card .map").first.evaluate("image => image.src")
    page.get_by_label("true class", exact=True).click()
    page.wait_for_function(
        "before => ![undefined, before].includes(document.querySelector('.card .map')?.src)", arg=source
    )
    assert page.locator(".card .map").count() == of_true and not np.array_equal(pixels(page, ".card .map"), first)


def test_the_way_for_programs_names_this_server(page: Any, live: Server) -> None:
    page.get_by_role("tab", name="For programs").click()
    shown = page.locator(".code").inner_text()
    assert shown.startswith(f'curl --data-binary @photo.jpg "http://127.0.0.1:{live.port}/predict?top_k=3"')
    assert '{"classes": [{"name": ' in shown


def test_a_phone_in_the_dark(browser: Any, live: Server, photo: Path) -> None:
    for tab in _opened(browser, live, width=390, color_scheme="dark"):
        tab.set_input_files("#photo", photo)
        assert len(answers(tab)) == 4
        assert tab.evaluate("document.documentElement.scrollWidth") == 390
        tab.get_by_role("tab", name="Its mistakes").click()
        tab.locator(".card").first.wait_for()
        assert tab.evaluate("document.documentElement.scrollWidth") == 390
        assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(21, 22, 24)"
