"""What a search found: its trials, and the best of them as a recipe.

It is a folder: search.yaml says what was asked, base.yaml and best.yaml are recipes, trials/0000, trials/0001, ... are
runs, search.db is Optuna's, trials.csv and search_result.json hold the trials as a table.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from ... import plots
from ...api.runs import Run
from ...errors import UserError
from ...files import write_csv, write_text
from ...recipes import Recipe, recipe
from ...sealing import damaged, read_sealed_json, write_sealed_json
from .plan import Plan, run_path
from .space import Space
from .study import Record, State

_RESULT, _TABLE, BEST = "search_result.json", "trials.csv", "best.yaml"
_COLUMNS = ("trial", "state", "held_out_accuracy", "epochs", "train_seconds")
_NAME_BYTES = 190  # of a recipe's name, with room for what is added


@dataclass(frozen=True)
class SearchTrial:
    """One trial; `accuracy` is that on the held-out part after its last epoch, of a pruned one too.

    `changes` are the values that it had, by dotted key; `problem` says why it failed. `state` is complete, pruned,
    failed, or running where it goes on elsewhere.
    """

    number: int
    state: State
    changes: dict[str, Any]
    accuracy: float | None
    epochs: int
    train_seconds: float | None
    problem: str | None

    @classmethod
    def of(cls, record: Record, space: Space) -> Self:
        """A trial as the study has it."""
        notes = record.notes
        return cls(
            record.number,
            record.state,
            space.changes(record.labels),
            record.accuracy,
            int(notes.get("epochs") or 0),
            notes.get("train_seconds"),
            notes.get("problem"),
        )


@dataclass(frozen=True, eq=False)
class Search:
    """A search: what was asked, and all trials by number. `onecycle.search` makes one, `Search.load` reads one."""

    path: Path
    plan: Plan
    trials: tuple[SearchTrial, ...]

    @cached_property
    def ranked(self) -> list[SearchTrial]:
        """The trials that ran to their end, the best first; of equal ones the earlier."""
        whole = [one for one in self.trials if one.state == "complete" and one.accuracy is not None]
        return sorted(whole, key=lambda one: -(one.accuracy or 0.0))

    @property
    def best_trial(self) -> SearchTrial:
        """The trial of the highest held-out accuracy. Raises UserError where none ran to its end."""
        if not self.ranked:
            raise UserError(f"{self.path}: no trial of the search has run to its end")
        return self.ranked[0]

    @property
    def best(self) -> Recipe:
        """The recipe of the best trial, without what the search alone needed, such as a part held out for it.

        A part that the recipe itself holds out stays held out.
        """
        short = self.plan.recipe.name.encode()[:_NAME_BYTES].decode(errors="ignore")
        return self.recipe(self.best_trial.number).evolve(name=f"{short[:95]}_best")

    @property
    def caution(self) -> str:
        """What the reader should not conclude from the best trial."""
        return (
            f"The best of {len(self.ranked)} trials was chosen on the {self.plan.held_out_images:,} held-out images "
            "that measured it, with one seed, so its accuracy is optimistic: measure it over seeds, beside the recipe "
            "that the search began with."
        )

    @property
    def in_words(self) -> dict[int, dict[str, str]]:
        """The values of each trial, by its number, as lines and tables show them: under the short names of the keys."""
        names = self.plan.space.short_names()
        return {
            one.number: {
                names[key]: f"{value:.4g}" if isinstance(value, float) else str(value)
                for key, value in one.changes.items()
            }
            for one in self.trials
        }

    def figures(self) -> dict[str, plots.Figure]:
        """How the trials went, and what each key has to do with it; none where no trial was measured."""
        if all(one.accuracy is None for one in self.trials):
            return {}
        title = f"{self.plan.recipe.name}, search on {self.plan.recipe.data.label}"
        scales = {one.key: one.scale for one in self.plan.space.parameters}
        return {
            "history": plots.search_history(self.trials, title),
            "slices": plots.search_slices(self.trials, scales, self.plan.space.short_names(), title),
        }

    def recipe(self, number: int) -> Recipe:
        """The recipe of a trial, as it would be trained on all training images. Raises UserError on another number."""
        return recipe(self.plan.recipe, **self._trial(number).changes)

    def run(self, number: int) -> Run:
        """The run of a trial; "test" means the held-out part in it. Raises UserError where it has none."""
        return Run.open(run_path(self.path, self._trial(number).number))

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        asked = self.plan.to_dict()
        return {
            "recipe": self.plan.recipe.name,
            **{key: asked[key] for key in ("space", "sampler", "pruner", "held_out_images")},
            "caution": self.caution,
            "best": self.ranked[0].number if self.ranked else None,
            "best_recipe": BEST if self.ranked else None,
            "trials": [asdict(one) for one in self.trials],
        }

    def save(self) -> None:
        """Write the table, the recipes and the result into the folder."""
        keys = [one.key for one in self.plan.space.parameters]
        rows = [
            {
                **dict(
                    zip(_COLUMNS, (one.number, one.state, one.accuracy, one.epochs, one.train_seconds), strict=True)
                ),
                **one.changes,
                "problem": one.problem,
            }
            for one in self.trials
        ]
        write_csv(self.path / _TABLE, rows, [*_COLUMNS, *keys, "problem"])
        if self.ranked:
            found = self.best_trial
            said = (
                f"# Trial {found.number} of {len(self.trials)}: {found.accuracy:.2%} of {self.plan.held_out_images:,}"
            )
            heading = f"{said} held-out training images, the best of a search, so likely less on others.\n"
            write_text(self.path / BEST, heading + self.best.to_yaml())
        write_sealed_json(self.path / _RESULT, self.to_dict())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read the search in a folder. Raises UserError where it holds none, or a file is damaged."""
        folder = Path(path)
        plan = Plan.read(folder)
        if not (folder / _RESULT).exists():
            raise UserError(
                f"{folder}: no trial of the search has ended; go on with the same command and --out {folder}"
            )
        stored = read_sealed_json(folder / _RESULT)
        try:
            trials = tuple(SearchTrial(**one) for one in stored["trials"])
        except (KeyError, TypeError) as error:
            raise damaged(folder / _RESULT, f"{error} is missing, or is something else") from None
        return cls(folder, plan, trials)

    def _trial(self, number: int) -> SearchTrial:
        found = next((one for one in self.trials if one.number == number), None)
        if found is None:
            raise UserError(f"{self.path}: no trial {number}; 0 to {len(self.trials) - 1} are there")
        return found
