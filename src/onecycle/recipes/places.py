"""Data sets that are named by the path of one's own images."""

from __future__ import annotations

import os
from pathlib import Path

from .. import registry
from .schema import OWN

_ENDINGS = (".csv", ".npz", ".npy")  # of files that stand for a whole set
_ARRAYS = (".npz", ".npy")


def images_path(name: str) -> str | None:
    """The absolute path that a data set's name stands for; None where the name is no path.

    A registered name goes first. A path is what has a / in it, begins with . or ~, ends as a file of a set does, or is
    a folder that is there.
    """
    if name in registry.names("data") or name.startswith(OWN) or not name or not name.isprintable():
        return None
    path = Path(name)
    if not (name.startswith((".", "~")) or len(path.parts) > 1 or path.suffix.lower() in _ENDINGS or _is_folder(path)):
        return None
    return absolute(name)


def absolute(name: str | Path) -> str:
    """A path in full, ~ written out; where .. is in it, links are followed."""
    path = Path(name)
    try:
        path = path.expanduser()
    except RuntimeError:  # there is no such home; the path is looked for as it stands
        path = Path(name)
    return os.path.realpath(path) if ".." in path.parts else str(path.absolute())


def holds_image_files(name: str) -> bool:
    """Whether a data set of this name is decoded from files, rather than arrays already."""
    return images_path(name) is not None and not name.lower().endswith(_ARRAYS)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # such as a name that is too long
        return False
