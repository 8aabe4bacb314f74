"""The choice: both ends of the range by named rules, and how far the sweeps agree on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import UserError, suggestion
from .descent import Descent, at_share, descent, longest_fall
from .sweeps import Sweep

RULE = "minimum"  # of lr_max
RULE_MIN = "onset"
LEAST_CERTAINTY = 3.5  # of a descent; the median of three sweeps of pure noise exceeds it once in a hundred
UNSTABLE = 3.0  # the largest over the smallest rate that the sweeps choose, above which a warning is due


@dataclass(frozen=True, repr=False)
class LrRange:
    """Both ends that were chosen, by which rules, and the sweeps.

    `suggestions` holds, for every rule, the rate that it chooses from each sweep.
    """

    lr_min: float
    lr_max: float
    rule: str
    rule_min: str
    suggestions: dict[str, tuple[float, ...]]
    sweeps: tuple[Sweep, ...]

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> LrRange:
        """Take what `to_dict` gave, also through JSON."""
        sweeps = tuple(
            Sweep(one["seed"], tuple(one["lrs"]), tuple(one["losses"]), one["end"]) for one in stored["sweeps"]
        )
        suggestions = {rule: tuple(rates) for rule, rates in stored["suggestions"].items()}
        return cls(stored["lr_min"], stored["lr_max"], stored["rule"], stored["rule_min"], suggestions, sweeps)

    @property
    def descents(self) -> list[Descent]:
        """The sweeps, smoothed as the rules read them."""
        return [descent(one) for one in self.sweeps]

    @property
    def stability(self) -> dict[str, Any]:
        """Number of sweeps, the largest over the smallest rate that they choose, and whether nothing is doubtful.

        Of one sweep nobody can say: `stable` is None unless something is doubtful.
        """
        return {
            "sweeps": len(self.sweeps),
            "lr_min_spread": _spread(self.suggestions[self.rule_min]),
            "lr_max_spread": _spread(self.suggestions[self.rule]),
            "stable": False if self.warnings else (True if len(self.sweeps) > 1 else None),
        }

    @property
    def warnings(self) -> list[str]:
        """What makes the choice doubtful, a line each."""
        found = []
        for end, rule in (("lr_max", self.rule), ("lr_min", self.rule_min)):
            rates = self.suggestions[rule]
            if _spread(rates) > UNSTABLE:
                each = ", ".join(f"{rate:.2g}" for rate in rates)
                found.append(f"{end} is unstable, the sweeps choose {each}: more steps or larger batches may help")
        if any(one.end == "range" and self.lr_max > one.lrs[-1] / 3 for one in self.sweeps):
            found.append(f"lr_max {self.lr_max:.2g} is near the end of the sweeps: sweep further up")
        if all(self.lr_min < 3 * one.lrs[0] for one in self.sweeps):
            found.append(f"lr_min {self.lr_min:.2g} is near the start of the sweeps: sweep from further down")
        return found

    @property
    def messages(self) -> list[str]:
        """What was chosen, in a line, and the warnings."""
        rates = sorted(self.suggestions[self.rule])
        each = f"{rates[0]:.2g} to {rates[-1]:.2g} in {len(rates)} sweeps" if len(rates) > 1 else "one sweep"
        chosen = f"lr_min {self.lr_min:.3g}, lr_max {self.lr_max:.3g} found by the rule {self.rule} ({each})"
        return [chosen, *(f"warning: {warning}" for warning in self.warnings)]

    @property
    def table(self) -> tuple[list[str], list[list[str]]]:
        """The names of columns, and a row a rule: what it chooses from each sweep."""
        names = ["rule", *(f"seed {one.seed}" for one in self.sweeps), "largest/smallest"]
        chosen = {self.rule: " -> lr_max", self.rule_min: " -> lr_min"}
        rows = [
            [rule + chosen.get(rule, ""), *(f"{rate:.2e}" for rate in rates), f"{_spread(rates):.1f}"]
            for rule, rates in self.suggestions.items()
        ]
        return names, rows

    def _repr_html_(self) -> str:
        """For notebooks: what is chosen, the table, and what is doubtful."""
        from ..progress.notebook import html_table, line  # Rich comes with it, which a sweep does not need

        chosen, *doubts = self.messages
        return line(chosen) + html_table(*self.table) + "".join(line(doubt) for doubt in doubts)

    def __repr__(self) -> str:  # the losses of all sweeps would fill a notebook's cell
        return f"LrRange(lr_min={self.lr_min:.3g}, lr_max={self.lr_max:.3g}, {len(self.sweeps)} sweeps)"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as lr_range.json holds them."""
        return {
            "lr_min": self.lr_min,
            "lr_max": self.lr_max,
            "rule": self.rule,
            "rule_min": self.rule_min,
            "stability": self.stability,
            "warnings": self.warnings,
            "suggestions": {rule: list(rates) for rule, rates in self.suggestions.items()},
            "sweeps": [
                {"seed": one.seed, "end": one.end, "lrs": list(one.lrs), "losses": list(one.losses)}
                for one in self.sweeps
            ],
        }


def choose(sweeps: Sweep | Iterable[Sweep], *, rule: str = RULE, rule_min: str = RULE_MIN) -> LrRange:
    """Choose lr_max by `rule` and lr_min by `rule_min`: the geometric median of what they say of each sweep.

    Raises UserError where a rule is unknown, a sweep's loss never falls, or most do not by more than their noise.
    """
    check_rules(rule, rule_min)
    sweeps = [sweeps] if isinstance(sweeps, Sweep) else list(sweeps)
    if not sweeps:
        raise UserError("there is no sweep to choose from; one or more are needed")
    descents = [descent(one) for one in sweeps]
    if np.median([one.certainty for one in descents]) < LEAST_CERTAINTY:
        falls = ", ".join(f"{one.losses[one.top] - one.losses[one.bottom]:.2g}" for one in descents)
        noise = np.median([one.noise for one in descents])
        raise UserError(
            f"the loss falls by {falls} in the sweeps, which is within the noise of their batches, {noise:.2g} each; "
            "larger batches or more steps are needed"
        )
    suggestions = {
        name: tuple(10 ** log_lr(one) for one in descents) for name, log_lr in {**RULES_MIN, **RULES}.items()
    }
    lr_max = _geometric_median(suggestions[rule])
    lr_min = min(_geometric_median(suggestions[rule_min]), lr_max)
    return LrRange(lr_min, lr_max, rule, rule_min, suggestions, tuple(sweeps))


def check_rules(rule: str, rule_min: str) -> None:
    """Raise UserError where one of the rules, of lr_max and of lr_min, is unknown."""
    for key, name, known in (("lr_max", rule, RULES), ("lr_min", rule_min, RULES_MIN)):
        if name not in known:
            raise UserError(f"the rule {name!r} of {key} is unknown; {suggestion(name, known)}")


def _steepest(one: Descent) -> float:
    """Where the loss falls fastest; `steep` in fastai and the suggestion in Lightning, but over log10 of the rate."""
    return float(one.log_lrs[one.top + int(np.argmin(one.slopes[one.top : one.bottom + 1]))])


def _valley(one: Descent) -> float:
    """The middle of the longest fall; fastai's default, https://docs.fast.ai/callback.schedule.html#valley."""
    return float(one.log_lrs[list(longest_fall(one))].mean())


def _minimum(one: Descent) -> float:
    """The rate at the bottom of the fall, as `Descent` has it: mostly that of the lowest loss.

    Source: Smith, "A disciplined approach", https://arxiv.org/abs/1803.09820, section 4.1.
    There it is the highest that the maximum of a cycle may be; a rate that is kept has to be lower.
    """
    return float(one.log_lrs[one.bottom])


def _tenth_of_minimum(one: Descent) -> float:
    """A tenth of that of `_minimum`; `minimum` in fastai. For a rate that is kept, not a one-cycle's top."""
    return _minimum(one) - 1


def _slowing(one: Descent) -> float:
    """Where nine tenths of the fall are done. Smith's upper end, section 3.3: where the gain slows."""
    return at_share(one, 0.9)


def _onset(one: Descent) -> float:
    """Where a tenth of the fall is done. Smith's lower end, section 3.3: where the gain begins."""
    return at_share(one, 0.1)


RULES: dict[str, Callable[[Descent], float]] = {
    "steepest": _steepest,
    "valley": _valley,
    "minimum": _minimum,
    "minimum/10": _tenth_of_minimum,
    "slowing": _slowing,
}
RULES_MIN: dict[str, Callable[[Descent], float]] = {"onset": _onset}


def _spread(rates: Sequence[float]) -> float:
    return max(rates) / min(rates)


def _geometric_median(rates: Sequence[float]) -> float:
    return float(10 ** np.median(np.log10(rates)))
