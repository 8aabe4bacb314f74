"""What a search varies: keys of a recipe, each with a list of values or a range of numbers."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

Scale = Literal["log", "linear", "choices"]
Scalar = None | bool | int | float | str
Number = int | float


@dataclass(frozen=True)
class Choice:
    """A key and the values that it may have."""

    key: str
    values: tuple[Any, ...]

    @property
    def scale(self) -> Scale:
        """The axis that its values are drawn on."""
        return "choices"

    @property
    def labels(self) -> tuple[Scalar, ...]:
        """The values as plain ones: a list or a mapping as its JSON."""
        return tuple(value if _is_scalar(value) else json.dumps(value) for value in self.values)

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that a check needs to try: all."""
        return self.values

    def value(self, label: Scalar) -> Any:
        """The value that a label stands for."""
        return self.values[[(type(one), one) for one in self.labels].index((type(label), label))]

    @property
    def count(self) -> int | None:
        """How many values there are."""
        return len(self.values)

    def grid(self) -> tuple[Scalar, ...]:
        """The labels, one after the other."""
        return self.labels

    def to_spec(self) -> Any:
        """As a space file has it."""
        return list(self.values)


@dataclass(frozen=True)
class Range:
    """A key and the least and the largest number that it may have: whole ones where both are; evenly over `log`.

    With `step` only low, low + step, and so on; `high` is then the last of them.
    """

    key: str
    low: Number
    high: Number
    log: bool = False
    step: Number | None = None

    @property
    def scale(self) -> Scale:
        """The axis that its numbers are drawn on."""
        return "log" if self.log else "linear"

    @property
    def whole(self) -> bool:
        """Whether its numbers are whole."""
        return isinstance(self.low, int)

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that a check needs to try."""
        return (self.low, self.high)

    def value(self, label: Scalar) -> Any:
        """The number itself."""
        return label

    @property
    def count(self) -> int | None:
        """How many numbers it has; None where they cannot be counted."""
        step = self._grid_step
        return None if step is None else int((exact(self.high) - exact(self.low)) / step) + 1

    def grid(self) -> tuple[Scalar, ...]:
        """All its numbers, where they can be counted."""
        step, kind = self._grid_step or Decimal(0), int if self.whole else float
        return tuple(kind(exact(self.low) + number * step) for number in range(self.count or 0))

    @property
    def _grid_step(self) -> Decimal | None:
        step = self.step or (1 if self.whole and not self.log else None)
        return None if step is None else exact(step)

    def to_spec(self) -> Any:
        """As a space file has it."""
        spec: dict[str, Any] = {"low": self.low, "high": self.high}
        return spec | ({"log": True} if self.log else {}) | ({"step": self.step} if self.step else {})


@dataclass(frozen=True)
class Space:
    """The keys that a search varies, in their order."""

    parameters: tuple[Choice | Range, ...]

    def changes(self, labels: Mapping[str, Scalar]) -> dict[str, Any]:
        """The recipe changes that the labels of a trial stand for."""
        return {one.key: one.value(labels[one.key]) for one in self.parameters}

    def most(self, key: str) -> Any:
        """The largest number that a key may have; None where it is not varied."""
        return next((max(one.ends) for one in self.parameters if one.key == key), None)

    def corners(self) -> Iterator[dict[str, Any]]:
        """Combinations of values, those of a range being its ends."""
        return combinations(self.parameters)

    def short_names(self) -> dict[str, str]:
        """What each key is called in a line of a trial: its last part, or the whole where that is another's too."""
        last = [one.key.rpartition(".")[2] for one in self.parameters]
        pairs = zip(self.parameters, last, strict=True)
        return {one.key: one.key if last.count(name) > 1 or name == "name" else name for one, name in pairs}

    def to_dict(self) -> dict[str, Any]:
        """As a space file has it."""
        return {one.key: one.to_spec() for one in self.parameters}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Space:
        """What `to_dict` gave, not checked again."""
        return cls(
            tuple(
                Range(key, **spec) if isinstance(spec, Mapping) else Choice(key, tuple(spec))
                for key, spec in values.items()
            )
        )


def combinations(others: Sequence[Choice | Range]) -> Iterator[dict[str, Any]]:
    """Values of the other keys, those of a range being its ends."""
    for values in itertools.product(*(one.ends for one in others)):
        yield {one.key: value for one, value in zip(others, values, strict=True)}


def exact(number: Number) -> Decimal:
    """As it is written, so that steps of 0.1 add up."""
    return Decimal(str(number))


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)
