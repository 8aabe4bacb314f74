"""Predictions as text, a batch at a time: a table, CSV or JSON."""

from __future__ import annotations

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, TextIO

from ..errors import UserError, one_line, suggestion
from ..evaluation import percent
from .result import Predictions

_MOST_NAME: Final = 60  # columns of a table for the path


class Writer(ABC):
    """Writes to `out` a line for each image: its path and the `top` most probable classes."""

    def __init__(self, out: TextIO, classes: Sequence[str], top: int) -> None:
        self._out, self._classes, self._top = out, classes, top

    @abstractmethod
    def begin(self, run: Path, files: Sequence[Path]) -> None:
        """Write what comes before the first image; all files are known by then."""

    @abstractmethod
    def add(self, found: Predictions) -> None:
        """Write the lines of some images that have paths."""

    @abstractmethod
    def end(self, damaged: Mapping[Path, str]) -> None:
        """Write what comes after the last image."""


class _Table(Writer):
    def begin(self, run: Path, files: Sequence[Path]) -> None:
        self._widths = (
            min(max(len(one_line(str(path))) for path in files), _MOST_NAME),
            max(len(one_line(name)) for name in self._classes),
        )

    def add(self, found: Predictions) -> None:
        name_width, class_width = self._widths
        for entry in found.to_list(self._top):
            said = [f"{one_line(one['class']):<{class_width}} {percent(one['probability']):>6}" for one in entry["top"]]
            self._out.write("  ".join([f"{one_line(entry['path']):<{name_width}}", *said]) + "\n")

    def end(self, damaged: Mapping[Path, str]) -> None:
        """The table ends with its last image."""


class _Csv(Writer):
    def begin(self, run: Path, files: Sequence[Path]) -> None:
        numbers = range(1, self._top + 1)
        # Of the characters that end lines, Python 3.11 quotes those of the terminator alone.
        self._rows = csv.writer(_UnixLines(self._out), lineterminator="\r\n")
        self._rows.writerow(["path", *(f"{what}_{k}" for k in numbers for what in ("class", "probability"))])

    def add(self, found: Predictions) -> None:
        for entry in found.to_list(self._top):
            pairs = ((one["class"], f"{one['probability']:.6g}") for one in entry["top"])
            self._rows.writerow([entry["path"], *(value for pair in pairs for value in pair)])

    def end(self, damaged: Mapping[Path, str]) -> None:
        """A file that could not be read has no row."""


class _UnixLines:
    """Lines that end in CR LF, with LF alone."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, row: str) -> None:
        self._out.write(row.removesuffix("\r\n") + "\n")


class _Json(Writer):
    def begin(self, run: Path, files: Sequence[Path]) -> None:
        self._comma = ""
        head = f'"run": {json.dumps(str(run))},\n "classes": {json.dumps(list(self._classes))}'
        self._out.write(f'{{{head},\n "images": [')

    def add(self, found: Predictions) -> None:
        for entry in found.to_list(self._top):
            self._out.write(f"{self._comma}\n  {json.dumps(entry, allow_nan=False)}")
            self._comma = ","

    def end(self, damaged: Mapping[Path, str]) -> None:
        entries = [{"path": str(path), "reason": reason} for path, reason in damaged.items()]
        self._out.write(f'\n ],\n "damaged": {json.dumps(entries)}}}\n')


_WRITERS: Final[dict[str, type[Writer]]] = {"table": _Table, "csv": _Csv, "json": _Json}
FORMATS: Final = tuple(_WRITERS)


def writer(form: str, out: TextIO, classes: Sequence[str], top: int) -> Writer:
    """The writer of a format: "table", "csv" or "json". Raises UserError where it is another."""
    if form not in _WRITERS:
        raise UserError(f"format {form!r} is not allowed; {suggestion(form, FORMATS)}")
    return _WRITERS[form](out, classes, top)
