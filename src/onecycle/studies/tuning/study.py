"""The study of a search in Optuna's storage; Optuna (extra `search`) is imported here alone.

Its sampler is made anew for each trial, with a seed from the search's and the trial's number: what a trial is
depends on the trials before it, not on whether the search was stopped in between.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import Any, Final, Literal

import numpy as np

from ...errors import UserError, one_line, suggestion
from .space import Choice, Range, Scalar, Space

SAMPLERS: Final = ("tpe", "random", "grid", "gp")
PRUNERS: Final = ("median", "hyperband", "none")
MOST_OF_A_GRID: Final = 10_000
_LOCK_SECONDS: Final = 60  # how long a worker waits for another one that writes into SQLite's file

State = Literal["running", "complete", "pruned", "failed"]
_STATES: Final[dict[str, State]] = {  # by Optuna's names
    "RUNNING": "running",
    "COMPLETE": "complete",
    "PRUNED": "pruned",
    "FAIL": "failed",
}


@dataclass(frozen=True)
class Terms:
    """Where a study is, and how it chooses and prunes; all that another process needs to take part.

    `url` is SQLAlchemy's, with the password where there is one. `epochs` are the most that a trial has.
    """

    url: str
    name: str
    sampler: str
    pruner: str
    seed: int
    epochs: int
    space: Space


@dataclass(frozen=True)
class Record:
    """A trial as the storage has it: the labels of its values, the last held-out accuracy, and what was noted of it."""

    number: int
    state: State
    labels: dict[str, Scalar]
    accuracy: float | None
    notes: dict[str, Any]


def check_extra() -> None:
    """Raise UserError where Optuna is missing."""
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise UserError(f"a search needs the extra search ({error}); pip install 'onecycle[search]'") from None


def check_methods(sampler: str, pruner: str, space: Space) -> None:
    """Raise UserError where a sampler or pruner is unknown, or is not fit for the space."""
    for kind, name, known in (("sampler", sampler, SAMPLERS), ("pruner", pruner, PRUNERS)):
        if name not in known:
            raise UserError(f"--{kind} {name!r} is unknown; {suggestion(name, known)}")
    if sampler == "grid":
        grid_size(space)
    if sampler == "gp" and find_spec("scipy") is None:
        raise UserError("--sampler gp needs SciPy: pip install scipy; or another sampler, such as tpe")


def grid_size(space: Space) -> int:
    """How many trials a grid over the space has. Raises UserError where they cannot be counted, or are too many."""
    size = 1
    for one in space.parameters:
        if one.count is None:
            raise UserError(f"--sampler grid: {one.key} has a range without step; a step, a list, or another sampler")
        size *= one.count
    if size > MOST_OF_A_GRID:
        raise UserError(f"--sampler grid: {size:,} trials; at most {MOST_OF_A_GRID:,}, or another sampler")
    return size


def sqlite_url(path: str) -> str:
    """The URL of a file, whatever letters its name has."""
    import sqlalchemy

    return str(sqlalchemy.URL.create("sqlite", database=path).render_as_string(hide_password=False))


def public_url(url: str) -> str:
    """A URL without its password. Raises UserError where it is none."""
    import sqlalchemy

    try:
        return str(sqlalchemy.make_url(url).render_as_string(hide_password=True))
    except (sqlalchemy.exc.ArgumentError, ValueError):
        form = "sqlite:///search.db or postgresql://user@host/optuna"
        raise UserError(f"--storage: not the URL of a database, such as {form}") from None


class Study:
    """The trials of a search, shared by all who work on it."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms

    @classmethod
    def create(cls, terms: Terms) -> Study:
        """Make the study, or take the one that is there. Raises UserError where the storage cannot be used."""
        import optuna

        study = cls(terms)
        with _quiet(), _storage_errors(terms):
            optuna.create_study(
                storage=study._storage, study_name=terms.name, direction="maximize", load_if_exists=True
            )
        return study

    def ask(self) -> Record:
        """A new trial, or one that somebody put into the queue of the study. One process at a time may ask."""
        with _quiet(), _storage_errors(self.terms):
            number = len(self._study.get_trials(deepcopy=False))
            self._study.sampler = _sampler(self.terms, number)
            trial = self._study.ask()
            return self._with_values(trial)

    def complete(self, number: int) -> Record:
        """A trial with all its values, some of which it lacks where its process was killed in the midst of asking."""
        import optuna

        with _quiet(), _storage_errors(self.terms):
            self._study.sampler = _sampler(self.terms, number)
            frozen = self._study.get_trials(deepcopy=False)[number]
            return self._with_values(optuna.trial.Trial(self._study, frozen._trial_id))

    def records(self) -> list[Record]:
        """All trials, by number, but those that wait in the queue."""
        with _quiet(), _storage_errors(self.terms):
            from optuna.trial import TrialState

            found = self._study.get_trials(deepcopy=False)
            return [self._record(one) for one in found if one.state != TrialState.WAITING]

    def report(self, number: int, accuracies: Mapping[int, float]) -> bool:
        """Store what a trial has reached after each of some epochs; whether it is to be pruned after the last one."""
        import optuna

        with _quiet(), _storage_errors(self.terms):
            frozen = self._study.get_trials(deepcopy=False)[number]
            trial = optuna.trial.Trial(self._study, frozen._trial_id)
            for epoch, accuracy in accuracies.items():
                if epoch not in frozen.intermediate_values:
                    trial.report(accuracy, epoch)
            return bool(trial.should_prune())

    def tell(self, number: int, state: State, accuracy: float | None, notes: Mapping[str, Any]) -> None:
        """Close a trial; the notes are its user attributes in Optuna."""
        import optuna
        from optuna.trial import TrialState

        theirs = next(name for name, ours in _STATES.items() if ours == state)
        with _quiet(), _storage_errors(self.terms):
            frozen = self._study.get_trials(deepcopy=False)[number]
            trial = optuna.trial.Trial(self._study, frozen._trial_id)
            for key, value in notes.items():
                trial.set_user_attr(key, value)
            value = accuracy if state == "complete" else None
            # The sampler's own end of a trial is left out: that of the grid stops a loop which is not there.
            self._study.sampler = optuna.samplers.RandomSampler()
            self._study.tell(number, value, state=TrialState[theirs], skip_if_finished=True)

    @cached_property
    def _study(self) -> Any:
        import optuna

        sampler = optuna.samplers.RandomSampler()
        return optuna.load_study(
            study_name=self.terms.name, storage=self._storage, sampler=sampler, pruner=_pruner(self.terms)
        )

    @cached_property
    def _storage(self) -> Any:
        import optuna

        options = {"connect_args": {"timeout": _LOCK_SECONDS}} if self.terms.url.startswith("sqlite") else {}
        return optuna.storages.RDBStorage(self.terms.url, engine_kwargs=options)

    def _with_values(self, trial: Any) -> Record:
        for one in self.terms.space.parameters:
            _suggest(trial, one)
        return self._record(self._study.get_trials(deepcopy=False)[trial.number])

    def _record(self, trial: Any) -> Record:
        reached = trial.intermediate_values
        accuracy = trial.value if trial.value is not None else reached[max(reached)] if reached else None
        return Record(trial.number, _STATES[trial.state.name], dict(trial.params), accuracy, dict(trial.user_attrs))


def _sampler(terms: Terms, number: int) -> Any:
    """The sampler of one trial."""
    from optuna import samplers

    seed = int(np.random.SeedSequence([terms.seed, number]).generate_state(1)[0])
    if terms.sampler == "grid":  # whose order is drawn once for all trials
        grid = {one.key: list(one.grid()) for one in terms.space.parameters}
        return samplers.GridSampler(grid, seed=terms.seed % 2**32)
    made: dict[str, Callable[[], Any]] = {
        "tpe": lambda: samplers.TPESampler(seed=seed, constant_liar=True),
        "random": lambda: samplers.RandomSampler(seed=seed),
        "gp": lambda: samplers.GPSampler(seed=seed),
    }
    return made[terms.sampler]()


def _pruner(terms: Terms) -> Any:
    from optuna import pruners

    made: dict[str, Callable[[], Any]] = {
        "median": pruners.MedianPruner,
        "hyperband": lambda: pruners.HyperbandPruner(min_resource=1, max_resource=max(terms.epochs, 1)),
        "none": pruners.NopPruner,
    }
    return made[terms.pruner]()


def _suggest(trial: Any, one: Choice | Range) -> None:
    """Have the sampler choose a value, unless the trial has one."""
    if isinstance(one, Choice):
        trial.suggest_categorical(one.key, one.labels)
    elif one.whole:
        trial.suggest_int(one.key, one.low, one.high, log=one.log, step=one.step or 1)
    else:
        trial.suggest_float(one.key, one.low, one.high, log=one.log, step=one.step)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Optuna says nothing meanwhile but errors, and its warnings of what is experimental are not shown."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="optuna")
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


@contextlib.contextmanager
def _storage_errors(terms: Terms) -> Iterator[None]:
    """Turn what the database refuses into one clear line."""
    import optuna
    import sqlalchemy

    try:
        yield
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError, ImportError) as error:
        cause = getattr(error, "orig", None) or getattr(error.__cause__, "orig", None) or error.__cause__ or error
        reason = one_line(str(cause), 300)
        raise UserError(f"the storage {public_url(terms.url)} cannot be used ({reason})") from error
