"""One of several processes that torchrun has started, over torch.distributed."""

from __future__ import annotations

import atexit
import contextlib
import datetime
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from ..errors import Stopped, UserError
from ..hardware import resolve_device
from ..interruption import Stop
from ..torchrun import Place, place, restarts
from .world import Found, Item, Requests, World

TIMEOUT_S = 300  # a process that has not come to a step so long after the others is lost
_EXIT_S = 5  # how long a process that ends with an error waits for the others to end as well
_WAIT = datetime.timedelta(days=2)  # for what one process does for all: a range test, reading a large set of images
_CONNECTION = re.compile("gloo|nccl|c10d|TCPStore", re.IGNORECASE)
_numbers = itertools.count()  # of the worlds that this process has joined
_left: list[_JoinedWorld] = []  # the one whose groups are still there


class _JoinedWorld(World):
    """One of several processes. Objects and flags go over Gloo, gradients over NCCL where nets train on GPUs."""

    def __init__(self, device: torch.device, here: Place) -> None:
        super().__init__(device)
        self.rank, self.size, self.local_rank = here.rank, here.size, here.local_rank
        store, _, _ = next(rendezvous("env://", timeout=_seconds(TIMEOUT_S)))
        # A script may train several times, and torchrun's store still has what the groups of before left there.
        self._keys = dist.PrefixStore(  # type: ignore[attr-defined]  # public, but not in its __all__
            f"onecycle/{restarts()}/{next(_numbers)}", store
        )
        dist.init_process_group("gloo", store=self._keys, rank=here.rank, world_size=here.size, timeout=_WAIT)
        backend = "nccl" if device.type == "cuda" else "gloo"
        self._gradients = dist.new_group(backend=backend, timeout=_seconds(TIMEOUT_S))
        self._requests: _JoinedRequests | None = None

    @property
    def device_name(self) -> str:
        return f"{super().device_name} in each of {self.size} processes"

    def part(self, count: int) -> slice:
        return self._part_of(self.rank, count)

    def trimmed(self, logits_nk: Tensor, count: int) -> Tensor:
        return logits_nk[:count]

    def parallel(self, net: nn.Module) -> nn.Module:
        # A static graph lets a net have parameters that take no part.
        return nn.parallel.DistributedDataParallel(
            net, process_group=self._gradients, gradient_as_bucket_view=True, static_graph=True
        )

    def with_shared_norms(self, net: nn.Module) -> nn.Module:
        shared: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(net, self._gradients)
        return shared

    def scaled(self, loss: Tensor) -> Tensor:
        return loss * self.size

    def all_reduce_sum(self, values: Tensor) -> Tensor:
        summed = values.clone()
        dist.all_reduce(summed, group=self._gradients)
        return summed

    def run_on_first(self, work: Callable[[], Found]) -> Found:
        told: list[Any] = [None, None]
        if self.first:
            try:
                told[0] = work()
            except (UserError, FloatingPointError) as error:
                told[1] = error
        dist.broadcast_object_list(told, src=0)
        if told[1] is not None:
            raise told[1]
        found: Found = told[0]
        return found

    def local_first(self, work: Callable[[], Found]) -> Found:
        if self.local_rank == 0:
            found = work()
            self.barrier()
            return found
        self.barrier()
        return work()

    def split(self, items: Sequence[Item]) -> list[Sequence[Item]]:
        return [items[self._part_of(rank, len(items))] for rank in range(self.size)]

    def gather_rows(self, rows: Tensor, counts: list[int]) -> Tensor:
        rows = rows.cpu().contiguous()
        if not self.first:
            if len(rows):
                dist.send(rows, dst=0)
            return rows
        parts = [rows]
        for rank, count in enumerate(counts[1:], start=1):
            part = rows.new_empty(count, *rows.shape[1:])
            if count:
                dist.recv(part, src=rank)
            parts.append(part)
        return torch.cat(parts)

    @torch.no_grad()
    def broadcast_tensors(self, tensors: Iterable[Tensor]) -> None:
        own = list(tensors)
        for tensor, told in zip(own, self.run_on_first(lambda: [one.detach().cpu() for one in own]), strict=True):
            tensor.copy_(told)

    def all_gather(self, mine: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, dict(mine))
        return found

    def barrier(self) -> None:
        dist.barrier()

    def requests(self, stop: Stop) -> Requests:
        self._requests = _JoinedRequests(stop)
        return self._requests

    def leave(self, patience_s: float) -> bool:
        """End the groups as soon as no process needs them; False where one has not come so far in time.

        A process that ended them while another still waits there would be lost to it, and one that ended with them
        could crash.
        """
        try:
            self._keys.set(f"left/{self.rank}", "")
            self._keys.wait([f"left/{rank}" for rank in range(self.size)], _seconds(patience_s))
            if self._requests:
                self._requests.settle(patience_s)
        except RuntimeError:
            return False
        dist.destroy_process_group()
        return True

    def is_loss(self, error: BaseException) -> bool:
        return isinstance(error, RuntimeError) and bool(_CONNECTION.search(f"{type(error).__name__} {error}"))

    def _part_of(self, rank: int, count: int) -> slice:
        each, more = divmod(count, self.size)
        start = rank * each + min(rank, more)
        return slice(start, start + each + (rank < more))


class _JoinedRequests(Requests):
    """What any process asks for, all do after the same step.

    The answer to a call is what was asked for at the call before, so that no process waits for another here.
    """

    def __init__(self, stop: Stop) -> None:
        super().__init__(stop)
        self._sent: tuple[Any, Tensor] | None = None
        self._signal = 0

    def due(self, *wishes: bool) -> tuple[bool, ...]:
        before, asked = self._sent, torch.tensor([self._stop.signal_number or 0, *wishes], dtype=torch.int32)
        self._sent = dist.all_reduce(asked, dist.ReduceOp.MAX, async_op=True), asked
        if before is None:
            return (False,) * len(wishes)
        before[0].wait()
        self._signal, *agreed = before[1].tolist()
        return tuple(map(bool, agreed))

    def check(self) -> None:
        if self._signal:
            self._stop.signal_number = None
            raise Stopped("stopped", self._signal)

    def look(self) -> None:
        self.due(False, False)
        self.check()

    def settle(self, patience_s: float) -> None:
        """Wait for the last call's answer, which nobody asks for any more."""
        if self._sent:
            self._sent[0].wait(_seconds(patience_s))


@contextlib.contextmanager
def joined(device: str) -> Iterator[World]:
    """The world of this training on a device named as for `resolve_device`: of torchrun's processes, or alone.

    Raises UserError where there is no such device, or too few of them, and where another process is lost meanwhile.
    """
    here = place()
    if here is None:
        yield World(resolve_device(device))
        return
    chosen = _own_device(device, here)
    if dist.is_initialized() and not _left:
        raise UserError("torch.distributed has its process group already; onecycle makes its own, and ends it")
    if _left and not _left.pop().leave(TIMEOUT_S):
        raise UserError(f"rank {here.rank} of {here.size} waits in vain for another to end the training before")
    try:
        world = _JoinedWorld(chosen, here)
    except RuntimeError as error:
        raise process_lost_error(here, "on joining it", error) from None
    # Where an error ends it, the groups stay for a while: another process may still be in them.
    _left.append(world)
    try:
        yield world
    except RuntimeError as error:
        if world.is_loss(error):
            raise process_lost_error(world, "before the first step", error) from None
        raise
    _left.pop().leave(TIMEOUT_S)


@atexit.register
def _leave_at_exit() -> None:
    if _left:
        _left.pop().leave(_EXIT_S)


def _seconds(count: float) -> datetime.timedelta:
    return datetime.timedelta(seconds=count)


def process_lost_error(world: World | Place, when: str, error: BaseException) -> UserError:
    """The error for a process that is gone, or does not answer."""
    reason = re.sub(r"^\[[^\]]*\]\s*", "", " ".join(str(error).split())).partition(". ")[0][:150]
    return UserError(f"rank {world.rank} of {world.size} has lost another process {when} ({reason})")


def _own_device(name: str, here: Place) -> torch.device:
    """A GPU for each process of a machine, or its processor for all of them."""
    device = resolve_device(name)
    if device.type != "cuda":
        return device
    if device.index is not None:
        raise UserError(f"--device {name} is one GPU, for {here.size} processes; --device cuda gives each its own")
    if here.local_size > torch.cuda.device_count():
        raise UserError(
            f"{here.local_size} processes on a machine with {torch.cuda.device_count()} GPUs; one GPU for each is "
            f"needed: --nproc-per-node {torch.cuda.device_count()}"
        )
    torch.cuda.set_device(here.local_rank)
    return torch.device("cuda", here.local_rank)
