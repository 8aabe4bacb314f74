"""What carries out many jobs: in this process one after the other, or elsewhere and several at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch

from ..errors import TrainingFailed, UserError
from ..hardware import threads

J = TypeVar("J")
R = TypeVar("R")


@dataclass(frozen=True)
class Resources:
    """What one job may use: `cpus` threads, and of a GPU a share, a whole one, or none.

    Without `cpus` it is what torch has in this process, and one on a cluster.
    """

    cpus: int | None = None
    gpus: float = 0.0


class Engine(Protocol):
    """Carries out jobs; what comes of a job depends on neither the engine nor the other jobs."""

    def run(self, work: Callable[[J], R], jobs: Iterable[J], resources: Resources) -> Iterator[tuple[J, R | Exception]]:
        """Each job with what came of it, as they end; an error that is the job's own stands in its place.

        `jobs` is asked for the next one only when there is room for it.
        """


class LocalEngine:
    """One job after the other in this process."""

    def run(self, work: Callable[[J], R], jobs: Iterable[J], resources: Resources) -> Iterator[tuple[J, R | Exception]]:
        """As `Engine`. Raises UserError for a share of a GPU, or one that is not there."""
        check_here(resources)
        for job in jobs:
            try:
                with threads(resources.cpus):
                    result = work(job)
            except (UserError, TrainingFailed) as error:
                yield job, error
            else:
                yield job, result


def check_here(resources: Resources) -> None:
    """Raise UserError where this process cannot give a job what is asked for."""
    if 0 < resources.gpus < 1:
        raise UserError(
            f"{resources.gpus:g} of a GPU a trial: the local engine runs one trial at a time, which has the GPU to "
            "itself; 0 or 1, or --engine ray"
        )
    if resources.gpus > torch.cuda.device_count():
        raise UserError(f"{resources.gpus:g} GPU a trial: this machine has {torch.cuda.device_count()}; 0 for none")
