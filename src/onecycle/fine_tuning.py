"""Begin a training with the weights of an earlier run: the same net, with a new head where the classes differ."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .errors import UserError
from .recipes import OWN, Recipe
from .run import Run
from .sealing import digest

OTHER_NET = "the net that is handed in is not the one that it began with, or has other weights"


def earlier_statistics(recipe: Recipe) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation of the run that the recipe's `init` names, which its weights expect."""
    return _earlier(recipe).recipe.data.statistics


def earlier_weights(recipe: Recipe) -> dict[str, str]:
    """The run that the recipe's `init` names and the SHA-256 of its weights, as environment.json has them.

    Raises UserError where the run has not ended, or its weights are not those that it ended with.
    """
    run = _earlier(recipe)
    return {"run": str(run.path), "sha256": digest(run.content("model.safetensors"))}


def weights_digest(net: nn.Module) -> str:
    """The SHA-256 of the weights and buffers of a net, with their names, types and shapes."""
    found = hashlib.sha256()
    for name, one in net.state_dict().items():
        found.update(f"{name} {one.dtype} {list(one.shape)}\n".encode())
        found.update(one.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()


def take_over(net: nn.Module, recipe: Recipe, classes: Sequence[str]) -> tuple[str, dict[str, str]]:
    """Give `net` the final weights and buffers of the run that the recipe's `init` names, in place.

    The head keeps its own where the classes, or their order, are others; which layer that is, says `head_of`. Returns
    what was done, in words, and where the weights are from with their SHA-256, as environment.json has it. Raises
    UserError where the run has not ended, its files are damaged, or its net is another.
    """
    run = _earlier(recipe)
    _check_options(run, recipe)
    theirs, ours, known = run.weights(), net.state_dict(), run.classes
    same = known == tuple(classes)
    head = "" if same else head_of(net)
    replaced = {name for name in {*ours, *theirs} if not same and name.startswith(f"{head}.")}
    _check_shapes(run, theirs, ours, replaced)
    net.load_state_dict({**ours, **{name: value for name, value in theirs.items() if name not in replaced}})
    kept = f"its head too, as the {len(known)} classes are the same"
    if not same:
        kept = f"but for the head, {head}, which begins anew: {_count(known)} there, {_count(classes, known)} here"
    return f"begins with the weights of {run.path}, {kept}", earlier_weights(recipe)


def check_same(recipe: Recipe, described: Mapping[str, str], known: object) -> None:
    """Raise UserError where the weights to begin with are no longer those that a run has noted."""
    if described != known:
        raise UserError(f"init {recipe.init}: is no longer the run that the training was to begin with; start it anew")


def head_of(net: nn.Module) -> str:
    """The name of the layer that gives the logits.

    A net names it by its attribute `head_layer`; of others it is the last linear layer. Raises UserError where there is
    none.
    """
    name: object = getattr(net, "head_layer", None)
    layers: dict[str, nn.Module] = dict(net.named_modules())
    if isinstance(name, str):
        if name in layers:
            return name
        raise UserError(f"the net {type(net).__name__} has no layer {name!r}, which its head_layer names")
    linear = [name for name, layer in layers.items() if isinstance(layer, nn.Linear) and name]
    if not linear:
        raise UserError(f"the net {type(net).__name__} has no linear layer; its attribute head_layer names the head")
    return linear[-1]


def _earlier(recipe: Recipe) -> Run:
    assert recipe.init is not None, "asked for a recipe that has one"
    return Run.open(Path(recipe.init))


def _check_options(run: Run, recipe: Recipe) -> None:
    """Nets of the same shapes may still compute other things, as norms of another kind do."""
    theirs, ours = run.recipe.model, recipe.model
    if theirs.name.startswith(OWN) or ours.name.startswith(OWN):
        return
    if theirs.name != ours.name:
        raise UserError(f"init {run.path}: its net is {theirs.name}, not {ours.name}; the same net is needed")
    for key, value in theirs.options.items():
        # Dropout has no weights, and few images may need more of it than many.
        if value != ours.options.get(key) and not key.endswith("dropout"):
            raise UserError(
                f"init {run.path}: its net has {key} {value}, not {ours.options.get(key)}; --set model.{key}={value}"
            )


def _check_shapes(run: Run, theirs: dict[str, Tensor], ours: dict[str, Any], replaced: set[str]) -> None:
    for name in sorted({*theirs, *ours} - replaced):
        there, here = (
            f"{str(found[name].dtype).removeprefix('torch.')} {list(found[name].shape)}" if name in found else "missing"
            for found in (theirs, ours)
        )
        if there != here:
            raise UserError(f"init {run.path}: its net is another one; {name} is {there} there and {here} here")


def _count(classes: Sequence[str], other_than: Sequence[str] = ()) -> str:
    others = "others" if len(classes) == len(other_than) else "classes"
    return f"{len(classes)} {others}"
