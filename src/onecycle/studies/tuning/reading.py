"""From a file, or a mapping, to what a search varies; every problem is reported at once, one line each.

A space file has recipe keys, dotted, such as these:

    schedule.lr_max: {low: 0.001, high: 0.05, log: true}
    optimizer.weight_decay: [0.0, 0.05, 0.2]
    schedule.peak_epoch: {low: 1, high: 4, step: 0.5}
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ... import registry
from ...errors import UserError, shown
from ...recipes import Recipe, flatten, read_yaml, recipe
from ...recipes.checking import COMPONENTS
from ...recipes.schema import annotation_at, plain_types
from .space import Choice, Number, Range, Space, combinations, exact

_RANGE = ("low", "high", "log", "step")
_TRIED = 200  # combinations of the other keys that a value is tried with, before it is refused
_OTHER_IMAGES = "the trials would be measured on different images"
_NOT_MEASURED = "it changes nothing that a search measures"
_FIXED = {
    "seed": "all trials have the recipe's; a result is measured over seeds afterwards, with onecycle trials",
    "name": _NOT_MEASURED,
    "evaluate_every": _NOT_MEASURED,
    "tta": "a search measures without test-time augmentation",
    "tta_share": "a search measures without test-time augmentation",
    **dict.fromkeys(("checkpoint", "resources"), _NOT_MEASURED),
    **{f"data.{key}": _OTHER_IMAGES for key in ("name", "damaged", "val_fraction", "fold", "split_seed")},
}


def read_space(space: str | Path | Mapping[str, Any], base: Recipe) -> Space:
    """The space in a YAML file, or in a mapping, of a search that starts from `base`.

    Raises UserError with every problem found: keys that the recipe has not or that are no matter of a search, empty
    lists, ranges the wrong way round, and values that the recipe refuses with whatever the other keys may have.
    """
    where = "the space" if isinstance(space, Mapping) else str(space)
    values = dict(space) if isinstance(space, Mapping) else read_yaml(Path(space), "space")
    if not values:
        raise UserError(f"{where}: holds no key; one at least, such as schedule.lr_max: [0.01, 0.02]")
    parameters, problems = [], []
    for key, spec in values.items():
        try:
            parameters.append(_parameter(str(key), spec, base, values))
        except ValueError as error:
            problems.append(f"{where}: {key}: {error}")
    if not problems:
        parameters, problems = _held_against(base, parameters, where)
    if problems:
        raise UserError(*problems)
    return Space(tuple(parameters))


def _parameter(key: str, spec: Any, base: Recipe, values: Mapping[str, Any]) -> Choice | Range:
    """One key. Raises ValueError with what is wrong with it, but for what the recipe says of its values."""
    reason = next((why for fixed, why in _FIXED.items() if key == fixed or key.startswith(f"{fixed}.")), None)
    if reason or key == "data":
        raise ValueError(f"no matter of a search: {reason or _OTHER_IMAGES}")
    if key == "data.train_limit" and base.data.fold is not None:  # the folds are drawn of what it leaves
        raise ValueError(f"no matter of a search with data.fold: {_OTHER_IMAGES}")
    inner = next((other for other in map(str, values) if other.startswith(f"{key}.")), None)
    if inner:
        raise ValueError(f"{inner} is a part of it; one of the two")
    if isinstance(spec, list | tuple):
        return _choice(key, spec)
    if isinstance(spec, Mapping):
        return _range(key, spec, base, values)
    form = "a list of values, or a range such as {low: 0.001, high: 0.1, log: true}"
    raise ValueError(f"{shown(spec)}; {form}, is needed")


def _choice(key: str, spec: Sequence[Any]) -> Choice:
    if len(spec) < 2:
        raise ValueError(f"{len(spec) or 'no'} value{'s' * (len(spec) != 1)}; two or more are needed")
    return Choice(key, tuple(spec))


def _range(key: str, spec: Mapping[str, Any], base: Recipe, values: Mapping[str, Any]) -> Range:
    unknown = [one for one in spec if one not in _RANGE]
    if unknown or not {"low", "high"} <= spec.keys():
        what = f"unknown {shown(unknown[0])}" if unknown else "low or high is missing"
        raise ValueError(f"{what}; a range has low and high, and may have log and step")
    kinds = _kinds(key, base, values)
    if not kinds & {int, float}:
        raise ValueError("no number, so that it can have no range; a list of values is needed")
    log = spec.get("log", False)
    if not isinstance(log, bool):
        raise ValueError(f"log {shown(log)}; true or false is needed")
    low, high = (_number(spec, name, whole=float not in kinds) for name in ("low", "high"))
    step = None if spec.get("step") is None else _number(spec, "step", whole=float not in kinds)
    if not low < high:
        raise ValueError(f"low {low:g} is not below high {high:g}")
    if log and (step is not None or low <= 0):
        raise ValueError("log does not go with a step" if step is not None else f"log needs a low above 0, not {low:g}")
    if step is not None:
        if not 0 < step <= high - low:
            raise ValueError(f"step {step:g}; above 0 and at most high - low, {high - low:g}, is needed")
        last = (Range(key, low, high, step=step).count or 1) - 1
        reached = exact(low) + last * exact(step)
        high = int(reached) if isinstance(low, int) else float(reached)
    return Range(key, low, high, log, step)


def _number(spec: Mapping[str, Any], name: str, *, whole: bool) -> Number:
    """A number of a range, also where YAML takes it for text, as it does 1e-3."""
    value = spec[name]
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        number = float(value)
        if not math.isfinite(number):
            raise ValueError
    except (ValueError, OverflowError):
        raise ValueError(f"{name} {shown(value)}; a number is needed") from None
    if not whole:
        return number
    if not number.is_integer():
        raise ValueError(f"{name} {shown(value)}; a whole number is needed")
    return int(value) if isinstance(value, int) else int(number)


def _kinds(key: str, base: Recipe, values: Mapping[str, Any]) -> set[Any]:
    """The plain types that a key may have; of an option, in any of the components that the search may choose."""
    part, _, option = key.partition(".")
    if part not in COMPONENTS:
        annotation = annotation_at(key.split("."))
        return set(plain_types(annotation)) if annotation is not None else {float}  # the recipe says that it is unknown
    named = values.get(f"{part}.name")
    names = [*(named if isinstance(named, list | tuple) else ()), getattr(base, part).name]
    found = [
        registry.options(registry.load(part, name)).get(option)
        for name in names
        if isinstance(name, str) and name in registry.names(part)
    ]
    return {kind for one in found if one for kind in plain_types(one.annotation)} or {float}


def _held_against(
    base: Recipe, parameters: Sequence[Choice | Range], where: str
) -> tuple[list[Choice | Range], list[str]]:
    """The parameters with their values as the recipe takes them, and what is wrong with them."""
    taken: list[Choice | Range] = []
    problems: list[str] = []
    for one in parameters:
        others = [other for other in parameters if other is not one]
        values = []
        for value in one.ends:
            found, said = _as_taken(base, one.key, value, others)
            values.append(found)
            problems += [f"{where}: {line}" for line in said]
        if isinstance(one, Range):
            taken.append(one)
            continue
        taken.append(Choice(one.key, tuple(values)))
        if len(set(map(_comparable, values))) < len(values) and not problems:
            problems.append(f"{where}: {one.key}: a value is there twice")
    return taken, list(dict.fromkeys(problems))


def _as_taken(base: Recipe, key: str, value: Any, others: Sequence[Choice | Range]) -> tuple[Any, list[str]]:
    """A value as the recipe has it, with some values of the others; or what the recipe says where it refuses all."""
    refused: list[str] = []
    for changes in itertools.chain([{}], itertools.islice(combinations(others), _TRIED)):
        try:
            found = flatten(recipe(base, **{**changes, key: value}).model_dump(mode="json"))
        except UserError as error:
            refused = refused or list(error.problems)
            continue
        return (value if isinstance(value, Mapping) else found.get(key, value)), []
    return value, refused


def _comparable(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
