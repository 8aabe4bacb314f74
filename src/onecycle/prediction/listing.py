"""The image files that are to be predicted, from the names of files and folders."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from ..data.decode import SUFFIXES
from ..data.listing import CLUTTER, natural
from ..errors import UserError


def list_images(paths: Iterable[str | Path]) -> list[Path]:
    """The files as they are named, and of a folder all image files in it and below it, in the order of their names.

    Numbers in names count by value. Hidden files and folders, folders of an operating system's own, files that do not
    end as images do, and links to folders are left out of a folder. Whether a file that is named is there is seen when
    it is read. Raises UserError where a folder cannot be read, or holds no images.
    """
    found: list[Path] = []
    paths = list(paths)
    if "" in paths:
        raise UserError("a path is empty; that of an image file or a folder is needed")
    for path in map(Path, paths):
        found += _images_below(path) if os.path.isdir(path) else [path]  # noqa: PTH112 - Path.is_dir raises
    return found


def read_list(lines: BinaryIO) -> list[Path]:
    """The paths in a list, one a line, as `find` prints them; empty lines count for nothing."""
    return [Path(os.fsdecode(line)) for line in lines.read().splitlines() if line]


def _images_below(folder: Path) -> list[Path]:
    found: list[Path] = []

    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror})")

    for place, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".") and name.lower() not in CLUTTER]
        images = (name for name in files if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES)
        found += [Path(place, name) for name in images]
    if not found:
        raise UserError(f"{folder}: no image files; they end in .jpg, .png, .webp, .bmp, .gif, .tif or .ppm")
    return sorted(found, key=lambda path: [natural(part) for part in path.relative_to(folder).parts])
