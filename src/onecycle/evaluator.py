"""What a net does on the whole sets of a training: after an epoch, and at its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .data import ImageSet, Loader
from .distributed import World
from .evaluation import accuracy, cross_entropy, predict_logits, predict_unsure
from .hardware import fast
from .preparation import Sets, build_loader
from .recipes import Recipe


class Evaluator:
    """Predicts the held-out part and the test set of a recipe; `on_batch`, called after each batch, may end it.

    Several processes predict some batches each, and rank 0 measures what comes of all of them. Raises
    FloatingPointError where logits come out as no finite numbers.
    """

    def __init__(self, recipe: Recipe, sets: Sets, world: World, on_batch: Callable[[], None]) -> None:
        self._recipe, self._sets, self._world, self._on_batch = recipe, sets, world, on_batch
        self._test: tuple[Tensor, float] | None = None  # the newest logits of the test set, and the seconds they took

    def columns(self, net: nn.Module, *, due: bool) -> dict[str, float | None]:
        """Loss and accuracy on each set for a row of metrics.csv; None where no evaluation is due."""
        self._test = self._predict(net, self._sets.test, "test set") if due else None
        val = self._predict(net, self._sets.val, "held-out part") if due and self._sets.val else None
        return self._world.run_on_first(lambda: self._columns(val))

    def _columns(self, val: tuple[Tensor, float] | None) -> dict[str, float | None]:
        found: dict[str, float | None] = {}
        for name, one_set, predicted in (("test", self._sets.test, self._test), ("val", self._sets.val, val)):
            if one_set is not None:
                labels = torch.from_numpy(one_set.labels)
                found[f"{name}_loss"] = cross_entropy(predicted[0], labels) if predicted else None
                found[f"{name}_accuracy"] = accuracy(predicted[0], labels) if predicted else None
        return found

    def test(self, net: nn.Module) -> tuple[Tensor, dict[str, Any]]:
        """The test set's logits [n, classes] and the result on it, with test-time augmentation where there is one.

        What the last epoch predicted is not predicted again. On rank 0; the others only predict.
        """
        recipe, images = self._recipe, self._sets.test
        logits_nk, plain_seconds = self._test or self._predict(net, images, "test set")
        augmented, seconds = logits_nk, 0.0
        if recipe.tta != "none":
            batches = self._batches(images)
            begin = time.perf_counter()
            with fast(recipe.precision, self._world.device):
                augmented = predict_unsure(
                    net,
                    batches,
                    logits_nk,
                    tta=recipe.tta,
                    share=recipe.tta_share,
                    on_batch=self._on_batch,
                    world=self._world,
                )
            _check_finite(augmented, "test set")
            # With the plain pass, as without its logits nothing is known to be unsure.
            seconds = plain_seconds + time.perf_counter() - begin
        return logits_nk, self._world.run_on_first(lambda: self._result(logits_nk, augmented, seconds))

    def _result(self, logits_nk: Tensor, augmented: Tensor, seconds: float) -> dict[str, Any]:
        labels = torch.from_numpy(self._sets.test.labels)
        result: dict[str, Any] = {
            "accuracy": accuracy(logits_nk, labels),
            "loss": cross_entropy(logits_nk, labels),
            "images": len(labels),
        }
        if self._recipe.tta != "none":
            result |= {"accuracy_tta": accuracy(augmented, labels), "tta_seconds": round(seconds, 3)}
        return result

    def _predict(self, net: nn.Module, images: ImageSet, name: str) -> tuple[Tensor, float]:
        batches = self._batches(images)
        begin = time.perf_counter()
        self._world.broadcast_tensors(net.buffers())  # norms have seen other images on each rank
        with fast(self._recipe.precision, self._world.device):
            logits_nk = predict_logits(net, batches, on_batch=self._on_batch, world=self._world)
        _check_finite(logits_nk, name)
        return logits_nk, time.perf_counter() - begin

    def _batches(self, images: ImageSet) -> Loader:
        return build_loader(self._recipe, images, self._world.device, train=False)


def _check_finite(logits_nk: Tensor, name: str) -> None:
    if not logits_nk.isfinite().all():
        raise FloatingPointError(f"the logits of the {name} are not finite")
