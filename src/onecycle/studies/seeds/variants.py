"""The recipes that are tried side by side, each under the name of its folder."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...comparison import setting
from ...errors import UserError, shown
from ...recipes import Recipe, differences, flatten, recipe
from ...recipes.reading import Unreadable, read_value

_NOT_VARIED = ("seed", "name")
_FREE = ("seed", "resources.gpus", "checkpoint.")  # keys that decide nothing of what a trial finds
_UNSAFE = re.compile(r"[^A-Za-z0-9._=+-]+")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # Windows opens devices under these
_LONGEST = 80  # letters of a folder's name


@dataclass(frozen=True)
class Variant:
    """One of the recipes; `label` names it to readers, `folder` on the disk. The seed in it means nothing."""

    label: str
    folder: str
    recipe: Recipe


def one_or_two(
    name: str | Path | Recipe, against: str | Path | Recipe | None, changes: Mapping[str, Any]
) -> list[Variant]:
    """The recipe, and the one that it is compared with where there is one; the changes hold for both."""
    asked = [name] if against is None else [name, against]
    recipes = [recipe(one, **changes) for one in asked]
    if len(recipes) == 2 and not deciding_differences(*recipes):
        raise UserError(f"--against {_named(asked[1])}: the same recipe as {_named(name)}; another one is needed")
    return variants([one.name for one in recipes], recipes)


def varied(name: str | Path | Recipe, key: str, values: Sequence[Any], changes: Mapping[str, Any]) -> list[Variant]:
    """The recipe once for each value of a dotted key; the first is what the others are compared with.

    Raises UserError naming each value that the recipe refuses.
    """
    if key in _NOT_VARIED:
        way_out = "--seeds says how many seeds there are" if key == "seed" else "a key that decides something"
        raise UserError(f"--vary {key}: cannot be varied; {way_out}")
    if len(values) < 2:
        raise UserError(f"--vary {key}: {len(values)} value{'s' * (len(values) != 1)}; two or more are needed, as a,b")
    recipes: list[Recipe] = []
    problems: list[str] = []
    for value in values:
        try:
            recipes.append(recipe(name, **{**changes, key: value}))
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(*dict.fromkeys(f"--vary: {problem}" for problem in problems))
    for number, one in enumerate(recipes):
        for earlier, other in enumerate(recipes[:number]):
            if not deciding_differences(other, one):
                both = f"{setting(values[earlier])} and {setting(values[number])}"
                raise UserError(f"--vary {key}: {both} make the same recipe; each value once")
    taken = [_as_taken(key, value, one) for value, one in zip(values, recipes, strict=True)]
    return variants([f"{key}={setting(value)}" for value in taken], recipes)


def _as_taken(key: str, value: Any, recipe: Recipe) -> Any:
    """A number as the recipe has it: YAML reads 1e-2 as text. Anything else as it was given."""
    taken = flatten(recipe.model_dump(mode="json")).get(key)
    return taken if isinstance(taken, int | float) else value


def read_vary(text: str) -> tuple[str, list[Any]]:
    """The key and the values of `key=a,b,c`, each value as YAML has it. Raises UserError where it has another form."""
    key, equals, listed = text.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--vary {shown(text)}: not of the form key=a,b,c, such as schedule.lr_max=0.005,0.01")
    try:
        values = read_value(f"[{listed}]")
    except Unreadable as error:
        raise UserError(f"--vary {shown(text)}: the values are not readable as YAML ({error})") from None
    return key.strip(), values


def variants(labels: Sequence[str], recipes: Sequence[Recipe]) -> list[Variant]:
    """Recipes under labels and folders that differ, also where capitals do not count."""
    found: list[Variant] = []
    for label, one in zip(labels, recipes, strict=True):
        name, number = label, 1
        while name in {other.label for other in found}:
            number += 1
            name = f"{label} ({number})"
        found.append(Variant(name, unused(_folder(label), {other.folder.lower() for other in found}), one))
    return found


def unused(folder: str, taken: Collection[str]) -> str:
    """A folder's name, with a number where it is among those that are `taken`, in lower case."""
    name, number = folder, 1
    while name.lower() in taken:
        number += 1
        name = f"{folder}_{number}"
    return name


def deciding_differences(one: Recipe, other: Recipe) -> dict[str, tuple[Any, Any]]:
    """The keys that differ, but for the names, the seeds and what decides no result."""
    found = differences(one, other)
    return {key: pair for key, pair in found.items() if key != "name" and not key.startswith(_FREE)}


def _folder(label: str) -> str:
    """A name that every file system takes for a folder."""
    safe = _UNSAFE.sub("_", label)[:_LONGEST].strip(".") or "_"
    return f"{safe}_" if _RESERVED.fullmatch(safe) else safe


def _named(one: str | Path | Recipe) -> str:
    return one.name if isinstance(one, Recipe) else str(one)
