"""Images that are arrays already: an .npz file, or .npy files, which are memory-mapped."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .rows import mapping_of

IMAGES_NPY: Final = "images.npy"
MAX_LABEL_BYTES: Final = 2**31
# The names of a part's images and labels, in the order in which they are looked for.
_NAMES: Final = {
    "train": (("x_train", "y_train"), ("train_images", "train_labels"), ("images", "labels"), ("x", "y")),
    "val": (("x_val", "y_val"), ("val_images", "val_labels")),
    "test": (("x_test", "y_test"), ("test_images", "test_labels")),
}
_MAPPED: Final = f"{IMAGES_NPY} with labels.npy beside it is mapped instead"
_MEMINFO: Final = Path("/proc/meminfo")
_LIMITS: Final = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_WANTED: Final = "images and labels (or x and y; or x_train, y_train, x_test, y_test) are needed"


class Arrays(NamedTuple):
    """Images uint8 [n, side, side, 3] and labels [n] of each part, names of the classes where given, what is said."""

    parts: dict[str, tuple[NDArray[np.uint8], NDArray[Any]]]
    classes: tuple[str, ...] | None
    notes: list[str]


def read_npz(path: Path) -> Arrays:
    """Read an .npz file: images and labels, or x and y, or with _train, _val and _test; and `classes` beside them.

    All of it is read, and what is grey is then tripled. Raises UserError where it is something else, is damaged, or
    takes more memory than is free.
    """
    size = 0
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        _check_memory(path, size)
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except UserError:
        raise
    except MemoryError:  # the limit of a process, which may be less than what is free
        raise _too_large(path, size, "this process may have") from None
    except Exception as error:  # whatever zipfile, zlib and NumPy let through of what is none of theirs
        raise _unreadable(path, error) from None
    return _found(path, arrays)


def read_npy(path: Path) -> Arrays:
    """Read images.npy with labels.npy beside it, and test_images.npy, val_images.npy and theirs where they are there.

    Class names are in classes.txt, one a line. The images are mapped, not read, but for those in Fortran's order, whose
    pixels lie far apart. Raises UserError where the file has another name, something is missing, or holds something
    else.
    """
    if path.name != IMAGES_NPY:
        raise UserError(f"{path}: named otherwise; {IMAGES_NPY} is needed, with labels.npy beside it")
    arrays: dict[str, Any] = {}
    for prefix in ("", "val_", "test_"):
        for name in (f"{prefix}images", f"{prefix}labels"):
            file = path.with_name(f"{name}.npy")
            if not prefix or file.exists():
                arrays[name] = _npy(file, mapped=name.endswith("images"))
    names = path.with_name("classes.txt")
    if names.exists():
        try:
            arrays["classes"] = np.array(names.read_text(encoding="utf-8-sig").rstrip().splitlines())
        except (OSError, ValueError) as error:
            raise UserError(f"{names}: not readable as text in UTF-8 ({error})") from None
    return _found(path, arrays)


def _npy(path: Path, *, mapped: bool) -> NDArray[Any]:
    try:
        if not mapped and path.stat().st_size > MAX_LABEL_BYTES:
            raise ValueError(f"larger than {MAX_LABEL_BYTES >> 20} MB")
        array: Any = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except Exception as error:  # as above
        raise _unreadable(path, error) from None
    if not isinstance(array, np.ndarray):
        raise UserError(f"{path}: holds several arrays; one is needed")
    if mapped and not array.flags.c_contiguous:
        _check_memory(path, array.nbytes, "written in C order, as np.ascontiguousarray gives it, it is mapped instead")
        return np.ascontiguousarray(array)
    found: NDArray[Any] = array
    return found


def _found(path: Path, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    parts: dict[str, tuple[NDArray[np.uint8], NDArray[Any]]] = {}
    used = {"classes"}
    for part, pairs in _NAMES.items():
        for images, labels in pairs:
            if images in arrays and labels in arrays and part not in parts:
                parts[part] = (_images(path, images, arrays[images]), _labels(path, labels, arrays[labels]))
                used |= {images, labels}
    if "train" not in parts:
        raise UserError(f"{path}: has {', '.join(sorted(arrays)[:10]) or 'nothing'}; {_WANTED}")
    others = [name for name in arrays if name not in used]
    notes = [f"{path}: left out: the arrays {', '.join(sorted(others))}"] if others else []
    names = arrays.get("classes")
    if names is None:
        return Arrays(parts, None, notes)
    if names.ndim != 1 or names.dtype.kind not in "US":
        raise UserError(f"{path}: classes are {names.dtype} {list(names.shape)}; names are needed, one a class")
    return Arrays(parts, tuple(_text(path, name) for name in names.tolist()), notes)


def _images(path: Path, name: str, images: NDArray[Any]) -> NDArray[np.uint8]:
    shape = images.shape
    if images.dtype != np.uint8 or not (images.ndim == 3 or (images.ndim == 4 and shape[3] in (1, 3))):
        raise UserError(
            f"{path}: {name} are {images.dtype} {list(shape)}; uint8 [N, side, side, 3] is needed, or "
            "[N, side, side] of grey levels"
        )
    if images.ndim == 3:
        images = images[..., None]
    if images.shape[3] == 3:
        return images
    if mapping_of(images) is not None:  # stays a map: the three channels are one
        return np.broadcast_to(images, (*images.shape[:3], 3))
    _check_memory(path, 3 * images.nbytes)
    return np.repeat(images, 3, axis=3)


def _labels(path: Path, name: str, labels: NDArray[Any]) -> NDArray[Any]:
    flat = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if flat.ndim != 1 or flat.dtype.kind not in "iuUS":
        raise UserError(
            f"{path}: {name} are {labels.dtype} {list(labels.shape)}; whole numbers or names [N] are needed"
        )
    return np.array([_text(path, one) for one in flat.tolist()]) if flat.dtype.kind in "US" else flat


def _text(path: Path, value: str | bytes) -> str:
    try:
        return value if isinstance(value, str) else value.decode()
    except UnicodeDecodeError:
        raise UserError(f"{path}: the name {value!r} is not UTF-8; names in UTF-8 are needed") from None


def _check_memory(path: Path, size: int, way_out: str = _MAPPED) -> None:
    """Raise UserError where so many bytes are more than is free."""
    memory = _memory()
    if size > memory:
        raise _too_large(path, size, f"is free, {memory / 1e9:,.1f} GB", way_out)


def _too_large(path: Path, size: int, memory: str, way_out: str = _MAPPED) -> UserError:
    return UserError(f"{path}: takes {size / 1e9:,.1f} GB, more than the memory that {memory}; {way_out}")


def _memory() -> float:
    """Bytes that can be had without swapping, within the limit of a container; no bound where the system tells none."""
    found = [float("inf")]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found.append(float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")))
    with suppress(OSError):
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
        found += [1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    for limit in _LIMITS:
        with suppress(OSError, ValueError):  # "max" where there is none
            found.append(float(int(limit.read_text(encoding="ascii"))))
    return min(found)


def _unreadable(path: Path, error: Exception) -> UserError:
    if isinstance(error, FileNotFoundError):
        return UserError(f"{path}: no such file; {_WANTED}")
    reason = " ".join(str(getattr(error, "strerror", None) or error).split())[:200] or type(error).__name__
    return UserError(f"{path}: cannot be read, or is damaged ({reason}); NumPy's arrays without pickles are needed")
