"""Names for nets, data sets, optimisers, schedules and recipes: strings only, so that listing them loads nothing.

Each entry is "module:object". The object is a function whose keyword-only parameters are the options that a recipe
may set beside the name; their annotations are what the options are checked against. The functions are called so:

    model      build(num_classes, *, ...) -> nn.Module that maps images [b, 3, h, w] to logits [b, num_classes]
    data       load(*, data_dir, image_size) -> Dataset
    optimizer  build(net, *, ...) -> torch.optim.Optimizer
    schedule   build(steps_per_epoch, *, epochs, ...) -> function from the step, counted from 0, to the learning rate;
               where data.hardest shortens epochs, what it is asked for lies between two steps
    recipe     build() -> Recipe
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import inspect
import re
from collections.abc import Callable
from typing import Any

from .errors import UserError, suggestion

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")

ENTRIES: dict[str, dict[str, str]] = {
    "model": {
        "custom_resnet": "onecycle.models.custom_resnet:custom_resnet",
        "compact": "onecycle.models.compact:compact",
        "whitened_convnet": "onecycle.models.whitened_convnet:whitened_convnet",
    },
    "data": {
        "cifar10": "onecycle.data.cifar:cifar10",
        "cifar100": "onecycle.data.cifar100:cifar100",
        "digits": "onecycle.data.digits:digits",
    },
    "optimizer": {
        "adam": "onecycle.optim:adam",
        "adamw": "onecycle.optim:adamw",
        "sgd": "onecycle.optim:sgd",
        "muon": "onecycle.optim:muon",
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
        "custom_resnet_fast": "onecycle.recipes.custom_resnet_fast:custom_resnet_fast",
        "digits": "onecycle.recipes.digits:digits",
        "fast90": "onecycle.recipes.fast90:fast90",
        "fast94": "onecycle.recipes.fast94:fast94",
        "eva6_s9_dropout": "onecycle.recipes.eva6_s9_dropout:eva6_s9_dropout",
        "eva6_s9_dropout_logged": "onecycle.recipes.eva6_s9_dropout:eva6_s9_dropout_logged",
        "eva6_s9_sgd": "onecycle.recipes.eva6_s9_sgd:eva6_s9_sgd",
        "eva6_s9_sgd_plateau": "onecycle.recipes.eva6_s9_sgd:eva6_s9_sgd_plateau",
        "era_s10_package": "onecycle.recipes.era_s10_package:era_s10_package",
        "era1_s10_compact": "onecycle.recipes.era1_s10_compact:era1_s10_compact",
        "era_s12_lightning": "onecycle.recipes.era_s12_lightning:era_s12_lightning",
    },
}


def names(kind: str) -> list[str]:
    """The names known for a kind: "model", "data", "optimizer", "schedule" or "recipe".

    Ours, those that were registered, and those that installed packages bring as entry points of a group such as
    "onecycle.model". Raises UserError where the kind is another.
    """
    return list(_known(kind))


def register(kind: str, name: str, target: str) -> None:
    """Make `name` stand for `target`, "module:object", in this process; the module is imported when it is first used.

    The object is a function whose keyword-only parameters are the options that a recipe may set beside the name, called
    so: model `build(num_classes, *, ...)`, data `load(*, data_dir, image_size)`, optimizer `build(net, *, ...)`,
    schedule `build(steps_per_epoch, *, epochs, ...)`, recipe `build()`; docs/api.md has examples. To register
    the same again changes nothing. Raises UserError where the kind is unknown, the name is taken or unfit, or the
    target is of another form.
    """
    known = _known(kind)
    if known.get(name, target) != target:
        raise UserError(f"{kind} {name!r} is taken, by {known[name]}; choose another name")
    if not _NAME.fullmatch(name):
        raise UserError(f"{kind} {name!r}: a name has letters, digits, _ and -, and begins with a letter")
    if not _TARGET.fullmatch(str(target)):  # of a function too, as somebody may hand in
        raise UserError(f"{kind} {name!r}: {target!r} is not of the form module:object, such as my_package.nets:my_net")
    ENTRIES[kind][name] = target


def load(kind: str, name: str) -> Callable[..., Any]:
    """Import and return what `name` stands for.

    Raises UserError with the nearest name where it is unknown, and where what was registered cannot be imported.
    """
    known = _known(kind)
    if name not in known:
        raise UserError(f"{kind} {name!r} is unknown; {suggestion(name, known)}")
    module, _, attribute = known[name].partition(":")
    try:
        target = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        if module.partition(".")[0] == __package__:
            raise
        raise UserError(f"{kind} {name!r} stands for {known[name]}, which cannot be imported ({error})") from error
    if not callable(target):
        raise UserError(f"{kind} {name!r} stands for {known[name]}, which is no function but {target!r}")
    builder: Callable[..., Any] = target
    return builder


@functools.cache
def options(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The keyword-only parameters of a registered function, by name: the options a recipe may set.

    One without annotation takes any value.
    """
    parameters = inspect.signature(function, eval_str=True).parameters
    return {
        name: p.replace(annotation=Any) if p.annotation is inspect.Parameter.empty else p
        for name, p in parameters.items()
        if p.kind is inspect.Parameter.KEYWORD_ONLY
    }


def _known(kind: str) -> dict[str, str]:
    if kind not in ENTRIES:
        raise UserError(f"kind {kind!r} is unknown; {suggestion(kind, ENTRIES)}")
    return {**_installed(kind), **ENTRIES[kind]}  # ours go first: no package changes what they mean


@functools.cache
def _installed(kind: str) -> dict[str, str]:
    """What installed packages bring."""
    return {one.name: one.value for one in importlib.metadata.entry_points(group=f"onecycle.{kind}")}
