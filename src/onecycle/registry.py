"""Names for nets, data sets, optimisers, schedules and recipes: strings only, so that listing them loads nothing.

Each entry is "module:object". The object is a function whose keyword-only parameters are the options that a recipe
may set beside the name; their annotations are what the options are checked against.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable
from typing import Any

from .errors import UserError, suggestion

ENTRIES: dict[str, dict[str, str]] = {
    "model": {
        "custom_resnet": "onecycle.models.custom_resnet:custom_resnet",
    },
    "data": {
        "cifar10": "onecycle.data.cifar:cifar10",
        "digits": "onecycle.data.digits:digits",
    },
    "optimizer": {
        "adam": "onecycle.optim:adam",
        "adamw": "onecycle.optim:adamw",
        "sgd": "onecycle.optim:sgd",
    },
    "schedule": {
        "one_cycle": "onecycle.schedule:one_cycle",
        "piecewise_linear": "onecycle.schedule:piecewise_linear",
        "cyclic": "onecycle.schedule:cyclic",
        "constant": "onecycle.schedule:constant",
        "plateau": "onecycle.schedule:plateau",
    },
    "recipe": {
        "custom_resnet": "onecycle.recipes.custom_resnet:custom_resnet",
        "digits": "onecycle.recipes.digits:digits",
    },
}


def names(kind: str) -> list[str]:
    """The names known for a kind: "model", "data", "optimizer", "schedule" or "recipe"."""
    return list(ENTRIES[kind])


def load(kind: str, name: str) -> Callable[..., Any]:
    """Import and return what `name` stands for. Raises UserError with the nearest name where it is unknown."""
    if name not in ENTRIES[kind]:
        raise UserError(f"{kind} {name!r} is unknown; {suggestion(name, ENTRIES[kind])}")
    module, _, attribute = ENTRIES[kind][name].partition(":")
    target: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return target


@functools.cache
def options(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The keyword-only parameters of a registered function, by name: the options a recipe may set."""
    parameters = inspect.signature(function, eval_str=True).parameters
    return {name: p for name, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}
