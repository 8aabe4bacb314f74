"""The main flow: a recipe in, a run out. Read this file first.

`train` takes a resolved recipe, a net and image sets, and goes through the epochs. All it needs to go on after an
interruption is in `TrainingState`. Nothing here draws or prints: an `Observer` is told what happens.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import optim, registry
from .data import Augmentation, Batch, ImageSet, Loader
from .errors import Stopped, TrainingFailed
from .evaluation import accuracy, cross_entropy, predict_logits, with_tta
from .hardware import AUTOCAST_DTYPES, device_name, synchronize
from .interruption import Stop, stop_on_signals
from .observer import Observer, Progress
from .randomness import step_seed
from .recipes import Recipe
from .run import Run
from .schedule import Plateau, Schedule
from .state import TrainingState

FLUSH_SECONDS = 0.5  # how often losses are fetched from the device; in between the loop waits for nothing


@dataclass(frozen=True)
class Sets:
    """The images that are trained on, those held out (None: none), and the test set."""

    train: ImageSet
    val: ImageSet | None
    test: ImageSet


def train(
    recipe: Recipe, net: nn.Module, sets: Sets, run: Run, *, device: torch.device, observer: Observer, resume: bool
) -> None:
    """Train `net` as the resolved recipe says and fill the run folder.

    With `resume` it goes on from the run's newest checkpoint. Raises Stopped after SIGINT or SIGTERM, with the state
    saved, and TrainingFailed where the loss or the weights are no longer finite.
    """
    forked = [device] if device.type == "cuda" else []
    with run.locked(), stop_on_signals() as stop, torch.random.fork_rng(forked):
        training = _Training(recipe, net, sets, run, device, observer, stop)
        if resume:
            training.restore()
        try:
            training.go()
        except Stopped as stopped:
            raise training.stopped(stopped) from None
        finally:
            observer.on_end()


def build_schedule(recipe: Recipe, steps_per_epoch: int) -> Schedule:
    """The recipe's learning rate as a function of the optimiser step."""
    schedule: Schedule = registry.load("schedule", recipe.schedule.name)(steps_per_epoch, **recipe.schedule.options)
    return schedule


class _Training:
    """The loop and what it holds while it runs."""

    def __init__(
        self,
        recipe: Recipe,
        net: nn.Module,
        sets: Sets,
        run: Run,
        device: torch.device,
        observer: Observer,
        stop: Stop,
    ) -> None:
        self.recipe, self.sets, self.run, self.device = recipe, sets, run, device
        self.observer, self.stop = observer, stop
        self.batches = self.loader(sets.train, train=True)
        self.schedule = build_schedule(recipe, len(self.batches))
        self.state = TrainingState.new(recipe, net, self.schedule, device)
        self.steps = len(self.batches) * recipe.epochs
        self.pending: list[tuple[dict[str, float], Tensor]] = []  # rows of steps.csv whose loss is still on the device
        self.test_logits: Tensor | None = None  # after the newest epoch, where it was evaluated
        self.started = self.ticked = self.flushed_at = self.saved_at = time.perf_counter()

    def restore(self) -> None:
        """Go on from the newest checkpoint."""
        self.state.restore(self.run.checkpoints.newest(self.observer.on_message))
        self.run.cut_back(self.state.epoch, self.state.step)
        self.started -= self.state.wall_seconds

    def go(self) -> None:
        """The epochs that are left, then the results."""
        self.observer.on_start(self.recipe, self.run, device_name(self.device), self.state.step)
        for epoch in range(self.state.epoch, self.recipe.epochs):
            self.train_epoch(epoch)
            row = self.evaluate_epoch(epoch)
            self.run.append_metrics(row)
            self.state.begin_epoch(epoch + 1)
            self.save()
            self.observer.on_epoch(row, self.seconds_left())
        self.finish()

    def train_epoch(self, epoch: int) -> None:
        """The steps of an epoch that are left."""
        self.state.net.train()
        self.ticked = time.perf_counter()
        for batch in self.batches.epoch(epoch, start=self.state.step - epoch * len(self.batches)):
            self.train_step(epoch, batch)
            if self.ticked - self.flushed_at >= FLUSH_SECONDS:
                self.flush()
            if self.ticked - self.saved_at >= self.recipe.checkpoint.every_seconds:
                self.save()
                self.ticked = time.perf_counter()
            self.stop.check()
        synchronize(self.device)
        self.tick()
        self.flush()

    def train_step(self, epoch: int, batch: Batch) -> None:
        """One optimiser step. Nothing here waits for the device."""
        state = self.state
        lr = self.schedule(state.step)
        optim.set_lr(state.optimizer, lr)
        torch.manual_seed(step_seed(self.recipe.seed, state.step))  # for what the net draws itself, such as dropout
        logits_nk = self.forward(state.net, batch.images_nchw).float()
        loss = F.cross_entropy(logits_nk, batch.labels, label_smoothing=self.recipe.loss.label_smoothing)
        state.optimizer.zero_grad(set_to_none=True)
        state.scaler.scale(loss).backward()
        state.scaler.step(state.optimizer)
        state.scaler.update()
        if state.ema:
            state.ema.update_parameters(state.net)
        state.count(loss.detach(), logits_nk.detach(), batch.labels)
        state.step += 1
        self.tick()
        elapsed = round(state.train_seconds + state.epoch_seconds, 3)
        self.pending.append(({"step": state.step, "epoch": epoch + 1, "lr": lr, "elapsed_s": elapsed}, loss.detach()))

    def forward(self, net: nn.Module, images_nchw: Tensor) -> Tensor:
        """The net's logits in the recipe's precision."""
        dtype = AUTOCAST_DTYPES.get(self.recipe.precision)
        with torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None):
            logits_nk: Tensor = net(images_nchw)
        return logits_nk

    def tick(self) -> None:
        """Count the time since the last tick as training."""
        now = time.perf_counter()
        self.state.epoch_seconds += now - self.ticked
        self.ticked = now

    def flush(self) -> None:
        """Fetch the losses since the last time, write them down, and tell where the training is."""
        self.flushed_at = time.perf_counter()
        if not self.pending:
            return
        losses = torch.stack([loss for _, loss in self.pending]).tolist()
        rows = [{**row, "loss": loss} for (row, _), loss in zip(self.pending, losses, strict=True)]
        self.pending.clear()
        good = [row for row in rows if math.isfinite(row["loss"])]
        self.run.append_steps(good)
        if len(good) < len(rows):
            bad = next(row for row in rows if not math.isfinite(row["loss"]))
            raise self.failure(f"the loss is {bad['loss']}", int(bad["step"]), bad["lr"])
        loss_sum, right, images = self.state.sums.tolist()
        self.observer.on_progress(
            Progress(
                step=self.state.step,
                steps=self.steps,
                epoch=int(rows[-1]["epoch"]),
                epochs=self.recipe.epochs,
                lr=rows[-1]["lr"],
                loss=loss_sum / images,
                accuracy=right / images,
                images_per_second=images / self.state.epoch_seconds,
                seconds_left=self.seconds_left(),
            )
        )

    def evaluate_epoch(self, epoch: int) -> dict[str, float | None]:
        """The epoch's row of metrics.csv, evaluated where that is due."""
        state = self.state
        loss_sum, right, images = state.sums.tolist()
        every, last = self.recipe.evaluate_every, epoch + 1 == self.recipe.epochs
        due = last or (every > 0 and (epoch + 1) % every == 0)
        row: dict[str, float | None] = {
            "epoch": epoch + 1,
            "lr": self.schedule(state.step - 1),
            "train_loss": loss_sum / images,
            "train_accuracy": right / images,
        }
        for name, images_of in (("test", self.sets.test), ("val", self.sets.val)):
            if images_of is None:
                continue
            logits_nk = self.predict(images_of) if due else None
            labels = torch.from_numpy(images_of.labels)
            row[f"{name}_loss"] = None if logits_nk is None else cross_entropy(logits_nk, labels)
            row[f"{name}_accuracy"] = None if logits_nk is None else accuracy(logits_nk, labels)
            if name == "test":
                self.test_logits = logits_nk
        self.remember_best(row)
        if isinstance(self.schedule, Plateau):
            loss = row[self.schedule.monitor]
            assert loss is not None, "checked with the recipe: val_loss is measured every epoch"
            self.schedule.observe(loss)
        row["train_seconds"] = round(state.epoch_seconds, 3)
        row["images_per_second"] = round(images / state.epoch_seconds, 2)
        return row

    def remember_best(self, row: dict[str, float | None]) -> None:
        """Keep the weights where they do better than before on the held-out part; never on the test set."""
        value = row.get("val_accuracy")
        if value is not None and (self.state.best is None or value > self.state.best["val_accuracy"]):
            self.state.best = {"epoch": row["epoch"] or 0, "val_accuracy": value}
            self.run.write_best(self.state.evaluated_net)

    def predict(self, images: ImageSet, tta: str = "none") -> Tensor:
        """Logits of a whole set."""
        net = self.state.evaluated_net
        forward = with_tta(lambda images_nchw: self.forward(net, images_nchw), tta)
        return predict_logits(net, self.loader(images, train=False), forward=forward, on_batch=self.stop.check)

    def save(self) -> None:
        """Write a checkpoint. Raises TrainingFailed rather than save weights that are no numbers."""
        self.flush()
        if not self.state.is_finite():
            raise self.failure("the weights are no longer finite", self.state.step, self.schedule(self.state.step - 1))
        self.state.wall_seconds = time.perf_counter() - self.started
        self.run.checkpoints.save(self.state.step, self.state.to_dict())
        self.saved_at = time.perf_counter()

    def finish(self) -> None:
        """Weights, predictions and the result; the summary last."""
        recipe, state, test = self.recipe, self.state, self.sets.test
        labels = torch.from_numpy(test.labels)
        logits_nk = self.predict(test) if self.test_logits is None else self.test_logits
        result: dict[str, Any] = {
            "accuracy": accuracy(logits_nk, labels),
            "loss": cross_entropy(logits_nk, labels),
            "images": len(labels),
        }
        if recipe.tta != "none":
            result["accuracy_tta"] = accuracy(self.predict(test, recipe.tta), labels)
        mean, std = recipe.data.statistics
        description = {
            "model": recipe.model.model_dump(),
            "classes": list(test.classes),
            "image_size": test.image_size,
            "mean": mean,
            "std": std,
        }
        self.run.write_model(state.evaluated_net, description)
        self.run.write_predictions(logits_nk, labels)
        self.run.write_summary(
            {
                "recipe": recipe.name,
                "data": recipe.data.name,
                "seed": recipe.seed,
                "epochs": recipe.epochs,
                "steps": state.step,
                "device": device_name(self.device),
                "precision": recipe.precision,
                "parameters": sum(parameter.numel() for parameter in state.net.parameters()),
                "train_seconds": round(state.train_seconds, 3),
                "compile_seconds": 0.0,
                "wall_seconds": round(time.perf_counter() - self.started, 3),
                "images_per_second": round(self.images_trained() / state.train_seconds, 2),
                "test": result,
                **({"best": state.best} if state.best else {}),
            }
        )

    def images_trained(self) -> int:
        """Training images over all epochs, each as often as it was seen."""
        whole = len(self.batches) * self.recipe.data.batch_size
        return self.recipe.epochs * (whole if self.recipe.data.drop_last else self.batches.samples)

    def seconds_left(self) -> float:
        """At the pace so far, evaluation included."""
        return (time.perf_counter() - self.started) * (self.steps / max(self.state.step, 1) - 1)

    def loader(self, images: ImageSet, *, train: bool) -> Loader:
        """Batches on the device, in the recipe's precision, normalised as the training set."""
        recipe = self.recipe
        mean, std = recipe.data.statistics
        return Loader(
            images,
            batch_size=recipe.data.batch_size,
            augmentation=Augmentation(**recipe.augment.model_dump()) if train else None,
            seed=recipe.seed,
            drop_last=recipe.data.drop_last,
            mean=mean,
            std=std,
            device=self.device,
            dtype=AUTOCAST_DTYPES.get(recipe.precision, torch.float32),
        )

    def failure(self, what: str, step: int, lr: float) -> TrainingFailed:
        """The error for numbers that went wrong."""
        paths = self.run.checkpoints.paths()
        way_out = "there is no checkpoint yet, start anew with a lower rate"
        if paths:
            again = f"onecycle train --resume {self.run.path} --set schedule.lr_max=..."
            way_out = f"the last good checkpoint is {paths[-1]}, go on from it with a lower rate: {again}"
        return TrainingFailed(f"{what} at step {step} of {self.steps}, learning rate {lr:.3g}; {way_out}")

    def stopped(self, by: Stopped) -> Stopped:
        """Save, and the error that says where to go on."""
        self.save()
        return Stopped(
            f"stopped by {by.signal_number.name} after step {self.state.step} of {self.steps}; saved, go on with: "
            f"onecycle train --resume {self.run.path}",
            by.signal_number,
        )
