"""The site that docs/ builds: strict, complete, readable from the disk, and without a request to anywhere."""

from __future__ import annotations

import html
import importlib
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from chromium import browser, opened

import onecycle
from onecycle import cli
from onecycle.recipes.schema import flatten

ROOT = Path(__file__).parents[1]
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "object": "data"}
MODULES = ("data", "evaluation", "explanation", "lr_range", "models", "plots")
WIDTHS = (390, 820, 1440)

__all__ = ["browser"]  # a fixture


class Parsed(HTMLParser):
    """What a page loads, where it leads, and the places in it that can be led to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value for key, value in attrs if value}
        self.ids |= {values[key] for key in ("id", "name") if key in values}
        if tag in LOADED and LOADED[tag] in values:
            self.loaded.append(values[LOADED[tag]])
        elif tag == "link" and "href" in values and values.get("rel") not in ("canonical", "next", "prev"):
            self.loaded.append(values["href"])
        elif tag == "a" and "href" in values:
            self.links.append(values["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it; a warning ends the build, unless it is told to be quiet."""
    folder = tmp_path_factory.mktemp("site") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    built = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Parsed]:
    """Every page of the site."""
    return {path: Parsed(path) for path in site.rglob("*.html")}


def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[Path, Parsed]) -> None:
    assert len(pages) > 20
    for path, page in pages.items():
        loaded = [one for one in page.loaded if not one.startswith("data:")]
        assert loaded and not [one for one in loaded if urlsplit(one).scheme or one.startswith("//")], path
        # 404.html is for a server, which knows its own root.
        assert path.name == "404.html" or all((path.parent / unquote(urlsplit(one).path)).exists() for one in loaded)
    for path in site.rglob("*.css"):
        assert not re.findall(r"(?:url\(|@import)\s*[\"']?\s*(?:https?:)?//", path.read_text(encoding="utf-8")), path


def test_every_link_leads_somewhere(pages: dict[Path, Parsed]) -> None:
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or path.name == "404.html":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists() or (parts.fragment and unquote(parts.fragment) not in {*pages[target].ids, "__top"}):
                broken.append(f"{path.name}: {link}")
    assert broken == []


def test_every_public_name_is_in_the_reference(site: Path, pages: dict[Path, Parsed]) -> None:
    missing = [name for name in _public(onecycle) if not _is_in(pages[site / "reference" / "onecycle.html"], name)]
    for module in MODULES:
        page = pages[site / "reference" / f"{module}.html"]
        missing += [name for name in _public(importlib.import_module(f"onecycle.{module}")) if not _is_in(page, name)]
    assert missing == []


def _public(module: Any) -> Iterator[str]:
    return (f"{module.__name__}.{name}" for name in module.__all__ if not inspect.ismodule(getattr(module, name)))


def _is_in(page: Parsed, name: str) -> bool:
    """By its public name, or by where it is defined: a function may have the name of a module beside it."""
    module, _, last = name.rpartition(".")
    one = getattr(importlib.import_module(module), last)
    return bool({name, f"{getattr(one, '__module__', '')}.{getattr(one, '__qualname__', '')}"} & page.ids)


def test_every_module_of_the_package_has_its_page() -> None:
    assert [name for name in onecycle.__all__ if inspect.ismodule(getattr(onecycle, name))] == list(MODULES)


def test_the_commands_page_says_what_help_says(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = _text(site / "reference" / "commands.html")
    for words in (["train"], ["data", "preview"], ["serve"]):
        with pytest.raises(SystemExit):
            cli.main([*words, "--help"])
        said = " ".join(capsys.readouterr().out.split())
        options = set(re.findall(r"(?<= )--[a-z][a-z0-9-]*", said)) - {"--help"}
        part = text.partition(f"onecycle {' '.join(words)} [OPTIONS]")[2].partition("[OPTIONS]")[0]
        assert options and [one for one in options if one not in part] == [], words
        assert sorted(re.findall(r"\[default: [^]]+\]", said)) == sorted(re.findall(r"\[default: [^]]+\]", part))


def test_every_recipe_key_is_in_the_reference(site: Path) -> None:
    text = _text(site / "reference" / "recipe.html")
    for name in ("custom_resnet", "fast94", "eva6_s9_sgd_plateau"):
        keys = flatten(onecycle.recipe(name, ema={"decay": 0.99}).model_dump(mode="json"))
        assert [key for key in keys if key not in text and not key.endswith(".name")] == []


def _text(path: Path) -> str:
    return " ".join(html.unescape(re.sub("<[^>]+>", " ", path.read_text(encoding="utf-8"))).split())


@pytest.mark.parametrize("name", ["index", "scaling", "reference/recipe"])
def test_no_page_is_wider_than_its_window(site: Path, browser: Any, name: str) -> None:
    with opened(browser, site / f"{name}.html", WIDTHS[0]) as tab:
        for width in WIDTHS:
            tab.set_viewport_size({"width": width, "height": 900})
            # Side bars move for a moment after a change of width.
            tab.wait_for_function("document.documentElement.scrollWidth <= innerWidth", timeout=10_000)


def test_the_search_works_from_the_disk(site: Path, browser: Any) -> None:
    with opened(browser, site / "index.html", 1440) as tab:
        tab.click("input[name=query]")
        tab.keyboard.type("gradient noise")
        tab.wait_for_selector(".md-search-result__item a")
        found = tab.eval_on_selector_all(".md-search-result__item a", "all => all.map(one => one.getAttribute('href'))")
        assert any("scaling.html" in one for one in found)
