"""Decoded images on disk, memory-mapped: one folder for each content and setting, whole and verified, or not there."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..files import cache_folder, disk_errors, locked, read_json, sync, write_json

IMAGES: Final = "images.npy"
MANIFEST: Final = "manifest.json"
_ROWS: Final = 1024  # images that are looked at together


class Decoded(NamedTuple):
    """Decoded images: `images_nhwc` uint8 [n, side, side, 3], memory-mapped.

    `bad` says why a file has no image, by its position in the list of files; `digests` are the SHA-256 of every file,
    in the order of the list.
    """

    images_nhwc: NDArray[np.uint8]
    bad: dict[int, str]
    digests: Sequence[str] = ()


def decoded(
    key: str, side: int, count: int, decode: Callable[[], Iterator[NDArray[np.uint8] | str]], say: Callable[[str], None]
) -> Decoded:
    """What the cache holds under `key`; where it holds nothing, or something damaged, what `decode` yields is stored.

    `decode` yields for each of `count` files in turn uint8 [side, side, 3], or why there is no image. One process
    writes, others wait for it. Raises UserError where the cache cannot be written.
    """
    folder = cache_folder() / "images"
    final = folder / key
    with _writing(final):
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / f".{key}.lock", wait=True):
            if final.exists():
                found = _verified(final, side, count)
                if found is not None:
                    return found
                say(f"{final}: the decoded images are damaged; the files are decoded anew")
            part = folder / f"{key}.part"
            for stale in (part, final):  # left by a process that was killed; damaged
                shutil.rmtree(stale, ignore_errors=True)
            try:
                part.mkdir()
                _write(part, side, count, decode())
                part.rename(final)
                sync(folder)
            finally:
                shutil.rmtree(part, ignore_errors=True)
            written = _verified(final, side, count)
    if written is None:
        raise UserError(f"{final}: not what was written to it; the disk, or another program, changes files there")
    return written


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    """Say of what the disk refuses that the cache may lie elsewhere."""
    try:
        with disk_errors(target):
            yield
    except UserError as error:
        if isinstance(error.__cause__, OSError):
            raise UserError(f"{error}; XDG_CACHE_HOME may name another place for decoded images") from error
        raise


def _write(folder: Path, side: int, count: int, results: Iterator[NDArray[np.uint8] | str]) -> None:
    """Written as a file, not through a map, as a full disk kills a process that writes through one."""
    bad: dict[int, str] = {}
    digest = hashlib.sha256()
    with (folder / IMAGES).open("wb") as file:
        _write_header(file, (count, side, side, 3))
        for number, result in enumerate(results):
            if isinstance(result, str):
                bad[number] = result
                continue
            assert result.shape == (side, side, 3) and result.dtype == np.uint8
            pixels = np.ascontiguousarray(result).data
            digest.update(pixels)
            file.write(pixels)
        file.seek(0)
        _write_header(file, (count - len(bad), side, side, 3))  # as long as the first: NumPy leaves room in it
    sync(folder / IMAGES)
    write_json(folder / MANIFEST, {"sha256": digest.hexdigest(), "images": count - len(bad), "bad": bad})


def _write_header(file: Any, shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def _verified(folder: Path, side: int, count: int) -> Decoded | None:
    """What is stored, if it is whole and what was written."""
    with suppress(UserError, OSError, ValueError, KeyError, TypeError, AttributeError):
        manifest = read_json(folder / MANIFEST)
        bad = {int(number): str(reason) for number, reason in manifest["bad"].items()}
        shape = (count - len(bad), side, side, 3)
        # An empty array cannot be mapped.
        images = np.load(folder / IMAGES, mmap_mode="r" if shape[0] else None, allow_pickle=False)
        digest = hashlib.sha256()
        if images.shape == shape and images.dtype == np.uint8 and images.flags.c_contiguous:
            for start in range(0, len(images), _ROWS):
                digest.update(images[start : start + _ROWS].data)
            if digest.hexdigest() == manifest["sha256"]:
                return Decoded(images, bad)
    return None


def key_of(**what: Any) -> str:
    """The name of the folder for these values: 40 hexadecimal digits."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:40]
