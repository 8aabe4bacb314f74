"""Where a Trainer does otherwise than a recipe says, a line each that says what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler, StochasticWeightAveraging, WeightAveraging
from torch import nn
from torch._dynamo import OptimizedModule

from ...data import ImageSet
from ...errors import UserError
from ...recipes import Recipe, flatten
from ...recipes.schema import Checkpoint
from ...rehearsal import check_logits, check_weights, try_side
from .images import PRECISIONS, ImageDataModule

_OF_IMAGES = ("data.", "augment.")  # keys that the LitClassifier has no use for
_OF_BOTH = (*_OF_IMAGES, "name", "seed")


class Length(NamedTuple):
    """How long a Trainer is to train; -1: no bound."""

    epochs: int
    steps: int

    @classmethod
    def of(cls, trainer: Trainer) -> Length:
        """As its arguments say. Tuners and StochasticWeightAveraging change these, once there is an optimiser."""
        epochs = trainer.max_epochs
        return cls(-1 if epochs is None else epochs, trainer.max_steps)

    def steps_of(self, steps_per_epoch: int) -> float:
        """Steps of the optimiser."""
        bounds = [self.steps] if self.steps != -1 else []
        bounds += [steps_per_epoch * self.epochs] if self.epochs != -1 else []
        return min(bounds, default=float("inf"))


def lines(
    wanted: Recipe,
    asked: Mapping[str, Any],
    trainer: Trainer,
    data: ImageDataModule | None,
    *,
    steps: float,
    scheduled: int,
    compiled: bool,
) -> Iterator[str]:
    """All departures of a Trainer that makes so many steps, with its images, from LitClassifier's recipe.

    `asked` are the changes, by dotted key, that LitClassifier was given.
    """
    if steps != scheduled:
        yield f"the Trainer makes {steps} steps, the schedule has {scheduled}; let max_epochs be schedule.epochs"
    yield from _of_trainer(wanted, trainer, compiled=compiled)
    yield from _of_images(wanted, asked, data)


def is_compiled(module: LightningModule, net: nn.Module) -> bool:
    """Whether PyTorch compiles it, by torch.compile of the module or the net, or by the net's own compile()."""
    own = isinstance(net, OptimizedModule) or net._compiled_call_impl is not None
    return own or module._compiler_ctx is not None


def refuse_images(net: nn.Module, images: ImageSet, outputs: int | None, compiled: bool) -> None:
    """Raise UserError where a net has no output for each class of the images, or cannot take them.

    `outputs` are those of a net that was built here; None for a net of one's own, which is tried on an image.
    """
    classes, side = len(images.classes), images.image_size
    if outputs not in (None, classes):
        raise UserError(
            f"the net has {outputs} outputs and the images {classes} classes; LitClassifier(..., num_classes={classes})"
        )
    check_weights(net)
    if outputs is None and not compiled:  # which one image would have compiled for itself
        as_it_is = torch.device("meta")  # in the net's own precision, wherever it is
        check_logits(net, try_side(net, side, f"takes no images of {side} pixels a side", "fp32", as_it_is), classes)


def refuse_two_averages(trainer: Trainer) -> None:
    """Raise UserError where another callback averages the weights beside the recipe's ema."""
    kinds = (WeightAveraging, StochasticWeightAveraging)
    found = [type(one).__name__ for one in trainer.callbacks if isinstance(one, kinds)]  # type: ignore[attr-defined]
    if len(found) > 1:  # the first is the Trainer's, as the classifier's come last
        raise UserError(f"the recipe's ema and {found[0]} would both make the final weights; ema=None, or without that")


def _of_trainer(wanted: Recipe, trainer: Trainer, *, compiled: bool) -> Iterator[str]:
    """Keys that are not at their defaults, and that this Trainer leaves without effect."""
    if PRECISIONS.get(wanted.precision, trainer.precision) != trainer.precision:
        yield f"the Trainer's precision {trainer.precision} is used, not the recipe's {wanted.precision}"
    if wanted.compile != "none" and not compiled:
        mode = "" if wanted.compile == "default" else f"mode={wanted.compile!r}"
        yield f"compile {wanted.compile} has no effect in a Trainer; lit.net.compile({mode}) before fit"
    every = wanted.evaluate_every or wanted.epochs  # 0: after the last epoch alone
    if wanted.evaluate_every != 1 and trainer.check_val_every_n_epoch != every:
        yield f"evaluate_every {wanted.evaluate_every} has no effect; Trainer(check_val_every_n_epoch={every})"
    seconds = wanted.checkpoint.every_seconds
    if seconds != Checkpoint().every_seconds and not _saves_by_time(trainer):
        instead = f"ModelCheckpoint(train_time_interval=timedelta(seconds={seconds:g}))"
        yield f"checkpoint.every_seconds {seconds:g} has no effect; Trainer(callbacks=[{instead}])"
    cpus, gpus = wanted.resources.cpus, wanted.resources.gpus
    if cpus not in (None, torch.get_num_threads()):
        yield f"resources.cpus {cpus} has no effect in a Trainer; torch.set_num_threads({cpus}) before fit"
    if any(isinstance(one, GradientAccumulationScheduler) for one in trainer.callbacks):  # type: ignore[attr-defined]
        instead = "Trainer(accumulate_grad_batches=N)"
        yield f"GradientAccumulationScheduler changes the steps of an epoch, which the schedule does not see; {instead}"
    if gpus and trainer.strategy.root_device.type == "cpu":
        yield f"resources.gpus {gpus:g} has no effect; Trainer(accelerator='gpu', devices=1) trains on one"


def _of_images(wanted: Recipe, asked: Mapping[str, Any], data: ImageDataModule | None) -> Iterator[str]:
    """Changes given to LitClassifier that only ImageDataModule uses, or the reverse, where the other lacks them."""
    its = flatten(wanted.model_dump(mode="json"))
    of_data = {} if data is None else flatten(data.recipe.model_dump(mode="json"))
    for key in asked:
        if not key.startswith(_OF_IMAGES) or its.get(key) in ("auto", of_data.get(key)):
            continue
        what = f"LitClassifier's {key} {its.get(key)} has no effect"
        if data is None:
            yield f"{what} on loaders that are not an ImageDataModule's; ImageDataModule, or loaders made so"
        else:
            yield f"{what}, as ImageDataModule has {of_data.get(key)}; hand it to ImageDataModule"
    for key in () if data is None else data.asked:
        if not key.startswith(_OF_BOTH) and of_data.get(key) != its.get(key):
            what = f"ImageDataModule's {key} {of_data.get(key)} has no effect"
            yield f"{what}, as LitClassifier has {its.get(key)}; hand it to LitClassifier"


def _saves_by_time(trainer: Trainer) -> bool:
    return any(getattr(one, "_train_time_interval", None) is not None for one in trainer.checkpoint_callbacks)
