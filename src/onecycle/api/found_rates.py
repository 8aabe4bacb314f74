"""What a range test found, on its way into a recipe: which rates take it, what is said and kept where none can."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import plots
from ..errors import RatesRefused, UserError
from ..lr_range import LrRange
from ..recipes import Recipe
from .runs import Run

_ENDS = ("lr_min", "lr_max")


def rates_taken(recipe: Recipe, found: LrRange) -> dict[str, float]:
    """What was found, by the options of the recipe's schedule that it is for.

    Without an lr_max there is none: plateau's lr_min is where its drops end.
    """
    options = recipe.schedule.options
    return {key: getattr(found, key) for key in _ENDS if key in options} if "lr_max" in options else {}


def left_over(recipe: Recipe, found: LrRange) -> str | None:
    """What the recipe's schedule cannot take of what was found, and what that says of its own rates, in a line."""
    name, options = recipe.schedule.name, recipe.schedule.options
    missing = [key for key in _ENDS if key not in rates_taken(recipe, found)]
    if not missing:
        return None
    if missing == ["lr_min"]:
        return f"of what was found the recipe takes lr_max alone, as the schedule {name} has no lr_min"
    line = f"the recipe keeps its own rates, as the schedule {name} has not both ends of a cycle, lr_min and lr_max"
    bottom = f"the {_median(found, 'minimum'):.3g} of the rule minimum"
    if isinstance(options.get("lr"), int | float):
        tenth = f"schedule.lr={_median(found, 'minimum/10'):.3g}"
        return f"{line}; schedule.lr, {options['lr']:g}, should be below {bottom}, the rule minimum/10 chooses {tenth}"
    if name == "piecewise_linear":
        highest = max(rate for _, rate in options["knots"])
        return f"{line}; the highest of schedule.knots, {highest:g}, should be at most {bottom}"
    return line


@contextlib.contextmanager
def kept_if_refused(found: LrRange, path: Path, described: Mapping[str, Any]) -> Iterator[None]:
    """Where what was found is refused within, keep it in a new folder, which the UserError then names."""
    try:
        yield
    except UserError as error:
        run = Run.begin(path, described, found.to_dict())
        draw(run, found)
        *others, last = error.problems
        rates = f"lr_min {found.lr_min:.3g} and lr_max {found.lr_max:.3g}"
        kept = f"the sweeps, which found {rates}, are kept in {path}/lr_range.json"
        raise RatesRefused(*others, f"{last}; {kept}: name numbers that fit") from None


def draw(run: Run, found: LrRange) -> None:
    """Draw a range test into its run."""
    plots.save(plots.lr_range(found), run.plots / "lr_range.png")


def _median(found: LrRange, rule: str) -> float:
    return float(10 ** np.median(np.log10(found.suggestions[rule])))
