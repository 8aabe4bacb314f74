"""The pixels of an image set where they are trained on: all of them on the device, or a batch at a time."""

from __future__ import annotations

import warnings
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .rows import Pixels, ReadAhead, Rows, mapping_of

_SHARE: Final = 0.5  # of a GPU's free memory that a set may take; nets and batches need the rest
_COPIED: Final = 4096  # images that go to a device together


class DevicePixels:
    """Batches of pixels on a device, uint8 [b, H, W, 3].

    On a CPU they are taken from the set's own array, in memory or mapped, each batch when it is needed. A GPU is given
    the whole set where that takes no more than half of its free memory, and else, through pinned memory, each batch.
    """

    def __init__(self, images_nhwc: Pixels, device: torch.device) -> None:
        self.image_size = int(images_nhwc.shape[1])
        array = images_nhwc.array if isinstance(images_nhwc, Rows) else images_nhwc
        self._places = torch.from_numpy(images_nhwc.index) if isinstance(images_nhwc, Rows) else None
        self.read_ahead = ReadAhead(array)
        # In memory contiguous, as gathering is faster then; a map of other strides, as one of grey levels, stays one.
        self._source = as_tensor(np.ascontiguousarray(array) if mapping_of(array) is None else array)
        self._target = device
        self.device = torch.device("cpu")  # where `take` wants the index
        if device.type != "cpu" and _fits(images_nhwc.nbytes, device):
            self._source, self._places, self.device = self._copied(images_nhwc.shape), None, device

    def expect(self, index: Tensor) -> None:
        """These images [b] are the ones to be taken next: the disk may be at work meanwhile."""
        if self.device.type == "cpu":
            self.read_ahead(self._located(index).numpy())

    def take(self, index: Tensor) -> Tensor:
        """The images at `index` [b], which lies on `self.device`."""
        if self.device == self._target:
            return self._source.index_select(0, self._located(index))
        shape = (len(index), *self._source.shape[1:])
        batch = torch.empty(shape, dtype=torch.uint8, pin_memory=self._target.type == "cuda")
        torch.index_select(self._source, 0, self._located(index), out=batch)
        return batch.to(self._target, non_blocking=True)  # torch reuses pinned memory only when it has been read

    def _located(self, index: Tensor) -> Tensor:
        """Their places in the array that the set is a part of."""
        return index if self._places is None else self._places.index_select(0, index)

    def _copied(self, shape: tuple[int, ...]) -> Tensor:
        whole = torch.empty(shape, dtype=torch.uint8, device=self._target)
        for index in torch.arange(shape[0]).split(_COPIED):
            whole[index[0] : index[-1] + 1] = self._source.index_select(0, self._located(index))
        return whole


def as_tensor(array: NDArray[Any]) -> Tensor:
    """The array's memory as a tensor; a copy only where torch takes no such steps."""
    with warnings.catch_warnings():
        # torch warns of arrays that may not be written, as memory-mapped sets are; nothing here writes to them.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(array if all(step >= 0 for step in array.strides) else np.ascontiguousarray(array))


def _fits(size: int, device: torch.device) -> bool:
    """Whether so many bytes may stay on the device; where it does not tell its memory, they may."""
    return device.type != "cuda" or size <= _SHARE * torch.cuda.mem_get_info(device)[0]
