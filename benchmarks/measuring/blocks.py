"""A training in a process of its own that works when it is told to, a block of steps at a time."""

from __future__ import annotations

import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from torch import Tensor, nn

import onecycle
from onecycle.data import ImageSet

from .compact_net import compact_net

_SAMPLED_S = 0.05  # how often a process's memory is looked at
_MIB = 2**20


class _Enough(BaseException):
    """Ends a training."""


@dataclass(frozen=True)
class Block:
    """Seconds that some steps took, and MiB that the process held at most meanwhile, of its own and of files."""

    seconds: float
    anonymous_mib: float
    file_mib: float


class BlockwiseTraining:
    """`onecycle.train` of the compact net on the images that `load` gives, in a fresh process.

    With `limit_mib` the process may have that much memory of its own (RLIMIT_DATA: all that is private and writable;
    mapped files that are read do not count) beside what it holds once everything is imported. `load` is a function of
    a module. Raises UserError where the training ends before its time.
    """

    def __init__(self, load: Callable[[], ImageSet], *, batch: int, steps: int, limit_mib: int | None = None) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_train, args=(theirs, load, batch, steps, limit_mib), daemon=True)
        self._began = time.perf_counter()
        self._process.start()
        theirs.close()

    def prepare(self) -> Block:
        """The start, and all that comes before the first step: statistics and fingerprints, the epoch's plan."""
        held = self._wait()
        return Block(time.perf_counter() - self._began, held.anonymous_mib, held.file_mib)

    def work(self) -> Block:
        """A block of steps."""
        self._connection.send("go")
        return self._wait()

    def evict(self) -> None:
        """Have the map's pages dropped, as if the disk had to be read for the first time."""
        self._connection.send("evict")
        self._wait()

    def end(self) -> None:
        """Stop it; it has to be between two blocks."""
        self._connection.send("stop")
        self._process.join()

    def _wait(self) -> Block:
        anonymous = file = 0.0
        while not self._connection.poll(_SAMPLED_S):
            held = _held(self._process.pid)
            anonymous, file = max(anonymous, held["RssAnon"]), max(file, held["RssFile"])
        try:
            said = self._connection.recv()
        except EOFError:
            raise onecycle.UserError("the training ended before its time; its last lines say why") from None
        held = _held(self._process.pid)
        return Block(said, max(anonymous, held["RssAnon"]), max(file, held["RssFile"]))


def _train(connection: Connection, load: Callable[[], ImageSet], batch: int, steps: int, limit_mib: int | None) -> None:
    net, images = compact_net(), load()
    if limit_mib is not None:
        most = (int(_held("self")["VmData"]) + limit_mib) * _MIB
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    done, begin = 0, 0.0

    def take_turns(net: nn.Module, _: tuple[Tensor, ...]) -> None:
        """Before each step's forward pass; a function, as those of a net that is copied are copied with it."""
        nonlocal done, begin
        if net.training and done % steps == 0:
            connection.send(time.perf_counter() - begin)
            while (asked := connection.recv()) == "evict":
                _evict(images)
                connection.send(0.0)
            if asked == "stop":
                raise _Enough
            begin = time.perf_counter()
        done += net.training

    net.register_forward_pre_hook(take_turns)
    changes: dict[str, Any] = {
        "data.batch_size": batch,
        "schedule.epochs": 2,
        "schedule.peak_epoch": 0.5,
        "schedule.lr_min": 0.001,
        "schedule.lr_max": 0.01,
        "checkpoint.every_seconds": 10**6,  # as a checkpoint is not what is measured
    }
    with tempfile.TemporaryDirectory() as folder:
        try:
            silent = onecycle.Observer()
            out = Path(folder) / "run"
            onecycle.train("custom_resnet", model=net, data=images, out=out, device="cpu", observer=silent, **changes)
        except (_Enough, EOFError):  # told so, or whoever told is gone
            return
        except onecycle.UserError as error:
            sys.exit(f"large_set: {error}")


def _evict(images: ImageSet) -> None:
    """Drop the pages of the map from this process, and then from the system's memory."""
    import mmap
    import os

    from onecycle.data.rows import mapping_of

    mapping = mapping_of(images.images_nhwc)
    name = getattr(images.images_nhwc, "filename", None)
    if mapping is None or name is None:
        return
    mapping.madvise(mmap.MADV_DONTNEED)
    descriptor = os.open(name, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _held(process: int | str | None) -> dict[str, float]:
    """MiB of each kind of memory of a process, as Linux tells them."""
    try:
        text = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    except OSError:
        text = ""  # it has just ended
    found = dict.fromkeys(("RssAnon", "RssFile", "VmData"), 0.0)
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name in found:
            found[name] = int(value.split()[0]) / 1024
    return found
