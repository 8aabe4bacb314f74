"""The report in a browser: what clicks, keys and the switch do; no error, no request, nothing wider than a phone."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from chromium import browser, opened
from PIL import Image
from report_runs import finished, guesses, noise, report

from onecycle.evaluation import confusion_matrix

__all__ = ["browser"]  # a fixture

CLASSES = ("cat", "dog", "$x$ & <y>", "猫")


@pytest.fixture(scope="module")
def confusion(path: Path) -> np.ndarray:
    stored = np.load(path.with_name("predictions.npz"))
    return confusion_matrix(stored["logits"], stored["labels"])


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    images = noise(400, CLASSES)
    run = finished(tmp_path_factory.mktemp("report") / "run", images, guesses(images, 1.5))
    return report(run, images, train_images=images)


@pytest.fixture
def page(browser, path: Path) -> Iterator[object]:
    """The report, opened from disk; whatever goes wrong in it fails the test."""
    with opened(browser, path, width=1280) as tab:
        yield tab


@pytest.fixture
def phone(browser, path: Path) -> Iterator[object]:
    with opened(browser, path, width=390) as tab:
        yield tab


def shown(tab) -> list[tuple[str, str]]:
    """Classes of the cards that can be seen."""
    cards = tab.locator(".card[data-true]:visible")
    return cards.evaluate_all("cards => cards.map(card => [card.dataset.true, card.dataset.predicted])")


def painted(uri: str) -> np.ndarray:
    """The pixels of a canvas, from a PNG as a data URI."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_a_cell_of_the_matrix_shows_exactly_its_images(page, confusion) -> None:
    assert len(shown(page)) == 24
    page.get_by_label("cat taken for dog").click()
    assert shown(page) == [["0", "1"]] * confusion[0, 1]
    assert page.get_by_role("status").inner_text() == f"{confusion[0, 1]} wrong images: cat taken for dog."
    assert page.evaluate("document.activeElement.id") == "gallery-title"
    page.get_by_role("button", name="Show all").click()
    assert len(shown(page)) == 24
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("cat taken for dog")


def test_a_class_and_a_confused_pair_show_their_images(page, confusion) -> None:
    page.locator(".bars").get_by_role("button", name="dog").click()
    wrong = int(confusion[1].sum() - confusion[1, 1])
    assert page.get_by_role("status").inner_text().startswith(f"{wrong} wrong images of dog")
    assert {true for true, _ in shown(page)} == {"1"}
    page.locator(".pairs button").first.click()
    off = confusion - np.diag(confusion.diagonal())
    true, predicted = np.unravel_index(off.argmax(), off.shape)
    assert set(map(tuple, shown(page))) == {(str(true), str(predicted))}


def test_more_is_shown_until_all_are(page, confusion) -> None:
    wrong = int(confusion.sum() - confusion.trace())
    more = page.get_by_role("button", name="more")
    clicks = 0
    while more.is_visible():
        more.click()
        clicks += 1
    assert clicks == -(-wrong // 24) - 1
    assert len(shown(page)) == wrong


def test_the_selects_filter_too(page, confusion) -> None:
    page.get_by_label("taken for", exact=False).locator("visible=true").last.select_option("2")
    assert {predicted for _, predicted in shown(page)} == {"2"}
    assert page.get_by_role("status").inner_text().startswith(f"{confusion[:, 2].sum() - confusion[2, 2]} wrong images")


def test_grad_cam_is_painted_over_the_images_and_goes_again(page) -> None:
    assert page.locator("canvas").count() == 0
    page.get_by_text("predicted class", exact=True).click()
    first = page.locator("canvas").first
    read = "canvas => canvas.toDataURL()"
    of_predicted = painted(first.evaluate(read))
    assert (of_predicted[..., 3] == 255).all()
    packed = page.locator(".card[data-maps]").first.get_attribute("data-maps").split(",")[0]
    cells = page.evaluate("packed => [...atob(packed)].map(letter => letter.charCodeAt(0))", packed)
    brightness = of_predicted[..., :3].sum(2)[6::12, 6::12]  # about the centres of the map's cells
    np.testing.assert_array_equal(np.argmax(brightness), np.argmax(cells))
    assert np.corrcoef(brightness.ravel(), cells)[0, 1] > 0.9
    page.get_by_text("true class", exact=True).click()
    assert not np.array_equal(painted(first.evaluate(read)), of_predicted)
    page.get_by_label("opacity").fill("20")
    assert first.evaluate("canvas => getComputedStyle(canvas).opacity") == "0.2"
    page.get_by_role("button", name="more").click()
    assert page.locator("canvas:visible").count() == 48
    page.get_by_text("off", exact=True).click()
    assert page.locator("canvas:visible").count() == 0


def test_arrow_keys_move_from_cell_to_cell(page) -> None:
    cell = "document.activeElement.getAttribute('aria-label').split(':')[0]"
    page.locator(".matrix button").first.focus()
    assert page.evaluate(cell) == "cat taken for dog"
    page.keyboard.press("ArrowRight")
    assert page.evaluate(cell) == "cat taken for $x$ & <y>"
    page.keyboard.press("ArrowDown")
    assert page.evaluate(cell) == "dog taken for $x$ & <y>"
    page.keyboard.press("ArrowLeft")  # past the diagonal
    assert page.evaluate(cell) == "dog taken for cat"
    assert page.locator(".cell-reading").inner_text().startswith("dog taken for cat: ")
    page.keyboard.press("ArrowUp")  # nothing above but the diagonal
    assert page.evaluate(cell) == "dog taken for cat"
    assert page.locator(".matrix button[tabindex='0']").count() == 1
    page.keyboard.press("Enter")
    assert set(map(tuple, shown(page))) == {("1", "0")}


def test_charts_tell_their_values_to_pointer_and_keys(page) -> None:
    readers = page.get_by_role("slider")
    accuracy, loss = readers.nth(0), readers.nth(1)
    reading = ".chart >> nth=%d >> .reading"
    accuracy.focus()
    assert page.locator(reading % 0).inner_text() == "epoch 3: training 80.0%, test 75.0%"
    page.keyboard.press("ArrowLeft")
    assert accuracy.get_attribute("aria-valuetext") == "epoch 2: training 70.0%, test 65.0%"
    assert page.locator(reading % 1).inner_text() == "epoch 2: training 0.500, test 0.600"  # the loss follows
    box = loss.bounding_box()
    page.mouse.move(box["x"] + box["width"] - 70, box["y"] + 60)
    assert page.locator(reading % 0).inner_text().startswith("epoch 3:")
    page.mouse.move(5, 5)
    assert page.locator(reading % 1).inner_text() == ""


def test_the_dark_is_dark(page) -> None:
    def brightness(selector: str, key: str) -> float:
        colour = page.eval_on_selector(selector, f"one => getComputedStyle(one).{key}")
        return float(np.mean([float(part) for part in colour.strip("rgba()").split(",")[:3]]))

    line = ".chart svg path[style*='var(--blue)']"
    light = [brightness("html", "backgroundColor"), brightness("html", "color"), brightness(line, "stroke")]
    page.emulate_media(color_scheme="dark")
    dark = [brightness("html", "backgroundColor"), brightness("html", "color"), brightness(line, "stroke")]
    assert light[0] > 240 > 60 > dark[0]
    assert light[1] < 60 < 200 < dark[1]
    assert dark[2] > light[2]


def test_nothing_is_wider_than_a_phone(phone) -> None:
    assert phone.evaluate("document.documentElement.scrollWidth") == 390
    phone.locator("details").evaluate_all("all => all.forEach(one => { one.open = true; })")
    assert phone.evaluate("document.documentElement.scrollWidth") == 390


def test_every_picture_has_a_text_and_every_control_a_name(page) -> None:
    assert page.locator("img:not([alt]), img[alt='']").count() == 0
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    named = "all => all.filter(one => !(one.innerText || one.ariaLabel || one.labels?.[0]?.innerText)).length"
    assert page.locator("button:visible, select, input").evaluate_all(named) == 0


def test_without_scripts_all_images_are_there(browser, path: Path, confusion) -> None:
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(path.as_uri())
    assert tab.locator(".card[data-true]:visible").count() == confusion.sum() - confusion.trace()
    assert tab.locator("form").is_hidden()
    context.close()


def test_on_paper_nothing_is_cut_off(phone) -> None:
    phone.set_viewport_size({"width": 690, "height": 900})  # an A4 page between its margins
    phone.emulate_media(media="print", color_scheme="dark")
    assert phone.evaluate("document.documentElement.scrollWidth") == 690
    assert phone.locator(".scroll").evaluate_all("all => all.every(one => one.scrollWidth <= one.clientWidth)")
    assert phone.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    assert phone.locator("form").is_hidden()
