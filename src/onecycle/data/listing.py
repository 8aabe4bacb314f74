"""Which image files there are, and what is said of each: in a folder of classes, or in a CSV file."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from ..errors import UserError
from .decode import SUFFIXES

MOST_LISTED: Final = 20  # problems of one kind
MAX_CSV_BYTES: Final = 2**30
# Folders of the parts of a set, as they are commonly called, in lower case.
PARTS: Final = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
CLUTTER: Final = {"__macosx", "@eadir", "$recycle.bin", "system volume information"}


class Entry(NamedTuple):
    """An image file, its name as messages have it, and its class."""

    path: Path
    name: str
    label: str


@dataclass
class Listing:
    """The files of the parts that there are ("train", "val", "test"), in order, and what was left out, in words."""

    parts: dict[str, list[Entry]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def list_folder(folder: Path) -> Listing:
    """List a folder of class folders, or one with train/, val/ and test/ folders of them.

    Folders inside a class folder belong to the class. Images are in the order of their names, numbers in them by value,
    then of their classes: the names that come first may be of any class. Raises UserError where there are no classes,
    and where links lead out of the folder.
    """
    walk = _Walk(folder)
    folders = walk.folders_of(folder)
    parts = _parts(folder, folders, walk)
    found = Listing()
    for part, place in (parts or {"train": folder}).items():
        found.parts[part] = _class_files(place, folders if not parts else walk.folders_of(place), walk, found.notes)
    walk.check_links()
    if not any(found.parts.values()):
        raise UserError(f"{folder}: no images in class folders; {_WANTED}")
    found.notes += walk.notes()
    return found


def list_csv(path: Path) -> Listing:
    """List the rows path,label[,split] of a CSV file (UTF-8, with these headings); paths are relative to its folder.

    `split` is train, val or test. Raises UserError with every row that is wrong: at most `MOST_LISTED`, then a count.
    """
    found = Listing()
    problems: list[str] = []
    seen: dict[Path, int] = {}
    folder = Path(os.path.realpath(path.parent))
    for line, row in _csv_rows(path, found.notes):
        problem = ""
        part = PARTS.get((row.get("split") or "train").strip().lower())
        place = Path(os.path.realpath(folder / row["path"])) if row["path"] else folder
        if not row["path"]:
            problem = "the path is empty"
        elif part is None:
            problem = f"split {row['split']!r} is not allowed; train, val or test"
        elif not place.is_relative_to(folder):
            problem = f"{row['path']} leads out of the folder of the CSV file; images must lie in it"
        elif place in seen:
            problem = f"{row['path']} is there already, at line {seen[place]}"
        else:
            problem = unfit_label(row["label"].strip())
        if part is None or problem:
            problems.append(f"{path}:{line}: {problem}")
            continue
        seen[place] = line
        found.parts.setdefault(part, []).append(Entry(place, row["path"], row["label"].strip()))
    if problems:
        raise UserError(*first_of(problems, f"{path}: {len(problems):,} rows are wrong in all"))
    if not found.parts:
        raise UserError(f"{path}: holds no rows; path,label or path,label,split is needed, an image a row")
    return found


def first_of(problems: list[str], rest: str) -> list[str]:
    """The problems, or the first of many and `rest`, a line that has their count."""
    return problems if len(problems) <= MOST_LISTED else [*problems[:MOST_LISTED], rest]


def natural(name: str) -> list[str | int]:
    """A key to sort names by in which numbers count by value: 2.png comes before 10.png."""
    pieces = re.split("([0-9]+)", name)
    return [int(piece) if number % 2 else piece for number, piece in enumerate(pieces)]


_WANTED: Final = "a folder of images for each class is needed, or train/ and test/ with such folders in them"


class _Walk:
    """What is looked at in a folder: links out of it are noted, and what is left out is counted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.real = Path(os.path.realpath(folder))
        self.left_out: Counter[str] = Counter()
        self.endings: Counter[str] = Counter()  # of files that are no images
        self.links_out: list[str] = []

    def folders_of(self, folder: Path) -> dict[str, Path]:
        """The folders in a folder, by name, in order; files beside them are left out."""
        found = {}
        for entry in self.entries(folder):
            if entry.is_dir():
                found[entry.name] = Path(entry.path)
            else:
                self.leave_out(entry, "images beside the class folders")
        return found

    def images(self, folder: Path) -> Iterator[Path]:
        """The image files in a folder and in all folders below it."""
        left = [folder]
        while left:
            for entry in self.entries(left.pop()):
                if entry.is_dir():
                    left.append(Path(entry.path))
                elif entry.is_file() and Path(entry.name).suffix.lower() in SUFFIXES:
                    yield Path(entry.path)
                else:
                    self.leave_out(entry, "links to nothing, pipes and the like")

    def entries(self, folder: Path) -> Iterator[os.DirEntry[str]]:
        """What is in a folder but for hidden entries and links that cannot be followed."""
        try:
            with os.scandir(folder) as listed:
                entries = sorted(listed, key=lambda entry: entry.name)
        except OSError as error:
            raise UserError(f"{folder}: cannot be read ({error.strerror or error})") from None
        for entry in entries:
            if entry.name.startswith(".") or entry.name.lower() in CLUTTER:
                self.left_out["hidden"] += 1
            elif entry.is_symlink() and not Path(os.path.realpath(entry.path)).is_relative_to(self.real):
                self.links_out.append(f"{entry.path}: a link out of {self.folder}; images must lie in the folder")
            elif entry.is_symlink() and entry.is_dir():  # it could lead to a folder that it is in
                self.left_out["linked to a folder"] += 1
            else:
                yield entry

    def leave_out(self, entry: os.DirEntry[str], as_what: str) -> None:
        """Count what is left out: a file that is no image by its name, or `as_what` if it is one."""
        ending = Path(entry.name).suffix.lower()
        if ending in SUFFIXES:
            self.left_out[as_what] += 1
        else:
            self.endings[ending or entry.name] += 1

    def check_links(self) -> None:
        """Raise UserError where links lead out of the folder."""
        if self.links_out:
            count = f"{self.folder}: {len(self.links_out):,} links lead out of it in all"
            raise UserError(*first_of(self.links_out, count))

    def notes(self) -> list[str]:
        """What was left out, in words."""
        what = []
        if self.endings:
            kinds = ", ".join(f"{count:,} {ending}" for ending, count in self.endings.most_common(5))
            more = ", ..." if len(self.endings) > 5 else ""
            what.append(f"{self.endings.total():,} not named as images ({kinds}{more})")
        what += [f"{count:,} {kind}" for kind, count in self.left_out.items()]
        return [f"{self.folder}: left out: {', '.join(what)}"] if what else []


def _parts(folder: Path, folders: dict[str, Path], walk: _Walk) -> dict[str, Path]:
    """The folders of the parts by the parts' names; none where the folders are classes."""
    named = [name for name in folders if name.lower() in PARTS]
    train = [name for name in named if PARTS[name.lower()] == "train"]
    if not train:
        if named and len(named) == len(folders):
            raise UserError(f"{folder}: has {', '.join(named)} and no train; {_WANTED}")
        for name in named:
            if _holds_folders(folders[name]):
                raise UserError(f"{folder}: {name} has folders in it, and there is no train; move the others into one")
        return {}
    if len(folders) > len(named) and not _holds_folders(folders[train[0]]):
        return {}  # train is a class of its own, beside others
    found: dict[str, Path] = {}
    for name in sorted(named, key=lambda name: list(PARTS).index(name.lower())):
        part = PARTS[name.lower()]
        if part in found:
            raise UserError(f"{folder}: {found[part].name} and {name} are the same part; one of them is needed")
        found[part] = folders[name]
    others = [name for name in folders if name not in named]
    if others:
        walk.left_out[f"beside train ({', '.join(others[:5])}{', ...' if len(others) > 5 else ''})"] += len(others)
    return found


def _holds_folders(folder: Path) -> bool:
    """Whether there are folders in it, links and hidden ones aside; nothing is counted as left out yet."""
    try:
        inside = list(folder.iterdir())
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror or error})") from None
    seen = [one for one in inside if not one.name.startswith(".") and one.name.lower() not in CLUTTER]
    return any(one.is_dir() and not one.is_symlink() for one in seen)


def _class_files(place: Path, folders: dict[str, Path], walk: _Walk, notes: list[str]) -> list[Entry]:
    """The files of all class folders of a part, in order."""
    entries: list[tuple[list[str | int], str, str, Path]] = []
    for label, folder in folders.items():
        files = list(walk.images(folder))
        if not files:
            notes.append(f"{folder}: left out: a class folder without images")
        for file in files:
            name = file.relative_to(folder).as_posix()
            entries.append((natural(name), name, label, file))
    entries.sort(key=lambda one: one[:3])
    return [Entry(path, str(path.relative_to(walk.folder)), label) for _, _, label, path in entries]


def unfit_label(label: str) -> str:
    """What is wrong with the name of a class; nothing where it will do."""
    if not label.strip():
        return "the label is empty"
    if label != label.strip():
        return f"the class name {label!r} begins or ends with a blank; rename it"
    # Names are printed on terminals, and stored as UTF-8.
    return "" if label.isprintable() else f"the class name {label!r} has characters that cannot be printed; rename it"


def _csv_rows(path: Path, notes: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows with their lines."""
    try:
        if path.stat().st_size > MAX_CSV_BYTES:
            raise UserError(
                f"{path}: larger than {MAX_CSV_BYTES >> 20:,} MB; path,label[,split] is needed, a row an image"
            )
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            columns = list(reader.fieldnames or [])
            if not {"path", "label"} <= set(columns):
                shown = ", ".join(map(repr, columns[:10])) or "nothing"
                raise UserError(f"{path}: the first line has {shown}; path,label or path,label,split is needed")
            twice = next((one for number, one in enumerate(columns) if one in columns[:number]), None)
            if twice is not None:
                raise UserError(f"{path}: the heading {twice!r} is there twice; each once")
            others = [one for one in columns if one not in ("path", "label", "split")]
            if others:
                notes.append(f"{path}: left out: the columns {', '.join(map(repr, others))}")
            for row in reader:
                if None in row or None in row.values() or any("\0" in value for value in row.values()):
                    raise UserError(f"{path}:{reader.line_num}: not a row of {len(columns)} values")
                yield reader.line_num, row
    except (OSError, ValueError, csv.Error) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: not readable as CSV ({getattr(error, 'strerror', None) or error})") from None
