"""A recipe's net, loss, optimiser and schedule as a LightningModule.

images_nchw: float [b, 3, h, w]; labels: int64 [b]; logits_nk: float [b, classes].
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import Callback, WeightAveraging
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from ... import evaluation, optim, plots
from ...errors import UserError
from ...hardware import resolve_device, resolve_precision, seed_generators, to_channels_last
from ...layers import FastLayers
from ...preparation import build_net, build_schedule, class_weights, initialize, with_own
from ...randomness import step_seed
from ...recipes import Recipe, checked, flatten, recipe
from ...schedule import Plateau, Schedule, momentum_at, rates_to_find
from . import departures, first_weights
from .batches import images_of
from .images import INIT_REFUSED, PRECISIONS, ImageDataModule, datamodule_of, refuse_several_processes
from .progress import Progress
from .rates import as_lambda, rate_key, with_rate

Step = TypeVar("Step", bound=Callable[..., Any])
MOST_DRAWN = 20  # mistakes in the picture at the end of a test


def _in_python(step: Step) -> Step:
    """Keep a step out of torch.compile, which fails at Lightning's `log`; only `forward` is compiled."""
    uncompiled: Step = torch.compiler.disable(step)
    return uncompiled


class LitClassifier(LightningModule):
    """A recipe's net, loss, optimiser and schedule.

    `name` is a shipped recipe, a YAML file, a Recipe or its keys; `changes` are as for `onecycle.recipe`. `model` takes
    one's own net, or a name or keys as the recipe has them; a net that is named gets `num_classes` outputs.
    `learning_rate` is the schedule's highest, its lr_max or lr; `weight_decay` is the optimiser's. Of a batch, the
    first two parts are used: images_nchw and labels. After a test, `mistakes` holds what was wrong, the most confident
    first. Raises UserError where something cannot work.
    """

    def __init__(
        self,
        name: str | Path | Recipe | Mapping[str, Any],
        *,
        model: nn.Module | str | Mapping[str, Any] | None = None,
        learning_rate: float | None = None,
        weight_decay: float | None = None,
        num_classes: int = 10,
        **changes: Any,
    ) -> None:
        super().__init__()
        if isinstance(name, Mapping):  # from a checkpoint, with the rate found since; changes go on top of both
            name, learning_rate = with_rate(checked(name, "in the checkpoint"), learning_rate), None
        wanted = recipe(name, **changes)
        if wanted.init is not None:
            raise UserError(f"recipe {wanted.name}: {INIT_REFUSED}")
        wanted, handed_in, _ = with_own(wanted, model, None)
        if weight_decay is not None:
            wanted = recipe(wanted, **{"optimizer.weight_decay": weight_decay})
        wanted = with_rate(wanted, learning_rate)
        open_rates = rates_to_find(wanted.schedule.options)
        if open_rates:
            where = f"recipe {wanted.name}: schedule"
            raise UserError(*(f"{where}.{key} is 'find'; give it onecycle.find_lr(...).{key}" for key in open_rates))
        self.net: nn.Module = to_channels_last(handed_in or build_net(wanted, num_classes))
        self.recipe = wanted
        self._asked = flatten(changes)
        # Lightning's learning rate finder looks for an attribute of this name, and sets it to what it found.
        self.learning_rate: float | None = wanted.schedule.options.get(rate_key(wanted))
        self.mistakes: evaluation.Mistakes | None = None
        self._outputs = num_classes if handed_in is None else None
        self._schedule: Schedule | None = None  # once there is a Trainer
        self._scheduled_for: tuple[float | None, int] | None = None  # its rate, and the steps of its epochs
        self._length: departures.Length | None = None
        self._progress = Progress()
        self._drawn = first_weights.sample(self.net)
        self._class_weights: Tensor | None = None
        self._predicted: list[tuple[Tensor, ...]] = []  # logits and labels of the evaluation under way, by batch
        self.save_hyperparameters(
            {"name": wanted.model_dump(mode="json"), "learning_rate": self.learning_rate, "num_classes": num_classes}
        )

    @property
    def precision(self) -> str:
        """What `Trainer(precision=...)` calls the recipe's precision; "auto" is resolved for this machine."""
        return PRECISIONS[resolve_precision(self.recipe.precision, resolve_device("auto"))]

    def forward(self, images_nchw: Tensor) -> Tensor:
        """Logits [b, classes]."""
        with FastLayers() if images_nchw.device.type == "cpu" else nullcontext():  # as our own loop
            logits_nk: Tensor = self.net(images_nchw)
        return logits_nk

    def setup(self, stage: str) -> None:
        """Raise UserError where net, images and Trainer do not fit together."""
        refuse_several_processes(self.trainer)
        if stage == "fit" and self.recipe.ema:
            departures.refuse_two_averages(self.trainer)
        if self._datamodule and self._datamodule.sets:
            departures.refuse_images(self.net, self._datamodule.sets.train, self._outputs, self._compiled)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The recipe's optimiser, and its schedule, stepped with every step of the optimiser."""
        self.trainer.fit_loop.setup_data()  # otherwise done after this, and the batches of an epoch are needed here
        if math.isinf(self.trainer.num_training_batches):
            raise UserError("the training loader has no length; the schedule needs the steps of an epoch")
        self._length = departures.Length.of(self.trainer)
        schedule, wanted = self._new_schedule(), self.recipe
        optimizer = optim.build_optimizer(self.net, wanted.optimizer)
        optim.set_lr(optimizer, 1.0)  # LambdaLR multiplies it by the schedule's rate, which is absolute
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        # A second fit of a Trainer counts its steps on, and so does the schedule.
        scheduler = LambdaLR(optimizer, as_lambda(schedule), last_epoch=self.trainer.global_step - 1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def configure_callbacks(self) -> Sequence[Callback]:
        """Lightning's weight averaging, where the recipe has it."""
        ema = self.recipe.ema
        return [WeightAveraging(multi_avg_fn=optim.ema_multi_avg_fn(ema.decay))] if ema else []

    def on_train_start(self) -> None:
        """Let the net take its first weights from the images; warn where the Trainer will not do as the recipe says."""
        trainer = self.trainer
        datamodule = self._datamodule
        images = datamodule.sets.train if datamodule and datamodule.sets else images_of(trainer.train_dataloader)
        if self.recipe.loss.class_weights != "none":
            if images is None:
                raise UserError("loss.class_weights balanced counts the images of an ImageDataModule; none without one")
            self._class_weights = class_weights(self.recipe, images, self.device)
        if datamodule and first_weights.untouched(self.net, self._drawn):
            initialize(self.net, datamodule.plain_training_images())
        if trainer.global_step == 0:  # the weights may be a checkpoint's, the training is a new one
            self._progress = Progress()
        trial = self._length is None or trainer.max_steps != self._length.steps  # of a tuner
        if self._scheduler is None or trial or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        self._follow_tuners(self._scheduler)
        self._go_on()
        self._warn()

    def on_train_batch_start(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Seed what the net draws itself, such as dropout, as our own loop does."""
        if batch_idx == 0:
            self._close_epoch()  # which is still open after a resumption from between its last step and its end
        self._progress.open = True
        ours = self._schedule if self._scheduler else None
        momentum = momentum_at(ours, self.trainer.global_step) if ours else None
        if momentum is not None:
            optim.set_momentum(self.trainer.optimizers[0], momentum)
        every = self.trainer.accumulate_grad_batches
        seed_generators(step_seed(self.recipe.seed, self.trainer.global_step * every + batch_idx % every))

    @_in_python
    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        """The loss of a batch. Logs train_loss_step and lr."""
        images_nchw, labels, *_ = batch
        logits_nk = self(images_nchw).float()
        smoothing = self.recipe.loss.label_smoothing
        loss = F.cross_entropy(logits_nk, labels, self._class_weights, label_smoothing=smoothing)
        self._progress.sums.add(loss.detach(), logits_nk.detach(), labels)
        self._report({"train_loss_step": loss.detach(), "lr": self.trainer.optimizers[0].param_groups[0]["lr"]})
        return loss

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Any,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Step in the Trainer's precision, for optimisers that multiply matrices, as Muon does; backward outside it."""
        loss = optimizer_closure() if optimizer_closure else None
        with self.trainer.precision_plugin.forward_context():
            super().optimizer_step(epoch, batch_idx, optimizer, lambda: loss)

    def on_train_epoch_end(self) -> None:
        """Log train_loss and train_acc over all images of the epoch; a plateau schedule is told the loss."""
        loss_sum, right, images = self._progress.sums.totals()
        if images:  # none where all was before a resumption
            self._report({"train_loss": loss_sum / images, "train_acc": right / images}, prog_bar=True)
        self._close_epoch()

    def on_validation_epoch_start(self) -> None:
        """Begin to collect."""
        self._predicted = []

    @_in_python
    def validation_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Collect a batch's logits."""
        images_nchw, labels, *_ = batch
        self._predicted.append((self(images_nchw).float(), labels))

    def on_validation_epoch_end(self) -> None:
        """Log val_loss and val_acc over all images."""
        if not self._predicted:  # by a validation_step of a subclass
            return
        logits_nk, labels = self._collected()
        val_loss = self._progress.val_loss = evaluation.cross_entropy(logits_nk, labels)
        self._report({"val_loss": val_loss, "val_acc": evaluation.accuracy(logits_nk, labels)}, prog_bar=True)

    def on_test_epoch_start(self) -> None:
        """Begin to collect."""
        self._predicted = []

    @_in_python
    def test_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Collect a batch's logits, and those with test-time augmentation where the recipe has it."""
        images_nchw, labels, *_ = batch
        self._predicted.append((self(images_nchw).float(), labels))
        if self.recipe.tta != "none":
            augmented = evaluation.with_tta(self, self.recipe.tta)(images_nchw).float()
            self._predicted[-1] += (augmented,)

    def on_test_epoch_end(self) -> None:
        """Log test_loss, test_acc and, with test-time augmentation, test_acc_tta; keep and draw the mistakes."""
        if not self._predicted:
            return
        logits_nk, labels, *augmented = self._collected()
        test_loss, test_acc = evaluation.cross_entropy(logits_nk, labels), evaluation.accuracy(logits_nk, labels)
        self._report({"test_loss": test_loss, "test_acc": test_acc})
        if augmented:
            unsure = evaluation.least_sure(logits_nk, self.recipe.tta_share)
            with_views = logits_nk.index_copy(0, unsure, augmented[0][unsure])
            self._report({"test_acc_tta": evaluation.accuracy(with_views, labels)})
        self.mistakes = evaluation.mistakes(logits_nk.numpy(), labels.numpy())
        self.draw_mistakes()

    @_in_python
    def predict_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        """Float32 logits [b, classes], without test-time augmentation."""
        logits_nk: Tensor = self(batch[0])
        return logits_nk.float()

    def draw_mistakes(self) -> Path | None:
        """Draw the most confident mistakes of a test into misclassified.png in the Trainer's log folder.

        Returns the file; None where nothing was wrong, in a fast_dev_run, and where the batches do not come straight
        from an ImageDataModule. Override it to draw something else, or nothing.
        """
        folder, found = self.trainer.log_dir, self.mistakes
        images = images_of(self.trainer.test_dataloaders)
        dry = self.trainer.fast_dev_run or self.trainer.barebones  # type: ignore[attr-defined]  # set outside of it
        if images is None or folder is None or not found or dry:
            return None
        figure = plots.draw_mistakes(images, found, self.recipe.name, count=MOST_DRAWN)
        Path(folder).mkdir(parents=True, exist_ok=True)
        return plots.save(figure, Path(folder) / "misclassified.png")

    def _report(self, metrics: dict[str, float | Tensor], *, prog_bar: bool = False) -> None:
        """Log them, unless the Trainer is barebones, which has nowhere to log and warns of it."""
        if not self.trainer.barebones:
            self.log_dict(metrics, prog_bar=prog_bar)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what is known of the epoch under way, and of the weights that the net began with."""
        checkpoint["onecycle"] = {**self._progress.state(), "drawn": self._drawn}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it up."""
        if known := checkpoint.get("onecycle"):  # not there where a subclass saves without asking us
            self._progress, self._drawn = Progress(known), known["drawn"]

    def _close_epoch(self) -> None:
        """Tell a plateau schedule the loss of the epoch, and begin the next.

        Not left to Lightning, which tells schedules of this kind only after the epoch's checkpoint is written.
        """
        if self._scheduler and isinstance(self._schedule, Plateau) and self._progress.open:
            self._progress.tell(self._schedule)
            optim.set_lr(self.trainer.optimizers[0], self._schedule(self.trainer.global_step))
        self._progress.close()

    def _go_on(self) -> None:
        """Take the rate of the step that comes next from the schedule; a checkpoint's optimiser has the one it had."""
        assert self._schedule is not None
        if isinstance(self._schedule, Plateau) and self._progress.plateau:
            self._schedule.restore(self._progress.plateau)
        optim.set_lr(self.trainer.optimizers[0], self._schedule(self.trainer.global_step))

    def _new_schedule(self) -> Schedule:
        """The recipe's, with the rate and for the batches that there are now."""
        self._scheduled_for = self.learning_rate, self._steps_per_epoch
        self._schedule = build_schedule(with_rate(self.recipe, self.learning_rate), self._steps_per_epoch)
        return self._schedule

    def _follow_tuners(self, scheduler: LambdaLR) -> None:
        """Callbacks that find a rate or a batch size do so when the optimiser has its schedule already."""
        if self._scheduled_for == (self.learning_rate, self._steps_per_epoch):
            return
        scheduler.lr_lambdas = [as_lambda(self._new_schedule())] * len(scheduler.lr_lambdas)

    def _warn(self) -> None:
        """Say where the Trainer will not do as the recipe says."""
        assert self._length is not None
        for line in departures.lines(
            self.recipe,
            self._asked,
            self.trainer,
            self._datamodule,
            steps=self._length.steps_of(self._steps_per_epoch),
            scheduled=self._steps_per_epoch * self.recipe.epochs,
            compiled=self._compiled,
        ):
            warnings.warn(f"onecycle: {line}", stacklevel=2)

    @property
    def _scheduler(self) -> LambdaLR | None:
        """What holds our schedule; None where Lightning's learning rate finder has put its own in its place."""
        scheduler = self.lr_schedulers()
        return scheduler if isinstance(scheduler, LambdaLR) else None

    @property
    def _steps_per_epoch(self) -> int:
        """Steps of the optimiser."""
        return math.ceil(self.trainer.num_training_batches / self.trainer.accumulate_grad_batches)

    @property
    def _datamodule(self) -> ImageDataModule | None:
        """The one whose batches the Trainer uses, if it is ours; a test's may come from elsewhere all the same."""
        return datamodule_of(self.trainer)

    @property
    def _compiled(self) -> bool:
        """Whether PyTorch compiles it."""
        return departures.is_compiled(self, self.net)

    def _collected(self) -> tuple[Tensor, ...]:
        """What the steps collected, each part in one tensor on the CPU."""
        parts = tuple(torch.cat(part).cpu() for part in zip(*self._predicted, strict=True))
        self._predicted = []
        return parts
