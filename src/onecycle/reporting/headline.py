"""How good is it?"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import registry
from ..evaluation import ClassResult, Evaluation, percent
from ..progress.numbers import duration
from ..recipes import Recipe
from ..run import Run

_CLAIM = re.compile(r"(Measured|Published): (.*)", re.DOTALL)


@dataclass(frozen=True)
class Headline:
    """The number, None where nothing was measured yet, what is said of it, and facts by name beside it."""

    number: str | None
    spread: str
    what: str
    sentences: tuple[str, ...]
    claims: dict[str, str]
    facts: dict[str, str]


def headline(run: Run, evaluation: Evaluation | None) -> Headline:
    """The result, or where the training has not ended what was measured last."""
    claims = claims_of(run.recipe)
    if evaluation is None:
        return _unfinished(run, claims)
    digits = 2 if evaluation.images >= 2000 else 1
    low, high = evaluation.interval
    what = (
        f"of {evaluation.images:,} test images are right (95% interval {percent(low, digits)} to "
        f"{percent(high, digits)})."
    )
    number = percent(evaluation.accuracy, digits).removesuffix("%")
    symmetric = abs((low + high) / 2 - evaluation.accuracy) < 0.0005  # not so for few images, or near 0 and 1
    return Headline(
        number=number,
        spread=f"± {50 * (high - low):.1f}" if symmetric else "",
        what=what,
        sentences=tuple(worst_class(evaluation)),
        claims=claims,
        facts=_facts(run.summary if run.finished else {}, evaluation),
    )


def claims_of(recipe: Recipe) -> dict[str, str]:
    """What the shipped recipe of this name says that was "measured", and "published", of it; nothing for others."""
    if recipe.name not in registry.names("recipe"):
        return {}
    found = {}
    for paragraph in (inspect.getdoc(registry.load("recipe", recipe.name)) or "").split("\n\n"):
        if claim := _CLAIM.match(paragraph):
            found[claim[1].lower()] = " ".join(claim[2].split())
    return {kind: found[kind] for kind in ("measured", "published") if kind in found}


def worst_class(evaluation: Evaluation) -> list[str]:
    """One sentence on the worst class, or on there being no mistake."""
    if evaluation.right == evaluation.images:
        return ["Every one of them is right."]
    present = [(one.accuracy, number) for number, one in enumerate(evaluation.by_class) if one.images]
    _, number = min(present)
    worst: ClassResult = evaluation.by_class[number]
    pair = next(pair for pair in evaluation.pairs if pair.true == number)
    taken_for = evaluation.classes[pair.predicted]
    return [f"The worst class is {worst.name} ({percent(worst.accuracy)}), most often taken for {taken_for}."]


def _facts(summary: Mapping[str, Any], evaluation: Evaluation) -> dict[str, str]:
    facts = {}
    ranks = [k for k in evaluation.top if k > 1]
    if ranks:
        facts[f"right in the top {', '.join(map(str, ranks))}"] = ", ".join(percent(evaluation.top[k]) for k in ranks)
    facts["cross-entropy"] = f"{evaluation.loss:.3f} nats"
    if "accuracy_tta" in summary.get("test", {}):
        facts["with test-time augmentation"] = percent(summary["test"]["accuracy_tta"], 2)
    if summary:
        facts["training"] = f"{duration(summary['train_seconds'])} for {summary['epochs']} epochs"
        facts["speed"] = f"{summary['images_per_second']:,.0f} images/s"
        facts["parameters"] = f"{summary['parameters']:,}"
    return facts


def _unfinished(run: Run, claims: dict[str, str]) -> Headline:
    measured = [row for row in run.metrics() if "test_accuracy" in row]
    if not measured:
        return Headline(None, "", "Nothing was measured on the test set yet.", (), claims, {})
    last = measured[-1]
    number = percent(last["test_accuracy"], 2).removesuffix("%")
    what = f"of the test images were right after epoch {last['epoch']:.0f}, the last that was evaluated."
    facts = {"cross-entropy": f"{last['test_loss']:.3f} nats"} if "test_loss" in last else {}
    return Headline(number, "", what, (), claims, facts)
