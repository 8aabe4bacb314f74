"""Image files as an array: read and decoded once, in parallel, and kept in a cache."""

from __future__ import annotations

import hashlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .cache import Decoded, decoded, key_of
from .decode import VERSION, BadImage, Fit, LacksMemory, decode

ProgressCallback = Callable[[int, int, str], None]  # files so far, files in all, what is done with them

MAX_FILE_BYTES: Final = 2**28
_CHUNK: Final = 4  # files a task
_AHEAD: Final = 8  # tasks a thread that may wait for the one whose turn it is
_SMALL_BYTES: Final = 16 * 2**10  # of files on average: threads would wait for the interpreter more than they work
_TOLD: Final = 64  # files after which one is told of small ones
_SAMPLED: Final = 64  # files whose size is looked at
_QUIET_SECONDS: Final = 2  # of reading, as each time that a cached set is opened
_Result = TypeVar("_Result")


def decode_files(
    files: Sequence[Path], *, side: int, fit: Fit, progress: ProgressCallback, say: Callable[[str], None]
) -> Decoded:
    """Decode the files to `side` pixels, or take what the cache holds of files with this content, in this order.

    `progress` is told how far it is, `say` what the user should know. Raises UserError where a file changes meanwhile,
    and where the cache cannot be written.
    """
    began = time.monotonic()

    def say_read(done: int) -> None:
        if time.monotonic() - began > _QUIET_SECONDS:
            progress(done, len(files), "read")

    threads = _threads(files)
    digests = list(_in_parallel(_digest, files, say_read, threads))

    def results() -> Iterator[NDArray[np.uint8] | str]:
        def one(number: int) -> NDArray[np.uint8] | str:
            return _decode(files[number], digests[number], side, fit)

        return _in_parallel(one, range(len(files)), lambda done: progress(done, len(files), "decoded"), threads)

    key = key_of(version=VERSION, side=side, fit=fit, digests=digests)
    return decoded(key, side, len(files), results, say)._replace(digests=digests)


def decode_file(path: Path, *, side: int, fit: Fit) -> NDArray[np.uint8]:
    """The image in a file, as `decode` gives it. Raises BadImage, also where the file cannot be read."""
    return decode(_content(path), side=side, fit=fit)


def _digest(path: Path) -> str:
    """SHA-256 of a file; of one that cannot be read, the reason."""
    try:
        return hashlib.sha256(_content(path)).hexdigest()
    except BadImage as error:
        return str(error)


def _decode(path: Path, digest: str, side: int, fit: Fit) -> NDArray[np.uint8] | str:
    try:
        content = _content(path)
        if hashlib.sha256(content).hexdigest() != digest:
            raise UserError(f"{path}: has changed while it was read; leave the images alone until they are decoded")
        return decode(content, side=side, fit=fit)
    except LacksMemory as error:  # not kept as a fault of the file: another time there may be
        raise UserError(f"{path}: {error}") from None
    except BadImage as error:
        return str(error)


def _content(path: Path) -> bytes:
    try:
        # Looked at before it is opened, as opening a pipe would wait for ever.
        if not path.is_file():
            raise BadImage("not a file" if path.exists() else "no such file")
        with path.open("rb") as file:
            # A buffer of what is asked for is made before anything is read.
            content = file.read(min(os.fstat(file.fileno()).st_size, MAX_FILE_BYTES) + 1)
    except (OSError, ValueError) as error:
        raise BadImage(f"cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if len(content) > MAX_FILE_BYTES:
        raise BadImage(f"larger than {MAX_FILE_BYTES >> 20} MB")
    return content


def _in_parallel(
    function: Callable[..., _Result], items: Sequence[object], on_done: Callable[[int], None], threads: int
) -> Iterator[_Result]:
    """What the function gives for each item, in their order, from so many threads; few results wait for their turn.

    Reading, digests and Pillow's decoding let go of the interpreter.
    """
    if threads == 1:  # a pool of one would hand the interpreter to and fro
        for number, item in enumerate(items, 1):
            yield function(item)
            if number % _TOLD == 0 or number == len(items):
                on_done(number)
        return
    pool = ThreadPoolExecutor(threads)
    waiting: deque[Future[list[_Result]]] = deque()
    done = 0
    try:
        for start in range(0, len(items), _CHUNK):
            waiting.append(pool.submit(_each, function, items[start : start + _CHUNK]))
            while len(waiting) > threads * _AHEAD or (waiting and start + _CHUNK >= len(items)):
                results = waiting.popleft().result()
                yield from results
                done += len(results)
                on_done(done)
    finally:
        pool.shutdown(cancel_futures=True)


def _each(function: Callable[..., _Result], items: Sequence[object]) -> list[_Result]:
    return [function(item) for item in items]


def _threads(files: Sequence[Path]) -> int:
    """As many as there are processors for this process; one where the files are small."""
    sizes = []
    for file in files[:: max(len(files) // _SAMPLED, 1)]:
        with suppress(OSError, ValueError):
            sizes.append(file.stat().st_size)
    if sum(sizes) <= _SMALL_BYTES * len(sizes):
        return 1
    return usable_cpus()


def usable_cpus() -> int:
    """How many processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
