"""The cluster: joined or started, held against this process, and how many jobs it has room for."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ...errors import UserError, one_line
from ...files import disk_errors
from ...interruption import Terminated
from .worker import Origin, misfit

_CONNECT_SECONDS: Final = 10.0
_CHECK_SECONDS: Final = 120.0  # for a node to start a process that imports torch


@dataclass(frozen=True)
class Share:
    """What one job gets: processors, one for each thread, and of a GPU a part, all of it, or nothing."""

    cpus: int
    gpus: float

    def times_in(self, resources: Mapping[str, float]) -> int:
        """How many jobs a node with these resources has room for."""
        times = int(resources.get("CPU", 0) // self.cpus)
        if self.gpus:
            # Ray gives a share of one GPU, never one that is put together from two.
            times = min(times, int(resources.get("GPU", 0)) * int(1 / self.gpus + 1e-9))
        return times

    def __str__(self) -> str:
        return _amounts(self.cpus, self.gpus)


def room_for(share: Share) -> int:
    """How many jobs the nodes of the cluster can carry out at a time."""
    return sum(share.times_in(node["Resources"]) for node in _nodes())


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[None]:
    """A cluster: the one that this process is in, the one that is named, or one of this machine's own.

    Raises UserError where there is none at the address.
    """
    if ray.is_initialized():
        yield
        return
    named = address or os.environ.get("RAY_ADDRESS") or "local"
    if named not in ("auto", "local"):
        _check_address(named)
    # What Ray's own dashboard shows is not needed, nor are usage reports to anybody.
    own = {"include_dashboard": False} if named == "local" else {}
    if own:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        with _own_signals():
            ray.init(address=named, log_to_driver=False, logging_level="error", **own)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        what = "Ray cannot be started on this machine" if own else f"no Ray cluster can be joined at {named}"
        raise UserError(f"{what} ({one_line(str(error), 300)})") from error
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def marker_near(folder: Path) -> Iterator[Path]:
    """A file in the nearest folder above that exists: who sees it shares the file system with this process."""
    place = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.is_dir())
    with disk_errors(place), tempfile.NamedTemporaryFile(dir=place, prefix=".workers-", suffix=".part") as file:
        yield Path(file.name)


def check_nodes(share: Share, origin: Origin) -> None:
    """Raise UserError where no node has enough for a job, or one that has does not fit this process."""
    nodes = _nodes()
    able = [node for node in nodes if share.times_in(node["Resources"])]
    if not able:
        raise UserError(f"{share} a trial: no node of the Ray cluster has as much; it has {described()}")
    look = ray.remote(misfit)
    looked = {}
    for node in able:
        place = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        task = look.options(num_cpus=0, max_retries=0, scheduling_strategy=place)
        looked[task.remote(origin).future()] = node["NodeManagerHostname"]
    _, silent = wait(looked, timeout=_CHECK_SECONDS)
    if silent:
        name = looked[silent.pop()]
        raise UserError(f"node {name} did not answer within {_CHECK_SECONDS:g} s; ray status shows the cluster's state")
    for future, name in looked.items():
        error = future.exception()
        if error is not None:
            reason = one_line(str(error).strip().splitlines()[-1], 300)
            raise UserError(f"node {name} cannot run onecycle ({reason}); install it there as it is here")
        if future.result() is not None:
            raise UserError(future.result())


def described() -> str:
    """The nodes' processors and GPUs, equal nodes together."""
    kinds = Counter(_amounts(node["Resources"].get("CPU", 0), node["Resources"].get("GPU", 0)) for node in _nodes())
    return "; ".join(f"{counted(count, 'node')} with {kind}" for kind, count in sorted(kinds.items()))


def counted(number: float, what: str) -> str:
    """A number and what is counted."""
    return f"{number:g} {what}{'s' * (number != 1)}"


def _nodes() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _amounts(cpus: float, gpus: float) -> str:
    return counted(cpus, "CPU") + (f" and {counted(gpus, 'GPU')}" if gpus else "")


def _check_address(address: str) -> None:
    """Raise UserError where nobody answers: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if address.startswith("ray://"):
        way = "run the command on a node, or with ray job submit"
        raise UserError(f"Ray address {address}: trials cannot go through Ray Client; {way}")
    if not host or "://" in address or not port.isdigit():
        raise UserError(f"Ray address {address!r}: auto or HOST:PORT is needed, such as 10.0.0.1:6379")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"no Ray cluster answers at {address} ({error}); ray start --head prints its address") from None


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep SIGTERM as it was: Ray would make it an exit with the signal's number."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit:
        raise Terminated from None
    finally:
        signal.signal(signal.SIGTERM, before)
