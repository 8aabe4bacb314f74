"""Templates become pages: style sheets, scripts and pictures are in the page, and nothing else is loaded."""

from __future__ import annotations

import functools
import unicodedata
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ..evaluation import percent
from ..progress.numbers import duration

_LONGEST_NAME = 80


def render(template: str, **context: Any) -> str:
    """The page that a template of this package makes of `context`; every text in it is escaped unless it is Markup."""
    return _sound(_environment().get_template(template).render(context))


def short(name: str) -> str:
    """A name of a class, its beginning and end alone where it is longer than a line of a page.

    One that is read from right to left is kept apart from the sentence around it, whose numbers would change places.
    """
    name = _sound(name)
    if len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME // 2]}…{name[-_LONGEST_NAME // 2 + 1 :]}"
    to_the_left = any(unicodedata.bidirectional(letter) in ("R", "AL") for letter in name)
    return f"\N{FIRST STRONG ISOLATE}{name}\N{POP DIRECTIONAL ISOLATE}" if to_the_left else name


def count(number: float) -> str:
    """A whole number with thousands apart."""
    return f"{number:,.0f}"


def _sound(text: str) -> str:
    """Without halves of characters, as which a file's name that is no UTF-8 comes."""
    return text.encode(errors="replace").decode()


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(__package__ or "onecycle.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    environment.globals["asset"] = functools.partial(_asset, environment)
    environment.filters.update(percent=percent, count=count, duration=duration)
    return environment


def _asset(environment: Environment, name: str) -> Markup:
    """The text of a style sheet or a script, as it is."""
    assert environment.loader is not None
    source, _, _ = environment.loader.get_source(environment, name)
    return Markup(source)  # ours, not the user's
