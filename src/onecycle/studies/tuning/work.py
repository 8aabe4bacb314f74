"""What one worker of a search does: take trials, have an engine carry them out, and close them.

Workers share nothing but the folder and the database. Whoever takes a trial holds a lock on it until it is closed; a
trial that runs by the database, but whose lock nobody holds, was left by a process that is gone, and is taken up again.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import nn

from ...data import Dataset, ImageSet
from ...errors import UserError
from ...files import Locked
from ...observer import Observer, Progress
from ...recipes import Recipe, recipe
from ..engine import Engine, LocalEngine, Resources
from .plan import alone, held, run_path
from .result import SearchTrial
from .study import Record, Study, Terms
from .trial import Outcome, SearchJob, try_out


@dataclass(frozen=True)
class Session:
    """What all workers of one command have in common; all that a worker in a process of its own needs.

    No trial is begun `timeout` minutes after `started`, in seconds of `time.time`, nor once there are `trials` of them.
    """

    folder: Path
    base: Recipe
    terms: Terms
    trials: int
    timeout: float | None
    started: float
    data_dir: Path | None
    device: str
    model: nn.Module | None
    data: Dataset | ImageSet | None


class Worker:
    """One worker, with a study of its own; `on_trial` is told of each trial that it has closed."""

    def __init__(
        self, session: Session, study: Study, on_trial: Callable[[SearchTrial], None], observer: Observer
    ) -> None:
        self._session, self._study, self._on_trial, self._observer = session, study, on_trial, observer
        self._locks: dict[int, contextlib.ExitStack] = {}
        self._ended = 0

    def run(self, engine: Engine, resources: Resources) -> None:
        """Go on until there is no trial left to take."""
        session = self._session
        with contextlib.ExitStack() as open_ones:
            say = open_ones.enter_context(self._observer.progress_of(f"{session.base.name}, search"))

            def tell(number: int, progress: Progress) -> None:
                where = (
                    f"trial {number}, epoch {progress.epoch}/{progress.epochs}, step {progress.step}/{progress.steps}"
                )
                say(self._ended, session.trials, f"{where}, loss {progress.loss:.3f}")

            open_ones.callback(self._let_go)
            work = partial(try_out, say=tell, study=self._study) if isinstance(engine, LocalEngine) else try_out
            for job, result in engine.run(work, self._jobs(), resources):
                self._close(job.number, result)

    def _jobs(self) -> Iterator[SearchJob]:
        while (job := self._next()) is not None:
            yield job

    def _next(self) -> SearchJob | None:
        """The next trial to carry out; those whose recipe is refused are closed on the way."""
        session = self._session
        while session.timeout is None or time.time() < session.started + 60 * session.timeout:
            with alone(session.folder):
                record = self._left_over() or self._new()
            if record is None:
                return None
            changes = session.terms.space.changes(record.labels)
            try:
                recipe(session.base, **changes)
            except UserError as error:
                self._close(record.number, Outcome("failed", problem=error.problems[0]))
                continue
            return SearchJob(
                record.number,
                session.base,
                changes,
                run_path(session.folder, record.number),
                session.data_dir,
                session.device,
                session.terms,
                session.model,
                session.data,
            )
        return None

    def _left_over(self) -> Record | None:
        """A trial that was begun by a process that is gone."""
        for one in self._study.records():
            if one.state == "running" and self._hold(one.number):
                self._observer.on_message(f"trial {one.number} goes on")
                return self._study.complete(one.number)
        return None

    def _new(self) -> Record | None:
        records = self._study.records()
        self._ended = sum(one.state != "running" for one in records)
        if len(records) >= self._session.trials:
            return None
        record = self._study.ask()
        assert self._hold(record.number), "nobody else asks meanwhile"
        return record

    def _hold(self, number: int) -> bool:
        if number in self._locks:
            return False
        lock = contextlib.ExitStack()
        try:
            lock.enter_context(held(self._session.folder, number))
        except Locked:
            return False
        self._locks[number] = lock
        return True

    def _close(self, number: int, result: Outcome | Exception) -> None:
        """Tell the study how a trial ended. Raises an error that is not the trial's own; the trial can be taken up."""
        if isinstance(result, UserError):
            raise result
        if isinstance(result, Exception):
            result = Outcome("failed", problem=str(result).partition(";")[0])
        notes = {"epochs": result.epochs, "train_seconds": result.train_seconds, "problem": result.problem}
        run = str(run_path(self._session.folder, number).relative_to(self._session.folder))
        self._study.tell(number, result.state, result.accuracy, {**notes, "run": run})
        self._locks.pop(number).close()
        self._ended += 1
        record = next(one for one in self._study.records() if one.number == number)
        self._on_trial(SearchTrial.of(record, self._session.terms.space))

    def _let_go(self) -> None:
        for lock in self._locks.values():
            lock.close()
        self._locks.clear()
