"""Letters of any script: which installed font has them, and what stands for those that none has."""

from __future__ import annotations

import unicodedata
from functools import cache

from matplotlib import get_data_path
from matplotlib.font_manager import FontProperties, fontManager, get_font

_ALWAYS_THERE = "DejaVu Sans"  # comes with matplotlib
_NO_LETTERS = "lastresort"  # fonts of this name have a box for every letter
_REGULAR = (400, "normal", "regular", "book")  # what matplotlib looks for; it complains about families without
_INVISIBLE = {"Cf", "Mn"}  # categories of what changes the letters beside it, such as the joiner between emoji


def families(*texts: str) -> list[str]:
    """Font families that together have all letters of the texts, for matplotlib to fall back over in this order.

    The first is the one that matplotlib's settings name, then those that it takes for the rest.
    """
    preferred = _preferred()
    needed = dict.fromkeys([preferred, _ALWAYS_THERE])
    for letter in dict.fromkeys("".join(texts)):
        needed |= dict.fromkeys(filter(None, [_family_with(letter, preferred)]))
    return list(needed)


def is_drawable(letter: str) -> bool:
    """Whether an installed font has this letter."""
    return _family_with(letter, _preferred()) is not None


def one_line(text: str) -> str:
    """The text with single spaces for all line breaks, tabs and runs of spaces, without invisible marks of no font."""
    return "".join(
        letter
        for letter in " ".join(text.split())
        if letter.isascii() or is_drawable(letter) or unicodedata.category(letter) not in _INVISIBLE
    )


def legible(text: str) -> str:
    """The text in one line, with U+ and its number in Unicode for each letter that no installed font has."""
    return "".join(letter if is_drawable(letter) else f"U+{ord(letter):04X}" for letter in one_line(text))


def _preferred() -> str:
    return get_font(fontManager.findfont(FontProperties())).family_name


@cache
def _family_with(letter: str, preferred: str) -> str | None:
    """The first family that has the letter."""
    return next((name for name in (preferred, *_installed()) if ord(letter) in _letters(name)), None)


@cache
def _installed() -> tuple[str, ...]:
    """The families to look through: matplotlib's own, then those without serifs, then the others.

    The fonts for formulas that come with matplotlib are left out, as they have other letters than their tables say.
    """
    own = get_data_path()
    fonts = [font for font in fontManager.ttflist if font.style == "normal" and font.weight in _REGULAR]
    names = {font.name for font in fonts if not font.fname.startswith(own)}
    names = {name for name in names if _NO_LETTERS not in name.lower().replace(" ", "")}
    by_looks = sorted(names, key=lambda name: ("mono" in name.lower(), "sans" not in name.lower(), name))
    return (_ALWAYS_THERE, *by_looks)


@cache
def _letters(family: str) -> frozenset[int]:
    """The letters, as numbers, of the file that matplotlib takes for a family; none where it cannot be read."""
    try:
        return frozenset(
            get_font(fontManager.findfont(FontProperties(family=[family]), fallback_to_default=False)).get_charmap()
        )
    except (OSError, RuntimeError, ValueError):
        return frozenset()
