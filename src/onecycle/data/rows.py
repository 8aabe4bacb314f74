"""Some images of a memory-mapped array by their places in it, and the pages of those that are wanted next."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_PIECE: Final = 2**17  # bytes; the system reads no more at once than its read-ahead, of which this is the usual one


class Rows:
    """`array[index]`, uint8 [n, H, W, 3], without the copy: looked up in `array` [N, H, W, 3] when asked for.

    `rows[key]` is a copy of these images, for whatever NumPy takes as an index of the first axis; `np.asarray(rows)` is
    one of all. Takes 8 bytes an image.
    """

    def __init__(self, array: NDArray[np.uint8], index: NDArray[Any]) -> None:
        self.array = array
        self.index: NDArray[np.int64] = np.arange(len(array))[index]  # bounds, negative places and masks as NumPy's

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, H, W, 3)."""
        return (len(self.index), *self.array.shape[1:])

    @property
    def ndim(self) -> int:
        """Four."""
        return self.array.ndim

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        """uint8."""
        return self.array.dtype

    @property
    def nbytes(self) -> int:
        """Bytes that a copy of all would take."""
        return len(self.index) * self.array[:1].nbytes

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        if isinstance(key, tuple):
            raise IndexError("these images are looked up one by one; first rows[...] alone, then a part of the pixels")
        images_nhwc: NDArray[np.uint8] = self.array[self.index[key]]
        return images_nhwc

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        return (self.array[place] for place in self.index)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("images that are looked up in a map cannot be an array without a copy")
        return self.array[self.index].astype(dtype or self.dtype, copy=False)


Pixels = NDArray[np.uint8] | Rows


def rows_of(images_nhwc: Pixels, index: NDArray[Any]) -> Pixels:
    """The images at `index`: a copy of what is in memory, Rows of what is mapped."""
    if isinstance(images_nhwc, Rows):
        return Rows(images_nhwc.array, images_nhwc.index[index])
    return images_nhwc[index] if mapping_of(images_nhwc) is None else Rows(images_nhwc, index)


def mapping_of(array: Any) -> mmap.mmap | None:
    """The map that the array's pixels lie in; None where they are in memory."""
    while isinstance(array, np.ndarray):
        array = array.base
    return array if isinstance(array, mmap.mmap) else None


class ReadAhead:
    """Has the system read images of a mapped array from the disk while something else is computed."""

    def __init__(self, array: NDArray[np.uint8]) -> None:
        self._map = mapping_of(array) if hasattr(mmap, "MADV_WILLNEED") else None
        if self._map is not None:
            begin = np.frombuffer(self._map, np.uint8).ctypes.data
            self._first, self._step = array.ctypes.data - begin, array.strides[0]
            axes = zip(array.shape[1:], array.strides[1:], strict=True)
            self._bytes = 1 + sum((size - 1) * step for size, step in axes)

    def __call__(self, places: NDArray[np.int64]) -> None:
        """The images at these places of the array will be wanted soon; returns at once."""
        if self._map is None or not len(places):
            return
        first = self._first + np.sort(places * self._step)
        starts = first // mmap.PAGESIZE * mmap.PAGESIZE
        ends = first + self._bytes
        gaps = np.flatnonzero(starts[1:] > ends[:-1]) + 1  # what touches is asked for together
        starts, ends = starts[np.r_[0, gaps]], ends[np.r_[gaps - 1, len(ends) - 1]]
        with suppress(OSError):  # it is advice; where the disk fails, the reading says so
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
                for piece in range(start, end, _PIECE):
                    self._map.madvise(mmap.MADV_WILLNEED, piece, min(_PIECE, end - piece))

    @contextmanager
    def one_by_one(self) -> Iterator[None]:
        """While it lasts, what was not asked for in time is read alone, not with all that lies around it.

        Around each image the system would read as much as its read-ahead, up to megabytes, which in a random order
        nobody needs.
        """
        if self._map is None:
            yield
            return
        with suppress(OSError):
            self._map.madvise(mmap.MADV_RANDOM)
        try:
            yield
        finally:
            with suppress(OSError):
                self._map.madvise(mmap.MADV_NORMAL)
