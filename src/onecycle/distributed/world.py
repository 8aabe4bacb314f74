"""One process, alone: what several processes do together has nothing to do here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..hardware import device_name
from ..interruption import Stop

Found = TypeVar("Found")
Item = TypeVar("Item")


class World:
    """One process, alone: `rank` 0 of `size` 1 on `device`."""

    rank, size, local_rank = 0, 1, 0

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks for all."""
        return self.rank == 0

    @property
    def name(self) -> str:
        """The device as its maker calls it, how much of it is used, and by how many processes."""
        return device_name(self.device)

    def part(self, count: int) -> slice:
        """Which of so many images in a row are this process's; parts differ by one image at most, the first have it."""
        return slice(None)

    def trimmed(self, logits_nk: Tensor, count: int) -> Tensor:
        """The first `count` logits, without those of images that stand in where a process has none of a batch."""
        return logits_nk

    def parallel(self, net: nn.Module) -> nn.Module:
        """The net as it is to be trained: its gradients are the sums over all processes, divided by their number."""
        return net

    def with_shared_norms(self, net: nn.Module) -> nn.Module:
        """The net with batch norms over the whole batch, not over each process's part of it."""
        return net

    def scaled(self, loss: Tensor) -> Tensor:
        """The loss to go back from, given this process's part of it, so that the gradients are those of the whole."""
        return loss

    def total(self, values: Tensor) -> Tensor:
        """The sums over all processes, on each of them."""
        return values

    def of_first(self, work: Callable[[], Found]) -> Found:
        """What `work` gives, or raises, on rank 0, where alone it is done."""
        return work()

    def in_turn(self, work: Callable[[], Found]) -> Found:
        """What `work` gives here, done by one process of each machine before the others, which may find it done."""
        return work()

    def dealt(self, items: Sequence[Item]) -> list[Sequence[Item]]:
        """The items for each process, by rank: a run each, of nearly equal lengths."""
        return [items]

    def gathered(self, rows: Tensor, counts: list[int]) -> Tensor:
        """The rows of all processes, `counts` of each, one below the other: on rank 0; elsewhere one's own."""
        return rows

    def copy_from_first(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite the tensors with those of rank 0."""

    def facts(self, mine: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """What each process gives, by rank."""
        return [mine]

    def wait(self) -> None:
        """Until all processes are here."""

    def requests(self, stop: Stop) -> Requests:
        """What is asked for while the net trains."""
        return Requests(stop)

    def is_loss(self, error: BaseException) -> bool:
        """Whether the error says that another process is gone, or does not answer."""
        return False


class Requests:
    """What one process asks of itself between two steps: to write, to save, to stop."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop

    def due(self, *wishes: bool) -> tuple[bool, ...]:
        """Which wishes all processes now fulfil together. To be called after each step."""
        return wishes

    def check(self) -> None:
        """Raise Stopped where all processes now stop together. To be called after `due`."""
        self._stop.check()

    def look(self) -> None:
        """Raise Stopped where all processes now stop together; between batches that are no steps."""
        self._stop.check()
