"""Names in the room that there is for them: measured, shortened, and told apart."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from .fonts import families, is_drawable, one_line


def text_width(text: str, size: float) -> float:
    """The width of a text in points, of letters of `size` points."""
    font = FontProperties(family=families(text), size=size)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width)


def shortened(name: str, size: float, width: float) -> str:
    """The name, or so much of its beginning and end as fits into `width` points with letters of `size` points."""
    if text_width(name, size) <= width or len(name) <= 3:
        return name

    def cut(kept: int) -> str:
        return f"{name[: kept - kept // 2]}…{name[len(name) - kept // 2 :]}"

    more = range(3, len(name))
    return cut(2 + bisect_right(more, width, key=lambda kept: text_width(cut(kept), size)))


def class_name(classes: Sequence[str], number: int) -> str:
    """The name of a class in one line; with its number for the letters that no installed font has."""
    name = one_line(classes[number])
    drawable = "".join(filter(is_drawable, name)).strip()
    if name and drawable == name:
        return name
    return f"class {number}: {drawable}" if any(map(str.isalnum, drawable)) else f"class {number}"


def class_names(classes: Sequence[str], numbers: Iterable[int], size: float, width: float) -> dict[int, str]:
    """The names of these classes, each in `width` points; where two would look the same, with the class's number."""
    full = {number: class_name(classes, number) for number in sorted(set(numbers))}
    short = {number: shortened(name, size, width) for number, name in full.items()}
    times = Counter(short.values())
    for number, name in short.items():
        if times[name] > 1:
            mark = f" ({number})"
            short[number] = shortened(full[number], size, width - text_width(mark, size)) + mark
    return short
