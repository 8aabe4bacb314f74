"""From a name, a file or `--set` values to a checked recipe; every problem is reported at once, one line each."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from .. import registry
from ..errors import UserError, suggestion
from .schema import OWN, Recipe

COMPONENTS = ("model", "optimizer", "schedule")


def recipe(name: str | Path | Recipe, /, **changes: Any) -> Recipe:
    """A checked recipe: a shipped name, a YAML file or a recipe, with changes.

    Changes are parts as mappings or dotted keys: `recipe("custom_resnet", seed=1, schedule={"epochs": 3})` or
    `recipe("custom_resnet", **{"schedule.epochs": 3})`. A component whose name changes keeps the options that the
    new one has too. Raises UserError with every problem found.
    """
    base, where = (name, name.name) if isinstance(name, Recipe) else _read(str(name))
    values, problems = _merged(base, changes)
    return checked(values, where, problems)


def checked(base: Recipe | Mapping[str, Any], where: str, found: Iterable[str] = ()) -> Recipe:
    """Validate values as a recipe, each component's options against its signature, defaults filled in.

    `where` names the source in the messages. Raises UserError with one line for each problem, those already `found`
    first.
    """
    values = base.model_dump() if isinstance(base, Recipe) else dict(base)
    values.setdefault("name", Path(where).stem)
    problems = list(found)
    try:
        Recipe.model_validate(values)
    except ValidationError as error:
        # Where a key has two forms, such as auto or three numbers, each form has an error: one line is enough.
        by_key = {one["loc"][:2]: one for one in reversed(error.errors())}
        problems += [_problem(one) for one in reversed(by_key.values())]
    for kind in COMPONENTS:
        if isinstance(values.get(kind), Mapping) and isinstance(values[kind].get("name"), str):
            values[kind], found = _checked_component(kind, values[kind])
            problems += found
    data_name = values.get("data", {}).get("name", "cifar10") if isinstance(values.get("data", {}), Mapping) else None
    if isinstance(data_name, str) and not data_name.startswith(OWN) and data_name not in registry.names("data"):
        problems.append(f"data.name {data_name!r} is unknown; {suggestion(data_name, registry.names('data'))}")
    if not problems:
        result = Recipe.model_validate(values)
        problems = _contradictions(result)
        if not problems:
            return result
    raise UserError(*(f"recipe {where}: {problem}" for problem in problems))


def assignments(pairs: Iterable[str]) -> dict[str, Any]:
    """`--set a.b=value` texts as dotted changes; the value is read as YAML."""
    changes: dict[str, Any] = {}
    problems = []
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip():
            problems.append(f"--set {pair!r}: not of the form key=value, such as schedule.epochs=3")
            continue
        try:
            changes[key.strip()] = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError):
            problems.append(f"--set {pair!r}: the value is not readable as YAML")
    if problems:
        raise UserError(*problems)
    return changes


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a recipe file. Raises UserError naming the file and the place."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"recipe {path}: no such file") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        reason = " ".join(str(getattr(error, "problem", error)).split())
        raise UserError(f"recipe {path}: not readable as YAML{line} ({reason})") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"recipe {path}: not readable ({error})") from None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise UserError(f"recipe {path}: holds no mapping of recipe keys; 'onecycle recipes show' prints an example")
    return values


def _read(name: str) -> tuple[Recipe | dict[str, Any], str]:
    if name in registry.names("recipe"):
        shipped: Recipe = registry.load("recipe", name)()
        return shipped, name
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or _is_file(path):
        return read_yaml(path), name
    hint = suggestion(name, registry.names("recipe"))
    raise UserError(f"recipe {name!r} is neither a shipped recipe nor a YAML file; {hint}")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # such as a name that is too long
        return False


def _merged(base: Recipe | Mapping[str, Any], changes: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    values: dict[str, Any] = base.model_dump() if isinstance(base, Recipe) else dict(base)
    flat: dict[str, Any] = {}
    for key, value in changes.items():
        flat.update({f"{key}.{k}": v for k, v in value.items()} if isinstance(value, Mapping) else {key: value})
    for kind in COMPONENTS:
        _rename(kind, values, flat)
    problems = []
    for key, value in flat.items():
        *parents, last = key.split(".")
        part = values
        for parent in parents:
            inner = part.get(parent)
            if inner is None and parent in ("ema", "data", "augment", "loss", "checkpoint"):
                inner = {}
            if not isinstance(inner, dict):
                problems.append(f"unknown key {key!r}; {suggestion(key, _known_keys(values))}")
                break
            part[parent] = part = dict(inner)
        else:
            part[last] = value
    return values, problems


def _rename(kind: str, values: dict[str, Any], changes: dict[str, Any]) -> None:
    """Where a component's name changes, drop the old options that the new component does not have."""
    new = changes.get(f"{kind}.name")
    old = values.get(kind)
    if not isinstance(old, dict) or new is None or new == old.get("name") or new not in registry.names(kind):
        return
    known = registry.options(registry.load(kind, new))
    values[kind] = {key: value for key, value in old.items() if key == "name" or key in known}


def _checked_component(kind: str, values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    name = values["name"]
    if kind == "model" and name.startswith(OWN):
        return {"name": name}, [f"unknown key {f'{kind}.{key}'!r}: {name!r} has no options" for key in [*values][1:]]
    if name not in registry.names(kind):
        return dict(values), [f"{kind}.name {name!r} is unknown; {suggestion(name, registry.names(kind))}"]
    builder = registry.load(kind, name)
    known = registry.options(builder)
    filled: dict[str, Any] = {"name": name}
    unknown = [key for key in values if key != "name" and key not in known]
    problems = []
    for key, parameter in known.items():
        if key not in values:
            if parameter.default is inspect.Parameter.empty:
                problems.append(f"{kind}.{key} is missing, which {kind} {name!r} needs")
            filled[key] = parameter.default
            continue
        try:
            adapter: TypeAdapter[Any] = TypeAdapter(parameter.annotation, config=ConfigDict(allow_inf_nan=False))
            filled[key] = adapter.validate_python(values[key])
        except ValidationError as error:
            problems += [_problem(one, f"{kind}.{key}") for one in error.errors()[:1]]
    if not problems and kind == "schedule":
        try:
            builder(1, **{key: value for key, value in filled.items() if key != "name"})
        except UserError as error:
            problems += error.problems
    named = [f"unknown key {f'{kind}.{key}'!r} for {kind} {name!r}; {suggestion(key, known)}" for key in unknown]
    return filled, named + problems


def _contradictions(recipe: Recipe) -> list[str]:
    problems = []
    augment, size = recipe.augment, recipe.data.image_size
    if augment.cutout > size:
        problems.append(f"augment.cutout {augment.cutout} is larger than the image; at most data.image_size, {size}")
    if augment.padding == "reflect" and augment.crop_padding >= size:
        problems.append(f"augment.crop_padding {augment.crop_padding} cannot be reflected; less than {size}")
    if recipe.schedule.options.get("monitor") == "val_loss" and recipe.data.val_fraction == 0:
        problems.append("schedule.monitor is val_loss, but data.val_fraction is 0; hold out a part, such as 0.1")
    if recipe.schedule.options.get("monitor") == "val_loss" and recipe.evaluate_every != 1:
        problems.append(f"schedule.monitor is val_loss, but evaluate_every is {recipe.evaluate_every}; 1 is needed")
    if not isinstance(recipe.data.std, str) and min(recipe.data.std) <= 0:
        problems.append(f"data.std {list(recipe.data.std)} is not above 0 in every channel")
    return problems


def _problem(error: Any, prefix: str = "") -> str:
    """One pydantic error in our words: the key, its value, what is allowed, the nearest match."""
    location = [str(part) for part in error["loc"] if part not in ("tuple[float, float, float]", "literal['auto']")]
    key = ".".join(filter(None, [prefix, *(location if not prefix else [])]))
    value = _shown(error.get("input"))
    if error["type"] == "extra_forbidden":
        return f"unknown key {key!r}; {suggestion(key.rpartition('.')[2], _fields(location[:-1]))}"
    if error["type"] == "missing" and not prefix:
        return f"{key} is missing"
    if error["type"] == "literal_error":
        allowed = re.findall(r"'([^']*)'|(\d+)", error["ctx"]["expected"])
        return f"{key} {value} is not allowed; {suggestion(error['input'], [a or b for a, b in allowed])}"
    message = error["msg"].replace("Input should be", "must be").replace("Value error, ", "")
    return f"{key} {value}: {message[:1].lower()}{message[1:]}"


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python will print
        text = "that number"
    return text if len(text) < 60 else text[:57] + "..."


def _fields(location: list[str]) -> list[str]:
    model: type[BaseModel] = Recipe
    for part in location:
        field = model.model_fields.get(part)
        candidates = [field.annotation, *typing.get_args(field.annotation)] if field else []
        inner = [one for one in candidates if isinstance(one, type) and issubclass(one, BaseModel)]
        if not inner:
            return []
        model = inner[0]
    return list(model.model_fields)


def _known_keys(values: Mapping[str, Any]) -> list[str]:
    keys = []
    for name in Recipe.model_fields:
        inner = _fields([name])
        options = values.get(name)
        if inner and isinstance(options, dict):
            inner = list(dict.fromkeys([*inner, *options]))
        keys += [f"{name}.{key}" for key in inner] if inner else [name]
    return keys
