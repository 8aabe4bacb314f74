"""Our batches as iterables, for a loop that is not ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ...data import Batch, ImageSet, Loader


class EpochBatches:
    """The augmented batches of one epoch each time that it is iterated over.

    `position` is asked with the first batch: the epoch, counted from 0, and how many of its batches are done. Without
    it, each iteration is a whole epoch, one after the other.
    """

    def __init__(self, images: ImageSet, loader: Loader, position: Callable[[], tuple[int, int]] | None = None) -> None:
        self.dataset = images  # Lightning's batch size finder ends at its length
        self.loader = loader
        self._position = position or self._count
        self._begun = 0  # epochs

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        # A generator: Lightning calls iter() before it knows where it goes on, and more often than it takes batches.
        yield from self.loader.epoch(*self._position())

    def state_dict(self) -> dict[str, int]:
        """Nothing, as the position is the loop's. Lightning takes a loader with this for one that can be resumed."""
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Take up nothing."""

    def _count(self) -> tuple[int, int]:
        self._begun += 1
        return self._begun - 1, 0


class InOrder:
    """All images of a set, normalised only, in their own order, each time that it is iterated over."""

    def __init__(self, images: ImageSet, loader: Loader) -> None:
        self.dataset = images  # as above
        self.loader = loader

    def __len__(self) -> int:
        return -(-self.loader.samples // self.loader.batch_size)  # the last one may be short, whatever drop_last says

    def __iter__(self) -> Iterator[Batch]:
        return self.loader.in_order()


def images_of(loader: Any) -> ImageSet | None:
    """The images of a loader that a Trainer uses; None where it is none of ours."""
    return loader.dataset if isinstance(loader, EpochBatches | InOrder) else None
