"""The engine: hands out jobs to a cluster, sees that lost ones go on, and asks all to save where it is left."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import ray
from ray import exceptions

from ...data import ImageSet
from ...errors import TrainingFailed, UserError, one_line
from ...studies import Resources
from .cluster import Share, check_nodes, connected, counted, described, marker_near, room_for
from .worker import Origin, Outcome, carry_out, with_fields

J = TypeVar("J")
R = TypeVar("R")

LOSSES: Final = 3  # of the worker of one job, after which it goes on; with one more, the job has failed
STOP_SECONDS: Final = 60.0  # that workers have for ending a step and saving
_LOST: Final = {
    exceptions.OutOfMemoryError: "out of memory",
    exceptions.NodeDiedError: "its node was lost",
    exceptions.ObjectLostError: "its node was lost",
    exceptions.WorkerCrashedError: "its process was killed or crashed",
}


class RayEngine:
    """As many jobs at a time as a Ray cluster has room for.

    `address` names the cluster, as "auto" or HOST:PORT do; without it RAY_ADDRESS does, and where that is not set one
    is started on this machine for the run. Where this process is in a cluster already, that is used. A job whose worker
    is lost goes on in another, from its checkpoint, `losses` times. `say` is told in a line what happens.
    """

    def __init__(
        self, address: str | None = None, *, losses: int = LOSSES, say: Callable[[str], None] = lambda line: None
    ) -> None:
        self._address, self._losses, self._say = address, losses, say

    def run(self, work: Callable[[J], R], jobs: Iterable[J], resources: Resources) -> Iterator[tuple[J, R | Exception]]:
        """As `onecycle.studies.Engine`; jobs are pickled, and their images travel to each node once.

        A job has a `folder`, which every node must see. Jobs that are under way when this is left have a minute to
        save. Raises UserError where there is no such cluster, none of its nodes has enough for a job, or one does not
        fit this process.
        """
        share = Share(resources.cpus or 1, resources.gpus)
        waiting = iter(jobs)
        first = next(waiting, None)
        if first is None:
            return
        with connected(self._address), marker_near(_folder(first)) as marker:
            origin = Origin.here(marker)
            check_nodes(share, origin)
            self._say(f"Ray: {described()}; room for {counted(room_for(share), 'trial')} at a time")
            crew = _Crew(work, share, origin, self._losses, self._say)
            try:
                yield from crew.go(first, waiting)
            finally:
                crew.stop()


@dataclass(frozen=True)
class _Sent(Generic[J]):
    """A job that is under way as the task `ref`, and how often its worker was lost before."""

    job: J
    losses: int
    ref: Any


class _Crew(Generic[J, R]):
    """The jobs that are under way on a cluster."""

    def __init__(
        self, work: Callable[[J], R], share: Share, origin: Origin, losses: int, say: Callable[[str], None]
    ) -> None:
        self.work, self.share, self.origin, self.losses, self.say = work, share, origin, losses, say
        self.under_way: dict[Future[Outcome], _Sent[J]] = {}
        self.lost: deque[_Sent[J]] = deque()
        self.put: dict[int, tuple[ImageSet, Any]] = {}  # by identity, which is the set's own as long as it is kept
        # Ray's own retries are silent, and endless where it is memory that is short. All are given at once, so that
        # a process has one job where that has a GPU: which one it sees is settled for good when it is first used.
        options = {"num_cpus": share.cpus, "num_gpus": share.gpus, "scheduling_strategy": "SPREAD"}
        self.task = ray.remote(**options, max_retries=0)(_carry_out)

    def go(self, first: J, others: Iterator[J]) -> Iterator[tuple[J, R | Exception]]:
        """Each job with what came of it."""
        following: J | None = first
        while True:
            room = room_for(self.share)
            while len(self.under_way) < room:
                if self.lost:
                    again = self.lost.popleft()
                    self.send(again.job, again.losses)
                    continue
                if following is None:
                    following = next(others, None)
                if following is None:
                    break
                self.send(following)
                following = None
            if not self.under_way:
                if room:
                    return
                raise UserError("the Ray cluster has lost its nodes; the same command goes on once they are back")
            # Not ray.wait: within it a signal's handler cannot raise.
            ended, _ = wait(self.under_way, timeout=1.0, return_when=FIRST_COMPLETED)
            for future in ended:
                yield from self.received(future)

    def send(self, job: J, losses: int = 0) -> None:
        """Hand out a job."""
        ref = self.task.remote(self.work, self.with_references(job), self.share.cpus, self.share.gpus, self.origin)
        self.under_way[ref.future()] = _Sent(job, losses, ref)

    def received(self, future: Future[Outcome]) -> Iterator[tuple[J, R | Exception]]:
        """What came of a job; nothing where it goes on."""
        sent = self.under_way.pop(future)
        error = future.exception()
        reason = next((words for kind, words in _LOST.items() if isinstance(error, kind)), None)
        if reason is None and isinstance(error, exceptions.RayTaskError):
            raise error.cause from error
        if reason is None and error is not None:
            raise UserError(f"{_folder(sent.job)}: Ray cannot run it ({one_line(str(error), 300)})") from error
        if error is None:
            outcome = future.result()
            if outcome.kind == "unfit":
                raise UserError(outcome.value)
            if outcome.kind in ("done", "failed"):
                yield sent.job, outcome.value
                return
            reason = "its process was told to stop"
        what = f"{_folder(sent.job)}: {reason}"
        if sent.losses < self.losses:
            self.lost.append(replace(sent, losses=sent.losses + 1))
            self.say(f"{what}; it goes on from its checkpoint ({sent.losses + 1} of {self.losses} times)")
        else:
            times = counted(sent.losses + 1, "time")
            yield sent.job, TrainingFailed(f"{what}, {times}; the same command goes on from its checkpoint")

    def stop(self) -> None:
        """Ask what is under way to save and stop, and end what has not done so within a minute."""
        if not self.under_way:
            return
        count = counted(len(self.under_way), "trial")
        self.say(f"asking {count} to save and stop; once more ends at once, unsaved since the last checkpoint")
        for sent in self.under_way.values():
            ray.cancel(sent.ref, recursive=False)
        _, deaf = wait(self.under_way, timeout=STOP_SECONDS)
        for future in deaf:
            ray.cancel(self.under_way[future].ref, force=True, recursive=False)

    def with_references(self, value: Any) -> Any:
        """A job with references to its images in the cluster's store, where each set is put once."""
        if isinstance(value, ImageSet):
            if id(value) not in self.put:
                self.put[id(value)] = (value, ray.put(value))
            return self.put[id(value)][1]
        return with_fields(value, self.with_references)


def _carry_out(work: Callable[[Any], Any], job: Any, cpus: int, gpus: float, origin: Origin) -> Outcome:
    return carry_out(work, _with_images(job), cpus, gpus, origin)


def _with_images(value: Any) -> Any:
    """A job with its images in the place of references; their pixels stay in memory that a node's workers share."""
    if isinstance(value, ray.ObjectRef):
        images = ray.get(value)
        return replace(images, labels=images.labels.copy())  # torch warns of arrays that cannot be written
    return with_fields(value, _with_images)


def _folder(job: Any) -> Path:
    folder: Path = job.folder
    return folder
