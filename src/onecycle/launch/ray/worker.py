"""What a worker of a cluster does: it is held against the process that hands out the work, then carries out a job."""

from __future__ import annotations

import functools
import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from ...errors import Stopped, TrainingFailed, UserError
from ...hardware import source_digest, threads

J = TypeVar("J")

_SEEN_SECONDS: Final = 5.0  # a new file may take that long to be seen over a network
_PACKAGES: Final = ("torch", "numpy")  # that compute
_OWN_DATA: Final = os.environ.get("ONECYCLE_DATA")  # the node's, before a job sets that of its command


@dataclass(frozen=True)
class Origin:
    """The process that hands out the work: what a worker must see or have as well.

    `marker` is a file that was made for this, beside the folders of the runs. `data_dir` is ONECYCLE_DATA there.
    """

    marker: Path
    working_folder: Path
    data_dir: str | None
    versions: Mapping[str, str]

    @classmethod
    def here(cls, marker: Path) -> Origin:
        """This process."""
        return cls(marker.absolute(), Path.cwd(), os.environ.get("ONECYCLE_DATA"), versions())


@dataclass(frozen=True)
class Outcome:
    """How a job ended: what it returned, the error that is its own, why the worker cannot do it, or that it stopped."""

    kind: Literal["done", "failed", "unfit", "stopped"]
    value: Any = None


def carry_out(work: Callable[[J], Any], job: J, cpus: int, gpus: float, origin: Origin) -> Outcome:
    """Do the work with so many threads, with the settings of the process that handed it out."""
    problem = misfit(origin)
    if problem is not None:
        return Outcome("unfit", problem)
    if origin.working_folder.is_dir():
        os.chdir(origin.working_folder)  # for paths in the recipe
    os.environ.pop("ONECYCLE_DATA", None)
    if (place := _OWN_DATA or origin.data_dir) is not None:
        os.environ["ONECYCLE_DATA"] = place
    if not gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # else "auto" takes one that is others'
    try:
        with threads(cpus):
            return Outcome("done", work(job))
    except (UserError, TrainingFailed) as error:
        return Outcome("failed", error)
    except (Stopped, KeyboardInterrupt):
        return Outcome("stopped")


def misfit(origin: Origin) -> str | None:
    """Why this process cannot do the work, in a line; None where it can."""
    node, own = platform.node(), versions()
    for name, needed in origin.versions.items():
        if own.get(name) != needed:
            return f"node {node} has {name} {own.get(name)}, not {needed}; the same on every node is needed"
    waited = 0.0
    while not origin.marker.exists():
        if waited >= _SEEN_SECONDS:
            where = origin.marker.parent
            return f"node {node} does not see {where} as it is here; --out in a folder that all nodes share is needed"
        time.sleep(0.5)
        waited += 0.5
    return None


@functools.cache
def versions() -> dict[str, str]:
    """What results depend on: onecycle with a digest of its source, Python and the packages that compute.

    Of torch's builds for CPUs and GPUs the number alone counts: where the work is handed out there may be no GPU.
    """
    return {
        "onecycle": f"{version('onecycle')} ({source_digest()[:12]})",
        "Python": ".".join(platform.python_version_tuple()[:2]),
        **{name: version(name).partition("+")[0] for name in _PACKAGES},
    }


def with_fields(value: Any, change: Callable[[Any], Any]) -> Any:
    """A dataclass or a named tuple with `change` applied to its fields; anything else as it is."""
    if is_dataclass(value) and not isinstance(value, type):
        found = {one.name: (getattr(value, one.name), change(getattr(value, one.name))) for one in fields(value)}
        changed = {name: new for name, (old, new) in found.items() if new is not old}
        return replace(value, **changed) if changed else value
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(change, value))
    return value
