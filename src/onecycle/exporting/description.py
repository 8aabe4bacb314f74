"""What an exported file says of itself."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..errors import one_line
from ..recipes import Recipe
from ..run import Run
from ..sealing import digest


def public(recipe: Recipe) -> Recipe:
    """The recipe to be passed on: of paths, which are this machine's, the last part alone."""
    init = None if recipe.init is None else Path(recipe.init).name
    return recipe.evolve(data={"name": recipe.data.label}, init=init)


def describe(run: Run) -> dict[str, Any]:
    """Input, classes, normalisation, recipe and origin of a finished run's net, fit for JSON."""
    recipe, summary = public(run.recipe), run.summary
    mean, std = recipe.data.statistics
    side = recipe.data.image_size
    return {
        "input": f"uint8 [n, {side}, {side}, 3], RGB, 0 to 255; normalised as (x / 255 - mean) / std",
        "output": f"float32 logits [n, {len(run.classes)}], in the order of the classes; a softmax gives probabilities",
        "classes": list(run.classes),
        "image_size": side,
        "fit": recipe.data.fit,
        "mean": list(mean),
        "std": list(std),
        "recipe": recipe.model_dump(mode="json"),
        "run": one_line(run.path.resolve().name),
        "weights_sha256": digest((run.path / "model.safetensors").read_bytes()),
        "trained_with": {key: run.environment.get(key) for key in ("onecycle", "torch", "git_commit")},
        "exported_with": {package: version(package) for package in ("onecycle", "torch")},
        "test": {key: summary["test"][key] for key in ("accuracy", "images") if key in summary["test"]},
    }
