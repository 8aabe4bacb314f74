"""A recipe's images as a LightningDataModule."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info

from ...data import Dataset, ImageSet, Loader
from ...errors import UserError
from ...observer import Observer
from ...preparation import Sets, build_loader, load_data, resolve, split, with_own
from ...recipes import Recipe, flatten, recipe
from .batches import EpochBatches, InOrder

INIT_REFUSED = "init is for onecycle.train; here, load an earlier run's weights into the net, and init=None"
PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}  # a recipe's, and what Lightning calls it


class _Messages(Observer):
    """What is said of the images goes where Lightning says such things."""

    def on_message(self, text: str) -> None:
        """Say it once, whatever the number of processes."""
        rank_zero_info(text)


class ImageDataModule(LightningDataModule):
    """A recipe's images: augmented on whole batches, on the device that trains, without worker processes.

    `name`, `data`, `data_dir` and `changes` are as for `onecycle.train`. Epoch e has the batches that it has there,
    also after a resumption. Validation is on the held-out part where there is one, else on the test
    set; prediction is on the test set. Batches are `onecycle.data.Batch`: images_nchw, labels, samples. Raises
    UserError where something cannot work.
    """

    def __init__(
        self,
        name: str | Path | Recipe,
        *,
        data: Dataset | ImageSet | str | Path | Mapping[str, Any] | None = None,
        data_dir: str | Path | None = None,
        batch_size: int | None = None,
        **changes: Any,
    ) -> None:
        super().__init__()
        self._dataset: Dataset | Sets | None
        wanted, _, self._dataset = with_own(recipe(name, **changes), None, data)
        if wanted.init is not None:
            raise UserError(f"recipe {wanted.name}: {INIT_REFUSED}")
        if wanted.data.hardest:
            raise UserError(f"recipe {wanted.name}: data.hardest is for onecycle.train; data={{'hardest': []}} here")
        if batch_size is not None:
            wanted = recipe(wanted, **{"data.batch_size": batch_size})
        self.recipe = wanted
        self.asked = flatten(changes)  # by dotted key
        self.data_dir = data_dir
        self.sets: Sets | None = None  # the images, once they are set up

    @property
    def batch_size(self) -> int:
        """Images a step, the recipe's data.batch_size; what is set counts from the next loader on.

        Lightning's `Tuner(trainer).scale_batch_size(lit, datamodule=data)` sets it. Once the images are set up, more
        than there are to train on become so many, and a warning says so. Raises UserError where it is no size.
        """
        return self.recipe.data.batch_size

    @batch_size.setter
    def batch_size(self, size: int) -> None:
        most = len(self.sets.train) if self.sets else None
        wanted = recipe(self.recipe, **{"data.batch_size": size})
        if most is not None and wanted.data.batch_size > most:
            warnings.warn(f"onecycle: batch_size {size} is larger than the training set; {most} is used", stacklevel=2)
            wanted = recipe(wanted, **{"data.batch_size": most})
        self.recipe = wanted

    def prepare_data(self) -> None:
        """Load the images from where they lie; nothing is downloaded."""
        if self._dataset is None:
            self._dataset = load_data(self.recipe, self.data_dir, observer=_Messages())

    def setup(self, stage: str | None = None) -> None:
        """Split the images; the recipe's open statistics are those of the training images."""
        if self.trainer is not None:
            refuse_several_processes(self.trainer)
        if self.sets is None:
            self.prepare_data()
            assert self._dataset is not None
            self.sets = split(self.recipe, self._dataset)
            # The precision is the Trainer's to choose, so it is left as it stands.
            resolved = resolve(self.recipe.evolve(precision="fp32"), self.sets, torch.device("cpu"))
            self.recipe = resolved.evolve(precision=self.recipe.precision)

    def train_dataloader(self) -> EpochBatches:
        """The augmented batches of the Trainer's epoch; without a Trainer, of one epoch after the other."""
        images, trainer = self._sets.train, self.trainer
        if trainer is None:
            return EpochBatches(images, self._loader(images, train=True))

        def position() -> tuple[int, int]:
            overfits = trainer.overfit_batches  # type: ignore[attr-defined]  # set outside of its class
            epoch = 0 if overfits else trainer.current_epoch  # to overfit, the batches must be the same
            return epoch, trainer.fit_loop.batch_idx + 1

        return EpochBatches(images, self._loader(images, train=True), position)

    def val_dataloader(self) -> InOrder:
        """The held-out images, or the test set where none are held out."""
        images = self._sets.val or self._sets.test
        return InOrder(images, self._loader(images, train=False))

    def test_dataloader(self) -> InOrder:
        """The test set."""
        return InOrder(self._sets.test, self._loader(self._sets.test, train=False))

    def predict_dataloader(self) -> InOrder:
        """The test set."""
        return self.test_dataloader()

    def plain_training_images(self) -> Loader:
        """The training images in their own order, without augmentation, on the Trainer's device."""
        return self._loader(self._sets.train, train=False)

    @property
    def _sets(self) -> Sets:
        if self.sets is None:
            self.setup()
        assert self.sets is not None
        return self.sets

    def _loader(self, images: ImageSet, *, train: bool) -> Loader:
        """Batches on the Trainer's device, in the type in which it computes."""
        device, precision = torch.device("cpu"), "fp32"
        if self.trainer is not None:
            device = self.trainer.strategy.root_device
            precision = next((ours for ours, its in PRECISIONS.items() if its == self.trainer.precision), precision)
        return build_loader(self.recipe.evolve(precision=precision), images, device, train=train)


def refuse_several_processes(trainer: Trainer) -> None:
    """Raise UserError where the Trainer has more than one: all would see the same batches."""
    if trainer.world_size > 1:
        raise UserError(f"the Trainer has {trainer.world_size} processes; onecycle feeds one: Trainer(devices=1)")


def datamodule_of(trainer: Trainer) -> ImageDataModule | None:
    """The datamodule that a fit trains on, or else the one that the Trainer was given last; None where it is not ours.

    In a fit not `Trainer.datamodule`, which stays what it was before when one trains with a loader.
    """
    fits = trainer.state.fn == TrainerFn.FITTING
    source = getattr(trainer.fit_loop, "_data_source", None) if fits else None
    given = getattr(source, "instance", None) if source else getattr(trainer, "datamodule", None)
    return given if isinstance(given, ImageDataModule) else None
