"""From a name, a file or `--set` values to a checked recipe; every problem is reported at once, one line each."""

from __future__ import annotations

import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from .. import registry
from ..errors import UserError, shown, suggestion
from ..schedule import provisional
from .conflicts import conflicts
from .places import absolute, images_path
from .reading import read_yaml
from .schema import OWN, Recipe, annotation_at, fields_at, form, refuse_booleans

COMPONENTS = ("model", "optimizer", "schedule")

_DECOUPLED = ("adamw", "muon")  # their weight decay is no part of the gradient, so its strength is of another kind
# pydantic error types, by prefix, whose message says more than the form that was expected
_PRECISE = ("finite", "greater", "less", "value_error", "invalid_key")
_REQUIRED = inspect.Parameter.empty


def recipe(name: str | Path | Recipe, /, **changes: Any) -> Recipe:
    """A checked recipe: a shipped name, a YAML file or a recipe, with changes.

    Changes are parts as mappings or dotted keys: `recipe("custom_resnet", seed=1, schedule={"epochs": 12})` or
    `recipe("custom_resnet", **{"schedule.epochs": 12})`. A component whose name changes keeps the options that the
    new one has too, unless they are at the old one's defaults, but for a weight decay of another kind: AdamW's and
    Muon's is no part of the gradient. Raises UserError with every problem found.
    """
    base, where = (name, name.name) if isinstance(name, Recipe) else _read(str(name))
    values, problems = _merged(base, changes)
    return checked(values, where, problems)


def checked(base: Recipe | Mapping[str, Any], where: str, earlier_problems: Iterable[str] = ()) -> Recipe:
    """Validate values as a recipe, each component's options against its signature, defaults filled in.

    `where` names the source in the messages. Raises UserError with one line for each problem, the `earlier_problems`
    first.
    """
    values = base.model_dump() if isinstance(base, Recipe) else dict(base)
    values.setdefault("name", Path(where).stem)
    refused = _refused_by_schema(values)
    problems = [*earlier_problems, *refused.values()]
    if "" in refused:  # a key that is no Unicode: the rest has not been looked at
        raise UserError(*(f"recipe {where}: {problem}" for problem in problems))
    for kind in COMPONENTS:
        if isinstance(values.get(kind), Mapping) and isinstance(values[kind].get("name"), str):
            values[kind], component_problems = _checked_component(kind, values[kind])
            problems += component_problems
    data_name = values.get("data", {}).get("name", "cifar10") if isinstance(values.get("data", {}), Mapping) else None
    if isinstance(data_name, str) and not data_name.startswith(OWN) and data_name not in registry.names("data"):
        place = images_path(data_name)
        if place is None:
            hint = f"{suggestion(data_name, registry.names('data'))}; one's own images have a path, such as ./photos"
            problems.append(f"data.name {shown(data_name)} is unknown; {hint}")
        else:
            values["data"] = {**values["data"], "name": place}
    if isinstance(values.get("init"), str) and "init" not in refused:
        values["init"] = absolute(values["init"])
    problems += _contradictions(_sound(values, refused), refused)
    if problems:
        raise UserError(*(f"recipe {where}: {problem}" for problem in problems))
    return Recipe.model_validate(values)


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
    for key, part in changes.items():
        value = part.model_dump() if isinstance(part, BaseModel) else part
        if isinstance(value, Mapping) and (value or values.get(key) is not None):
            flat.update({f"{key}.{k}": v for k, v in value.items()})
        else:
            flat[key] = value
    for kind in COMPONENTS:
        _rename(kind, values, flat)
    problems = []
    for key, value in flat.items():
        *parents, last = key.split(".")
        part = values
        for parent in parents:
            inner = part.get(parent)
            if inner is None and parent not in COMPONENTS and fields_at([parent]):
                inner = {}
            if not isinstance(inner, dict):
                problems.append(f"unknown key {key!r}; {suggestion(key, _known_keys(values))}")
                break
            part[parent] = part = dict(inner)
        else:
            part[last] = value
    return values, problems


def _rename(kind: str, values: dict[str, Any], changes: dict[str, Any]) -> None:
    """Where a component's name changes, keep only the options that carry over.

    Dropped are those that the new component lacks; those that mean something else there (a weight decay between coupled
    and decoupled optimisers, "find" without lr_max); and those at the old default where it has a default of its own.
    """
    new = changes.get(f"{kind}.name")
    old = values.get(kind)
    if not isinstance(old, dict) or new is None or new == old.get("name") or new not in registry.names(kind):
        return
    options = registry.options(registry.load(kind, new))
    known = set(options)
    if kind == "optimizer" and (old.get("name") in _DECOUPLED) != (new in _DECOUPLED):
        known.discard("weight_decay")
    if kind == "schedule" and "lr_max" not in known:  # its lr_min, as plateau's, is no end of a cycle
        known -= {key for key in known if old.get(key) == "find"}
    known -= {key for key in _at_default(kind, old) if key in known and options[key].default is not _REQUIRED}
    values[kind] = {key: value for key, value in old.items() if key == "name" or key in known}


def _at_default(kind: str, component: Mapping[str, Any]) -> set[str]:
    """The options whose value is the component's default."""
    try:
        builder = registry.load(kind, str(component.get("name")))
    except UserError:  # such as one whose package is not here
        return set()
    return {
        key
        for key, parameter in registry.options(builder).items()
        if key in component
        and _option(key, component[key], parameter, _adapters(builder)[key]) == (parameter.default, "")
    }


def _checked_component(kind: str, values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A component with its defaults filled in, which also stand in for what is refused, and what is wrong with it."""
    name = values["name"]
    if kind == "model" and name.startswith(OWN):
        unknown = [key for key in values if key != "name"]
        return {"name": name}, [f"unknown key {f'{kind}.{key}'!r}: {name!r} has no options" for key in unknown]
    if name not in registry.names(kind):
        return {"name": name}, [f"{kind}.name {name!r} is unknown; {suggestion(name, registry.names(kind))}"]
    builder = registry.load(kind, name)
    known = registry.options(builder)
    unknown = [key for key in values if key != "name" and key not in known]
    problems = [f"unknown key {f'{kind}.{key}'!r} for {kind} {name!r}; {suggestion(key, known)}" for key in unknown]
    filled: dict[str, Any] = {}
    refused: dict[str, str] = {}
    for key, parameter in known.items():
        if key in values:
            filled[key], problem = _option(f"{kind}.{key}", values[key], parameter, _adapters(builder)[key])
            if kind == "schedule" and problem.startswith(f"schedule.{key} 'find'"):
                problem += "; find is for lr_min and lr_max of a cycle alone"
                problem += "" if "lr_max" in known else f", onecycle find-lr says what suits {name}"
        else:
            missing = f"{kind}.{key} is missing, which {kind} {name!r} needs"
            filled[key], problem = parameter.default, missing if parameter.default is _REQUIRED else ""
        refused |= {key: problem} if problem else {}
    together = _refused_by_builder(builder, filled, refused) if kind == "schedule" else []
    return {"name": name, **filled}, [*problems, *refused.values(), *together]


@functools.cache
def _adapters(builder: Callable[..., Any]) -> dict[str, TypeAdapter[Any]]:
    """What checks each of a builder's options; kept, as making one takes longer than using it."""
    config = ConfigDict(allow_inf_nan=False)
    return {key: TypeAdapter(one.annotation, config=config) for key, one in registry.options(builder).items()}


def _option(key: str, value: Any, parameter: inspect.Parameter, adapter: TypeAdapter[Any]) -> tuple[Any, str]:
    """The value as it is taken, or the default and what is wrong with the value."""
    try:
        return adapter.validate_python(refuse_booleans(value, parameter.annotation)), ""
    except ValidationError as error:
        return parameter.default, _problem(key, error.errors(), value, parameter.annotation)
    except ValueError as error:
        return parameter.default, f"{key} {shown(value)}: {error}"


def _refused_by_builder(builder: Callable[..., Any], filled: Mapping[str, Any], refused: Collection[str]) -> list[str]:
    """How options contradict each other. What names one that is refused already is left out: a default stands in."""
    if any(value is _REQUIRED for value in filled.values()):
        return []
    try:
        builder(1, **provisional(filled))
    except UserError as error:
        return [line for line in error.problems if not any(re.search(rf"\b{key}\b", line) for key in refused)]
    return []


def _sound(values: Mapping[str, Any], refused: Collection[str]) -> Recipe:
    """The parts that `_contradictions` looks at, with defaults in the place of what is refused."""
    kept: dict[str, Any] = {"name": "sound", **{kind: {"name": ""} for kind in COMPONENTS}}
    for key in ("data", "augment", "loss", "optimizer", "schedule", "evaluate_every"):
        if key not in values or key in refused:
            continue
        kept[key] = part = values[key]
        if isinstance(part, Mapping):
            sound = {one: part[one] for one in part if isinstance(one, str) and f"{key}.{one}" not in refused}
            kept[key] = {"name": "", **sound} if key in COMPONENTS else sound
    return Recipe.model_validate(kept)


def _contradictions(recipe: Recipe, refused: Collection[str]) -> list[str]:
    """Values that do not go together; none that involves a key, or a whole part, which is refused already."""

    def known(keys: Collection[str]) -> bool:
        return not {*keys, *(key.split(".")[0] for key in keys)}.isdisjoint(refused)

    return [problem for keys, problem in conflicts(recipe) if not known(keys)]


def _refused_by_schema(values: Mapping[str, Any]) -> dict[str, str]:
    """What the schema refuses, by the dotted key: one line each, also where a key of two forms has an error a form."""
    by_key: dict[tuple[Any, ...], list[Any]] = {}
    try:
        Recipe.model_validate(values)
    except ValidationError as error:
        for one in error.errors():
            by_key.setdefault(one["loc"][:2], []).append(one)
    return {".".join(map(str, place)): _schema_problem(place, errors, values) for place, errors in by_key.items()}


def _schema_problem(place: tuple[Any, ...], errors: list[Any], values: Any) -> str:
    key, kind = ".".join(map(str, place)), errors[0]["type"]
    if kind == "extra_forbidden":
        return f"unknown key {key!r}; {suggestion(key.rpartition('.')[2], fields_at(place[:-1]))}"
    if kind == "missing" and errors[0]["loc"] == place:
        return f"{key} is missing"
    for part in place:
        values = values.get(part) if isinstance(values, Mapping) else None
    return _problem(key, errors, values, annotation_at(place))


def _problem(key: str, errors: list[Any], value: Any, annotation: Any) -> str:
    """The pydantic errors of one key in our words: the key, its value, what is allowed, the nearest match."""
    error = next((one for one in errors if one["type"].startswith(_PRECISE)), errors[0])
    of_two_forms = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    of_wrong_form = of_two_forms or error["type"] in ("missing", "too_long", "tuple_type")
    if of_wrong_form and not error["type"].startswith(_PRECISE):
        return f"{key} {shown(value)}: must be {form(annotation)}"
    value = shown(error.get("input"))
    if error["type"] == "model_type":
        named = "name" in fields_at(key.split("."))
        return f"{key} {value}: must be a mapping of keys{f'; for its name {key}.name' if named else ''}"
    if error["type"] == "literal_error":
        allowed = re.findall(r"'([^']*)'|(\d+)", error["ctx"]["expected"])
        return f"{key} {value} is not allowed; {suggestion(error['input'], [a or b for a, b in allowed])}"
    message = error["msg"].replace("Input should be", "must be").replace("Value error, ", "")
    return f"{key} {value}: {message[:1].lower()}{message[1:]}"


def _known_keys(values: Mapping[str, Any]) -> list[str]:
    keys = []
    for name in Recipe.model_fields:
        inner = fields_at([name])
        options = values.get(name)
        if inner and isinstance(options, dict):
            inner = list(dict.fromkeys([*inner, *options]))
        keys += [f"{name}.{key}" for key in inner] if inner else [name]
    return keys
