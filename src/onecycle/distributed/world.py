"""The collectives of several processes, as they are for one process alone: nothing."""

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
    def device_name(self) -> str:
        """The device as its maker calls it, how much of it is used, and by how many processes."""
        return device_name(self.device)

    def part(self, count: int) -> slice:
        """The slice of `count` consecutive images that this process handles.

        Sizes differ by at most one; lower ranks get the larger.
        """
        return slice(None)

    def trimmed(self, logits_nk: Tensor, count: int) -> Tensor:
        """The first `count` logits; more are of images that stand in where a process has none of a batch."""
        return logits_nk

    def parallel(self, net: nn.Module) -> nn.Module:
        """The net to train, whose gradients are averaged over all processes."""
        return net

    def with_shared_norms(self, net: nn.Module) -> nn.Module:
        """The net with batch norms over the whole batch, not over each process's part of it."""
        return net

    def scaled(self, loss: Tensor) -> Tensor:
        """This process's part of the loss, scaled so that the averaged gradients are those of the whole loss."""
        return loss

    def all_reduce_sum(self, values: Tensor) -> Tensor:
        """The elementwise sums over all processes, on each of them."""
        return values

    def run_on_first(self, work: Callable[[], Found]) -> Found:
        """Run `work` on rank 0 alone; all get its result, or raise its UserError or FloatingPointError."""
        return work()

    def local_first(self, work: Callable[[], Found]) -> Found:
        """Run `work` on one process of each machine first, then on its others, which may find files made."""
        return work()

    def split(self, items: Sequence[Item]) -> list[Sequence[Item]]:
        """The consecutive items of each process, by rank; lengths differ by at most one."""
        return [items]

    def gather_rows(self, rows: Tensor, counts: list[int]) -> Tensor:
        """On rank 0 the rows of all processes, `counts` of each, in order of rank; elsewhere its own rows."""
        return rows

    def broadcast_tensors(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite the tensors with those of rank 0."""

    def all_gather(self, mine: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """The mappings of all processes, by rank."""
        return [mine]

    def barrier(self) -> None:
        """Wait until all processes are here."""

    def requests(self, stop: Stop) -> Requests:
        """What the processes ask of one another while the net trains."""
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
