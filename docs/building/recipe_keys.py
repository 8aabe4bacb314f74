"""The reference of the recipe's keys, from the schema and from the signatures of what is registered."""

from __future__ import annotations

import inspect
import io
import tokenize
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import pydantic_core
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from onecycle import registry
from onecycle.recipes import schema

_SIGNS = {Ge: ("ge", "at least"), Gt: ("gt", "above"), Le: ("le", "at most"), Lt: ("lt", "below")}
_HEAD = ["| key | value | default | |", "|---|---|---|---|"]
_KINDS = {"model": "Nets", "optimizer": "Optimisers", "schedule": "Schedules"}


def reference() -> str:
    """The keys of each part, then the options of each net, optimiser and schedule."""
    lines = ["## At the top", "", *_HEAD, *_rows(schema.Recipe, ""), ""]
    for name, field in schema.Recipe.model_fields.items():
        part = _part_of(field)
        if part is not None and part is not schema.Component:
            lines += [f"## {name}", "", _text(part.__doc__), "", *_HEAD, *_rows(part, f"{name}."), ""]
    for kind, title in _KINDS.items():
        lines += [f"## {title}", ""]
        for name in registry.names(kind):
            lines += _component(kind, name)
    return "\n".join(lines)


def keys() -> list[str]:
    """Every dotted key of the schema."""
    found = []
    for name, field in schema.Recipe.model_fields.items():
        part = _part_of(field)
        found += [name] if part is None else [f"{name}.{key}" for key in part.model_fields]
    return found


def _rows(part: type[BaseModel], prefix: str) -> Iterator[str]:
    words = _comments(part)
    for name, field in part.model_fields.items():
        if _part_of(field) is None:
            yield _row(prefix + name, _form(field.annotation, field.metadata), _default(field), words.get(name, ""))


def _component(kind: str, name: str) -> list[str]:
    builder = registry.load(kind, name)
    lines = [f"### {kind}.name: {name}", "", *(_text(one) for one in _paragraphs(builder.__doc__)), ""]
    options = registry.options(builder)
    if options:
        lines += _HEAD
    for key, parameter in options.items():
        missing = parameter.default is inspect.Parameter.empty
        default = "none: it must be given" if missing else _value(parameter.default)
        lines.append(_row(f"{kind}.{key}", _form(parameter.annotation, []), default, ""))
    return [*lines, ""]


def _row(key: str, form: str, default: str, words: str) -> str:
    return f"| `{key}` | {_cell(form)} | {_cell(default)} | {_cell(words)} |"


def _part_of(field: FieldInfo) -> type[BaseModel] | None:
    candidates = [field.annotation, *typing.get_args(field.annotation)]
    return next((one for one in candidates if isinstance(one, type) and issubclass(one, BaseModel)), None)


def _form(annotation: Any, metadata: list[Any]) -> str:
    """The schema's own words for the form, with the bounds."""
    bounds = [words for one in metadata for words in _bounds(one)]
    if typing.get_origin(annotation) is typing.Annotated:
        annotation, *rest = typing.get_args(annotation)
        bounds += [words for one in rest for words in _bounds(one)]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return " or ".join([_form(one, []) for one in typing.get_args(annotation)]) + _listed(bounds)
    return schema.form(annotation) + _listed(bounds)


def _listed(bounds: list[str]) -> str:
    return f", {', '.join(bounds)}" if bounds else ""


def _bounds(one: Any) -> list[str]:
    if isinstance(one, FieldInfo):
        return [words for inner in one.metadata for words in _bounds(inner)]
    return [f"{words} {_number(getattr(one, name))}" for kind, (name, words) in _SIGNS.items() if isinstance(one, kind)]


def _number(value: float) -> str:
    return "2^63" if value == 2**63 else f"{value:g}"


def _default(field: FieldInfo) -> str:
    return "none: it must be given" if field.default is pydantic_core.PydanticUndefined else _value(field.default)


def _value(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return "empty" if value == () else str(value)


def _comments(part: type[BaseModel]) -> Mapping[str, str]:
    """What stands behind each field in the source, by its name."""
    found, name, fresh = {}, "", True
    for token in tokenize.generate_tokens(io.StringIO(inspect.getsource(part)).readline):
        if token.type == tokenize.COMMENT and name:
            found[name] = token.string.removeprefix("# ")
        elif token.type == tokenize.NAME and fresh and token.string in part.model_fields:
            name = token.string
        fresh = token.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.NL) or (
            fresh and token.type == tokenize.COMMENT
        )
        if token.type == tokenize.NEWLINE:
            name = ""
    return found


def _paragraphs(text: str | None) -> list[str]:
    return [f"{one}\n" for one in inspect.cleandoc(text or "").split("\n\n")]


def _text(text: str | None) -> str:
    return inspect.cleandoc(text or "")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("[", "\\[")
