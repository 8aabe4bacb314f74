"""The page of a comparison: what stands in it, and how it behaves in Chromium where that is installed."""

from __future__ import annotations

import html.parser
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import browser, opened
from compared_runs import CLASSES, made_run, three_runs

from onecycle.comparison import caveat, compare, evidence, in_words, verdict
from onecycle.data import ImageSet
from onecycle.errors import UserError
from onecycle.reporting.comparison_page import write_comparison
from onecycle.run import Run

__all__ = ["browser"]  # a fixture


class Page(html.parser.HTMLParser):
    """The text of a page, the words under each heading, and its images."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.alt: list[str] = []
        self.text = ""
        self._silent = False
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._silent = tag in ("style", "script")
        if tag == "img":
            self.alt.append(dict(attrs)["alt"] or "")

    def handle_endtag(self, tag: str) -> None:
        self._silent = False
        if tag in ("td", "th", "p", "h2", "h3", "div"):
            self.text += " "

    def handle_data(self, data: str) -> None:
        self.text += "" if self._silent else data


@pytest.fixture
def images() -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 256, (200, 32, 32, 3), np.uint8)
    return ImageSet(pixels, np.arange(200) % 4, CLASSES)


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    return three_runs(tmp_path, '<base> & "co"')


def test_two_runs(runs: list[Run], images: ImageSet, tmp_path: Path) -> None:
    found = compare(runs[:2])
    page = Page(write_comparison(found, images, tmp_path / "page.html"))
    for words in (verdict(found, 0), evidence(found, 0), caveat(found), '<base> & "co"', "seed 0 7"):
        assert words in page.text
    (one,) = found.differences
    assert f"Only B is right 24 of {len(one.only_this)} images" in page.text
    assert f"Only A is right {len(one.only_baseline)} images" in page.text
    expected = [
        f"Image {image['index']}: {image['true']}, which {wrong} takes for {image['mistaken']}"
        for wrong, side in (("A", one.only_this), ("B", one.only_baseline))
        for image in side.to_list(CLASSES, 24)
    ]
    assert page.alt == expected


def test_many_runs_show_a_few_images_of_each_side(tmp_path: Path, images: ImageSet) -> None:
    found = compare([made_run(tmp_path / str(number), noise=number, strength=1 + number / 8) for number in range(16)])
    page = Page(write_comparison(found, images, tmp_path / "page.html"))
    best = max(range(16), key=lambda number: found.runs[number].accuracy)
    assert f"{found.runs[best].letter} gets the most right: {found.runs[best].accuracy:.2%}" in page.text
    assert in_words(found, best - 1) in page.text
    sides = [side for one in found.differences for side in (one.only_this, one.only_baseline)]
    assert len(page.alt) == sum(min(4, len(side)) for side in sides)
    assert len(page.source) < 4_000_000


def test_the_best_of_many_may_be_several_or_the_baseline(tmp_path: Path) -> None:
    found = compare([made_run(tmp_path / name, strength=9) for name in ("one", "two", "three")])
    page = Page(write_comparison(found, None, tmp_path / "page.html"))
    assert "A, B and C get the most right: 100.00%." in page.text
    assert "Nothing: the recipes are the same." in page.text


def test_without_images_it_says_why(runs: list[Run], tmp_path: Path) -> None:
    out = write_comparison(compare(runs), None, tmp_path / "page.html", why_no_images="they were <moved>")
    page = Page(out)
    assert "The images are left out: they were <moved>." in page.text
    assert page.alt == []


def test_no_images_to_show_and_no_curves(tmp_path: Path, images: ImageSet) -> None:
    pair = [made_run(tmp_path / name, strength=99, epochs=0) for name in ("one", "two")]
    page = Page(write_comparison(compare(pair), images, tmp_path / "page.html"))
    assert page.text.count("There is none.") == 2
    assert "How did they get there?" not in page.text


def test_other_images_are_refused(runs: list[Run], images: ImageSet, tmp_path: Path) -> None:
    for other in (images.subset(np.arange(199)), ImageSet(images.images_nhwc, images.labels, ("a", "b", "c", "d"))):
        with pytest.raises(UserError, match="not those that the runs were tested on"):
            write_comparison(compare(runs), other, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_the_charts_say_every_value_in_words_and_have_ids_of_their_own(runs: list[Run], tmp_path: Path) -> None:
    page = Page(write_comparison(compare(runs), None, tmp_path / "page.html"))
    ids = re.findall(r'\bid="([^"]*)"', page.source)
    assert len(ids) == len(set(ids))
    last = runs[1].metrics()[-1]
    assert f"epoch 5: B {last['test_accuracy']:.1%}" in page.source
    assert f"B {last['test_loss']:.3f}" in page.text


@pytest.mark.parametrize("width", [390, 1280])
def test_in_a_browser_nothing_is_loaded_nothing_fails_and_nothing_sticks_out(
    browser: Any, runs: list[Run], images: ImageSet, tmp_path: Path, width: int
) -> None:
    out = write_comparison(compare(runs), images, tmp_path / "page.html")
    grounds = {}
    for scheme in ("light", "dark"):
        with opened(browser, out, width, color_scheme=scheme) as page:
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            grounds[scheme] = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
            page.locator(".chart .reader").first.focus()
            page.keyboard.press("Home")
            assert page.locator(".chart .reading").first.inner_text().startswith("epoch 1: A ")
            assert page.locator(".chart .reading").nth(1).inner_text().startswith("epoch 1: A ")
    assert grounds["light"] != grounds["dark"]
