"""Files of any number to logits, with a few batches in memory: threads decode what the net will need next."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..data.decode import BadImage, Fit
from ..data.folder import decode_file, usable_cpus
from .predictor import Predictor

_CHUNK: Final = 16  # files a task
_BATCHES_AHEAD: Final = 2  # decoded, or being decoded, while the net works: it need not wait, and memory stays bounded


class FileBatch(NamedTuple):
    """Files in order, their pixels uint8 [b, side, side, 3], float32 logits [b, classes], and files without any.

    `damaged` has the reason for each; these are not among `paths`.
    """

    paths: list[Path]
    images_nhwc: NDArray[np.uint8]
    logits_nk: NDArray[np.float32]
    damaged: dict[Path, str]


def predict_files(predictor: Predictor, files: Sequence[Path], fit: Fit) -> Iterator[FileBatch]:
    """Decode the files to the net's size, as `fit` says, and predict them in batches, in their order."""
    for paths, images_nhwc, damaged in _batches(files, predictor.side, fit, predictor.batch_size):
        yield FileBatch(paths, images_nhwc, predictor.logits(images_nhwc), damaged)


def _batches(
    files: Sequence[Path], side: int, fit: Fit, batch_size: int
) -> Iterator[tuple[list[Path], NDArray[np.uint8], dict[Path, str]]]:
    """Batches of what can be decoded, whole but for the last one."""
    paths: list[Path] = []
    images: list[NDArray[np.uint8]] = []
    damaged: dict[Path, str] = {}
    for path, image in _decoded(files, side, fit, ahead=_BATCHES_AHEAD * batch_size):
        if isinstance(image, str):
            damaged[path] = image
            continue
        paths.append(path)
        images.append(image)
        if len(images) == batch_size:
            yield paths, np.stack(images), damaged
            paths, images, damaged = [], [], {}
    if images or damaged:
        rest = np.stack(images) if images else np.zeros((0, side, side, 3), np.uint8)
        yield paths, rest, damaged


def _decoded(files: Sequence[Path], side: int, fit: Fit, ahead: int) -> Iterator[tuple[Path, NDArray[np.uint8] | str]]:
    """Each file with its pixels, or the reason why it has none; `ahead` files are under way."""
    threads = usable_cpus()
    waiting: deque[tuple[Sequence[Path], Future[list[NDArray[np.uint8] | str]]]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    try:
        for start in range(0, len(files), _CHUNK):
            chunk = files[start : start + _CHUNK]
            waiting.append((chunk, pool.submit(_decode_all, chunk, side, fit)))
            if len(waiting) * _CHUNK > ahead:
                chunk, future = waiting.popleft()
                yield from zip(chunk, future.result(), strict=True)
        while waiting:
            chunk, future = waiting.popleft()
            yield from zip(chunk, future.result(), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)


def _decode_all(files: Sequence[Path], side: int, fit: Fit) -> list[NDArray[np.uint8] | str]:
    found: list[NDArray[np.uint8] | str] = []
    for path in files:
        try:
            found.append(decode_file(path, side=side, fit=fit))
        except BadImage as error:
            found.append(str(error))
    return found
