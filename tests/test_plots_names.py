"""Names in any script, of any length, in pictures."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.font_manager import FontEntry, fontManager
from matplotlib.text import Text

from onecycle import plots
from onecycle.plots import fonts
from onecycle.plots.names import class_name, class_names, shortened, text_width

CATS = ["猫", "قطة", "बिल्ली", "고양이", "кошка", "γάτα", "חתול", "🐈‍⬛", "🦩 bird", "$5 & <b>", "\udc80", ""]


@pytest.fixture
def without_fonts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[FontEntry]]:
    """A machine with no font but those that come with matplotlib; what is put into the list is installed."""
    own = [font for font in fontManager.ttflist if fonts.get_data_path() in font.fname]
    monkeypatch.setattr(fontManager, "ttflist", own)
    forget()
    yield own
    forget()


def forget() -> None:
    for cached in (fonts._family_with, fonts._installed, fonts._letters):
        cached.cache_clear()
    type(fontManager)._findfont_cached.cache_clear()  # type: ignore[attr-defined]


def made_font(path: Path, family: str, letters: str, advance: int) -> Path:
    """A font whose letters are filled squares, `advance` thousandths of their size wide."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 700), (700, 700), (700, 0)):
        pen.lineTo(corner)
    pen.closePath()
    names = [".notdef", *(f"u{ord(letter):04X}" for letter in letters)]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(letter): name for letter, name in zip(letters, names[1:], strict=True)})
    builder.setupGlyf(dict.fromkeys(names, pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (advance, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2(usWeightClass=400)
    builder.setupPost()
    builder.save(path)
    return path


def test_letters_come_from_the_installed_font_that_has_them(without_fonts: list[FontEntry], tmp_path: Path) -> None:
    assert fonts.families("猫") == ["DejaVu Sans"]
    for family, letters in (("Aserif", "犬"), ("Some Sans", "猫犬"), ("Last Resort Everything", "鳥")):
        fontManager.addfont(made_font(tmp_path / f"{family}.ttf", family, letters, 900))
    forget()
    assert fonts.families("cat 猫", "犬") == ["DejaVu Sans", "Some Sans"]
    assert text_width("猫犬", 10) == pytest.approx(2 * 9, abs=0.1)
    assert class_names(["猫", "犬", "鳥"], range(3), 10, 100) == {0: "猫", 1: "犬", 2: "class 2"}
    figure = plots.draw_confusion(np.eye(3, dtype=np.int64), ["猫", "犬", "鳥"], "猫 or 鳥")
    assert figure.get_suptitle().startswith("猫 or U+9CE5\n")
    figure.draw_without_rendering()  # matplotlib warns where a letter is missing


def test_names_whose_letters_no_font_has_are_told_apart_by_number(without_fonts: list[FontEntry]) -> None:
    assert [class_name(CATS, number) for number in (0, 2, 8, 9, 10, 11)] == [
        "class 0",
        "class 2",
        "class 8: bird",
        "$5 & <b>",
        "class 10",
        "class 11",
    ]
    assert class_name(["a\n\tb \u3000 c"], 0) == "a b c"
    assert class_name(["x\U000e0001y"], 0) == "xy"  # an invisible mark that DejaVu Sans lacks


def test_an_unreadable_font_is_passed_over(without_fonts: list[FontEntry], tmp_path: Path) -> None:
    path = made_font(tmp_path / "a.ttf", "A Sans", "猫", 900)
    fontManager.addfont(path)
    path.write_bytes(b"no font")
    forget()
    assert class_name(["猫"], 0) == "class 0"


@pytest.mark.parametrize("classes", [CATS, ["猫" * 40 + str(number) for number in range(12)], ["x" * 200] * 12])
def test_pictures_of_names_in_any_script_have_nothing_missing(classes: list[str]) -> None:
    matrix = np.eye(12, dtype=np.int64) + 1
    for figure in (plots.draw_confusion(matrix, classes, "رسم 图"), plots.draw_class_accuracy(matrix, classes, "")):
        figure.draw_without_rendering()
        labels = figure.axes[0].get_yticklabels()
        assert len({label.get_text() for label in labels}) == 12
        boxes = [label.get_window_extent() for label in labels]
        assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
        assert all(box.x0 >= -1 for box in boxes)


@settings(max_examples=25, deadline=None)
@given(st.text(st.characters(), max_size=12), st.floats(20, 200))
def test_any_name_can_be_drawn_in_its_room(name: str, width: float) -> None:
    (short,) = class_names([name], [0], 10, width).values()
    assert short and "\n" not in short
    figure = plots.Figure(4, 1)
    text = figure.text(0, 0, short, fontsize=10, **plots.style.words(short))
    figure.draw_without_rendering()
    drawn = text.get_window_extent().width * 72 / figure.dpi
    # On the screen letters are moved to whole pixels, which makes up to a twentieth.
    assert drawn == pytest.approx(text_width(short, 10), rel=0.05, abs=1.5)
    assert drawn <= 1.05 * width + 1.5 or len(short) <= 3


def test_short_forms_that_would_be_the_same_have_their_number() -> None:
    classes = ["dog", *(f"retriever {middle} golden" for middle in ("of the first kind", "of the second kind"))]
    short = class_names(classes, [2, 1, 0, 1], 10, 90)
    assert short[0] == "dog"
    assert short[1].endswith(" (1)") and short[2].endswith(" (2)")
    assert all(text_width(name, 10) <= 90 for name in short.values())
    assert class_names(classes, [1], 10, 90)[1] == shortened(classes[1], 10, 90)


def test_titles_are_broken_where_they_would_leave_the_picture() -> None:
    for title in ("word " * 30, "W" * 70, "ii " * 70, "猫" * 15, ""):
        figure = plots.Figure(6, 4, title)
        figure.subplots()
        figure.draw_without_rendering()
        (box,) = [text.get_window_extent() for text in figure.texts] or [figure.bbox]
        assert box.x1 <= 6 * figure.dpi
        assert figure.get_suptitle().replace("\n", "").replace(" ", "") == fonts.legible(title).replace(" ", "")


def test_of_a_title_of_any_length_the_ends_are_left() -> None:
    figure = plots.Figure(6, 4, f"/first/{'folder/' * 100}last")
    lines = figure.get_suptitle().splitlines()
    assert 2 <= len(lines) <= 4
    assert lines[0].startswith("/first/folder") and "".join(lines).endswith("/last") and "…" in "".join(lines)


def test_no_words_of_the_users_begin_a_formula() -> None:
    figure = plots.gallery(np.zeros((1, 8, 8, 3), np.uint8), [[plots.Line("$a", "$b")]], "$t$")
    assert [text.get_parse_math() for text in figure.findobj(Text) if "$" in text.get_text()] == [False] * 3
