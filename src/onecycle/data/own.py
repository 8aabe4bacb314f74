"""One's own images, by the path of a folder, a list or arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError, listed, one_line, suggestion
from ..recipes import LEAST_SIDE, MOST_SIDE
from .arrays import IMAGES_NPY, Arrays, read_npy, read_npz
from .cache import Decoded
from .decode import Fit
from .folder import ProgressCallback, decode_files
from .images import ImageSet
from .listing import Entry, Listing, first_of, list_csv, list_folder, unfit_label

Damaged = Literal["refuse", "skip"]
_NAMED = 3  # of the files, or classes, that a message counts
FORMS = f"a folder of class folders, a CSV file of path,label, an .npz file, or {IMAGES_NPY}"


@dataclass(frozen=True)
class OwnImages:
    """The parts of a set that there are, of the same classes and size, and what the user should know, in words."""

    train: ImageSet
    val: ImageSet | None
    test: ImageSet | None
    notes: tuple[str, ...]


def _unseen(done: int, total: int, text: str) -> None:
    """Progress that nobody looks at."""


def own_images(
    path: str | Path,
    *,
    image_size: int = 32,
    fit: Fit = "crop",
    damaged: Damaged = "refuse",
    progress: ProgressCallback = _unseen,
) -> OwnImages:
    """Load the images of a folder of class folders, a CSV file of path,label[,split], an .npz file or images.npy.

    Image files are decoded once to `image_size` pixels a side, as `fit` says, in parallel, into a memory-mapped cache;
    `progress` is told files so far, files in all, and what is done. Damaged files are all named in one error, or left
    out with "skip". Arrays must have the size. Raises UserError where there is nothing of the kind, a class is only in
    the test set, or the parts do not fit each other.
    """
    path = Path(path)
    _check_options(image_size, fit, damaged)
    try:
        is_folder, exists = path.is_dir(), path.exists()
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if is_folder:
        return _from_files(path, list_folder(path), image_size, fit, damaged, progress)
    kind = path.suffix.lower()
    if not exists or kind not in (".csv", ".npz", ".npy"):
        raise UserError(f"{path}: {'another kind of file' if exists else 'no such folder or file'}; {FORMS} is needed")
    if kind == ".csv":
        return _from_files(path, list_csv(path), image_size, fit, damaged, progress)
    return _from_arrays(path, read_npz(path) if kind == ".npz" else read_npy(path), image_size)


def own_files(
    path: str | Path, *, image_size: int = 32, fit: Fit = "crop", damaged: Damaged = "refuse"
) -> dict[str, list[Entry]]:
    """The image files that `own_images` reads of a folder or a CSV file: path, name and class, part by part, in order.

    With "skip" those that are damaged are not among them. Raises UserError where the folder or the list cannot be read.
    """
    place = Path(path)
    _check_options(image_size, fit, damaged)
    listing = list_folder(place) if place.is_dir() else list_csv(place)
    if damaged == "refuse":  # then there are none
        return listing.parts
    entries = [entry for one in listing.parts.values() for entry in one]
    found = decode_files(
        [entry.path for entry in entries], side=image_size, fit=fit, progress=_unseen, say=listing.notes.append
    )
    bad = {entries[number] for number in found.bad}
    return {part: [entry for entry in of_part if entry not in bad] for part, of_part in listing.parts.items()}


def _check_options(side: int, fit: str, damaged: str) -> None:
    for name, value, allowed in (("fit", fit, get_args(Fit)), ("damaged", damaged, get_args(Damaged))):
        if value not in allowed:
            raise UserError(f"{name} {value!r} is not allowed; {suggestion(value, allowed)}")
    if side < 1:
        raise UserError(f"image_size {side} is not allowed; 1 or more")


def _from_files(
    path: Path, listing: Listing, side: int, fit: Fit, damaged: Damaged, progress: ProgressCallback
) -> OwnImages:
    notes = list(listing.notes)
    labels = {part: [entry.label for entry in entries] for part, entries in listing.parts.items()}
    classes = _classes(path, labels, notes)
    entries = [entry for one in listing.parts.values() for entry in one]
    # The parts one after the other in one array, so that each is a slice of it, which takes no memory of its own.
    found = decode_files([entry.path for entry in entries], side=side, fit=fit, progress=progress, say=notes.append)
    if found.bad:
        notes += _damaged(path, entries, found.bad, damaged)
    notes += _copies(path, listing, found)
    sets: dict[str, ImageSet] = {}
    first = before = 0
    for part, of_part in listing.parts.items():
        good = [entry.label for number, entry in enumerate(of_part, before) if number not in found.bad]
        images = found.images_nhwc[first : first + len(good)]
        sets[part] = _image_set(images, np.array([classes[label] for label in good], np.int64), classes)
        first, before = first + len(good), before + len(of_part)
    return _own_images(path, sets, notes)


def _from_arrays(path: Path, arrays: Arrays, side: int) -> OwnImages:
    notes = list(arrays.notes)
    for part, (images, values) in arrays.parts.items():
        _check_size(path, images, side)
        if len(images) != len(values):
            raise UserError(f"{path}: {len(images):,} images and {len(values):,} labels to {part}; as many are needed")
    labels: dict[str, list[Any]] = {part: values.tolist() for part, (_, values) in arrays.parts.items()}
    if arrays.classes is None:
        _check_same_kind(path, arrays)
        classes = _classes(path, labels, notes)
    else:
        classes = {name: number for number, name in enumerate(arrays.classes)}
        labels = {part: _names(path, values, arrays.classes) for part, values in labels.items()}
        _note_missing(path, labels, classes, notes)
    sets = {
        part: _image_set(images, np.array([classes[one] for one in labels[part]], np.int64), classes)
        for part, (images, _) in arrays.parts.items()
    }
    return _own_images(path, sets, notes)


def _check_size(path: Path, images: NDArray[np.uint8], side: int) -> None:
    height, width = images.shape[1:3]
    if (height, width) == (side, side):
        return
    way_out = f"data.image_size={height} fits them"
    if height != width:
        way_out = "square ones are needed"
    elif not LEAST_SIDE <= height <= MOST_SIDE:
        way_out = f"sides of {LEAST_SIDE} to {MOST_SIDE} are needed"
    raise UserError(f"{path}: data.image_size is {side}; the images have {height} x {width} pixels: {way_out}")


def _check_same_kind(path: Path, arrays: Arrays) -> None:
    kinds = {part: "text" if labels.dtype.kind == "U" else "numbers" for part, (_, labels) in arrays.parts.items()}
    if len(set(kinds.values())) > 1:
        told = ", ".join(f"{kind} for {part}" for part, kind in kinds.items())
        raise UserError(f"{path}: the labels are {told}; the same kind is needed in each part")


def _names(path: Path, labels: Sequence[Any], names: Sequence[str]) -> list[str]:
    """The names of labels, which are names or their places. Raises UserError where one is none of either."""
    known, shown = set(names), ", ".join(names[:10])
    if len(known) < max(len(names), 2):
        raise UserError(f"{path}: the classes are {shown}; two or more are needed, all different")
    numbers = [one for one in labels if not isinstance(one, str)]
    if numbers and not 0 <= min(numbers) <= max(numbers) < len(names):
        raise UserError(
            f"{path}: labels run from {min(numbers)} to {max(numbers)}; 0 to {len(names) - 1} is needed, as there "
            f"are {len(names)} classes"
        )
    found = [one if isinstance(one, str) else names[one] for one in labels]
    unknown = [one for one in found if one not in known]
    if unknown:
        raise UserError(f"{path}: label {unknown[0]!r} is none of the classes {shown}")
    return found


def _classes(path: Path, labels: Mapping[str, Sequence[Any]], notes: list[str]) -> dict[Any, int]:
    """The places of the training labels, sorted. Raises UserError where they are fewer than two, or others are met."""
    known = sorted(set(labels.get("train", ())))
    if len(known) < 2:
        raise UserError(
            f"{path}: {f'one class, {known[0]!r}' if known else 'no class'} to train; two or more are needed"
        )
    for part, values in labels.items():
        counts = Counter(values)
        strange = sorted(counts.keys() - set(known))
        if strange:
            raise UserError(
                f"{path}: {listed(strange, _NAMED)} in the {part} part {'are' if len(strange) > 1 else 'is'} not in "
                "the training part; the same classes are needed"
            )
    _note_missing(path, labels, known, notes)
    return {label: number for number, label in enumerate(known)}


def _note_missing(path: Path, labels: Mapping[str, Sequence[Any]], known: Iterable[Any], notes: list[str]) -> None:
    """Note which classes the held-out part lacks; of the test set, a training says so."""
    present = set(labels.get("val", ()))
    missing = [label for label in known if label not in present]
    if "val" in labels and missing:
        notes.append(f"{path}: the val part has no images of {listed(missing, _NAMED)}")


def _copies(path: Path, listing: Listing, found: Decoded) -> list[str]:
    """Notes on duplicate files: evaluation images that training has too, and identical files with different labels."""
    parts: dict[str, list[tuple[str, Entry]]] = {part: [] for part in listing.parts}
    seen: dict[str, set[str]] = {part: set() for part in listing.parts}
    labels: dict[str, str] = {}
    torn, again = [], []
    entries = [(part, entry) for part, of_part in listing.parts.items() for entry in of_part]
    for number, (digest, (part, entry)) in enumerate(zip(found.digests, entries, strict=True)):
        if number in found.bad:
            continue
        if part == "train" and digest in seen[part] and labels[digest] == entry.label:
            again.append(entry)
        parts[part].append((digest, entry))
        seen[part].add(digest)
        if labels.setdefault(digest, entry.label) != entry.label:
            torn.append(entry.name)
    notes = []
    copies = [entry.name for entry in again]
    if copies:
        notes.append(
            f"{path}: {len(copies):,} of the training images are copies of others ({listed(copies, _NAMED)}); a part "
            "that is drawn from them to test, or to hold out, does not tell how good the net is on new ones"
        )
    for part, other, name in (("val", "train", "training"), ("test", "train", "training"), ("test", "val", "val")):
        same = [entry.name for digest, entry in parts.get(part, []) if digest in seen.get(other, ())]
        if same:
            notes.append(
                f"{path}: {len(same):,} of the {part} part's images are in the {name} part too "
                f"({listed(same, _NAMED)}); they do not tell how good the net is on new ones"
            )
    if torn:
        notes.append(f"{path}: {len(torn):,} of the images are there with another label too ({listed(torn, _NAMED)})")
    return notes


def _image_set(images: NDArray[np.uint8], labels: NDArray[np.int64], classes: Mapping[Any, int]) -> ImageSet:
    return ImageSet(images, labels, tuple(map(str, classes)))


def _own_images(path: Path, sets: Mapping[str, ImageSet], notes: Sequence[str]) -> OwnImages:
    """The parts, where each has images, and the training part some of each class."""
    for part, images in sets.items():
        if not len(images):
            raise UserError(f"{path}: the {part} part has no images; images are needed in each part that is there")
    train = sets["train"]
    for name in train.classes:
        if problem := unfit_label(name):
            raise UserError(f"{path}: {problem}")
    counts = np.bincount(train.labels, minlength=len(train.classes))
    without = [train.classes[number] for number in np.flatnonzero(counts == 0)]
    if without:
        raise UserError(f"{path}: no images of {listed(without, _NAMED)} to train; one of each class at least")
    return OwnImages(train, sets.get("val"), sets.get("test"), tuple(map(one_line, notes)))


def _damaged(path: Path, entries: Sequence[Entry], bad: Mapping[int, str], damaged: Damaged) -> list[str]:
    """What is said of damaged files. Raises UserError with all of them unless they are to be skipped."""
    if damaged == "refuse":
        lines = [f"{entries[number].path}: {reason}" for number, reason in sorted(bad.items())]
        count = f"{path}: damaged: {len(bad):,} of {len(entries):,} files"
        way_out = f"{path}: mend or remove what is damaged, or leave it out with data.damaged=skip"
        raise UserError(*first_of(lines, count), way_out)
    names = listed([entries[number].name for number in sorted(bad)], _NAMED)
    return [f"{path}: left out as damaged: {len(bad):,} of {len(entries):,} files, {names}"]
