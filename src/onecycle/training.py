"""The main flow: a recipe in, a run out. Read this file first.

`train` takes a resolved recipe, a net and image sets, and goes through the epochs. All it needs to go on after an
interruption is in `TrainingState`. Nothing here draws or prints: an `Observer` is told what happens.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import optim
from .data import Batch
from .endings import description, failure, stopped
from .epochs import Epochs
from .errors import Stopped, TrainingFailed, UserError
from .evaluator import Evaluator
from .hardware import autocast, device_name, reused_memory, synchronize
from .interruption import Stop, stop_on_signals
from .observer import Observer, Progress
from .preparation import Sets, build_loader, build_schedule, class_weights, initialize
from .randomness import step_seed
from .recipes import Recipe
from .run import Run
from .schedule import Plateau, momentum_at
from .state import TrainingState

FLUSH_SECONDS = 0.5  # how often losses are fetched from the device; in between the loop waits for nothing


def train(
    recipe: Recipe,
    net: nn.Module,
    sets: Sets,
    run: Run,
    *,
    device: torch.device,
    observer: Observer,
    resumed_on: Mapping[str, Any] | None = None,
) -> None:
    """Train `net` as the resolved recipe says and fill the run folder.

    With `resumed_on`, which describes where and how the training goes on, it does so from the run's newest checkpoint.
    Raises Stopped after SIGINT or SIGTERM, with the state saved, and TrainingFailed where the loss or the weights are
    no longer finite.
    """
    forked = [device] if device.type == "cuda" else []
    with run.locked(), stop_on_signals() as stop, torch.random.fork_rng(forked), reused_memory(device):
        training = _Training(recipe, net, sets, run, device, observer, stop)
        try:
            if resumed_on is not None:
                training.restore(resumed_on)
            training.go()
        except Stopped as stopped:
            raise training.stopped(stopped) from None
        except FloatingPointError as error:
            raise training.failed(str(error)) from None
        except (UserError, TrainingFailed):
            raise
        except BaseException:
            training.rescue()
            raise
        finally:
            observer.on_end()


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
        self.batches = build_loader(recipe, sets.train, device, train=True)
        self.class_weights = class_weights(recipe, sets.train, device)
        self.epochs = Epochs([self.batches.steps(epoch) for epoch in range(recipe.epochs)], len(self.batches))
        self.schedule = build_schedule(recipe, len(self.batches))
        self.state = TrainingState.new(recipe, net, self.schedule, device)
        self.evaluator = Evaluator(recipe, sets, device, stop.check)
        if recipe.data.hardest:
            self.state.watch_samples(self.batches.samples)
        self.pending: list[tuple[dict[str, float], Tensor]] = []  # rows of steps.csv whose loss is still on the device
        self.whole = False  # whether the state is one that a training can go on from
        self.started = self.ticked = self.flushed_at = self.saved_at = time.perf_counter()

    def restore(self, resumed_on: Mapping[str, Any]) -> None:
        """Go on from the newest checkpoint, or from the start where the training ended before the first."""
        saved: dict[str, Any] = {}
        if self.run.saved:
            saved = self.run.checkpoints.newest(self.observer.on_message)
            try:
                self.state.restore(saved)
                if not self.epochs.start(self.state.epoch) <= self.state.step <= self.epochs.steps:
                    raise ValueError(f"step {self.state.step} is not of epoch {self.state.epoch + 1}")
            except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
                reason = " ".join(str(error).split())[:200]
                raise UserError(f"{self.run.checkpoints.path}: the checkpoint is of another net ({reason})") from None
        else:
            self.observer.on_message("there is no checkpoint yet, the training begins with its first step")
        self.run.remove_left_over()
        self.run.cut_back(self.state.epoch, self.state.step)
        if saved.get("rows", "") not in ("", self.run.rows_digest(self.state.epoch, self.state.step)):
            names = f"{self.run.path}: metrics.csv or steps.csv"
            self.observer.on_message(f"{names} is not what was written before the checkpoint; its curves may be wrong")
        self.run.add_resumption(self.recipe, {"step": self.state.step, **resumed_on})
        self.started -= self.state.wall_seconds
        if self.state.step == self.epochs.start(self.state.epoch):
            self.write_best(self.state.epoch)

    def go(self) -> None:
        """The epochs that are left, then the results."""
        self.whole = True
        self.observer.on_start(self.recipe, self.run, device_name(self.device), self.state.step)
        if self.state.step == 0 and self.recipe.init is not None:
            self.save()  # so that going on does not need the earlier run any more
        elif self.state.step == 0:
            self.ticked = time.perf_counter()
            initialize(self.state.net, build_loader(self.recipe, self.sets.train, self.device, train=False))
            self.tick()
        for epoch in range(self.state.epoch, self.recipe.epochs):
            self.train_epoch(epoch)
            self.check_finite()  # before figures of broken weights are written down
            row = self.evaluate_epoch(epoch)
            self.run.append_metrics(row)
            self.end_epoch(epoch, row)
            self.save()
            self.write_best(epoch + 1)
            self.observer.on_epoch(row, self.seconds_left())
        self.finish()
        self.stop.check()

    def train_epoch(self, epoch: int) -> None:
        """The steps of an epoch that are left."""
        self.state.net.train()
        self.ticked = time.perf_counter()
        start = self.state.step - self.epochs.start(epoch)
        for batch in self.batches.epoch(epoch, start, self.state.chosen):
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
        self.whole = False
        lr = self.rate(state.step)
        optim.set_lr(state.optimizer, lr)
        momentum = momentum_at(self.schedule, self.epochs.scheduled(state.step))
        if momentum is not None:
            optim.set_momentum(state.optimizer, momentum)
        torch.manual_seed(step_seed(self.recipe.seed, state.step))  # for what the net draws itself, such as dropout
        with autocast(self.recipe.precision, self.device):
            logits_nk = state.net(batch.images_nchw)
        logits_nk = logits_nk.float()
        loss = self.loss(logits_nk, batch)
        state.optimizer.zero_grad(set_to_none=True)
        state.scaler.scale(loss).backward()
        with autocast(self.recipe.precision, self.device):  # for optimisers that multiply matrices, as Muon does
            state.scaler.step(state.optimizer)
        state.scaler.update()
        if state.ema:
            state.ema.update_parameters(state.net)
        state.count(loss.detach(), logits_nk.detach(), batch.labels)
        state.step += 1
        self.whole = True
        self.tick()
        elapsed = round(state.train_seconds + state.epoch_seconds, 3)
        self.pending.append(({"step": state.step, "epoch": epoch + 1, "lr": lr, "elapsed_s": elapsed}, loss.detach()))

    def loss(self, logits_nk: Tensor, batch: Batch) -> Tensor:
        """The mean loss of a batch; each image's is noted where the hardest are to be chosen."""
        smoothing, noted = self.recipe.loss.label_smoothing, self.state.sample_losses
        weights = self.class_weights
        if noted is None:
            return F.cross_entropy(logits_nk, batch.labels, weights, label_smoothing=smoothing)
        losses = F.cross_entropy(logits_nk, batch.labels, weights, label_smoothing=smoothing, reduction="none")
        noted.index_copy_(0, batch.samples, losses.detach())
        return losses.mean() if weights is None else losses.sum() / weights[batch.labels].sum()

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        return self.schedule(self.epochs.scheduled(step))

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
            raise self.failed(f"the loss is {bad['loss']}", int(bad["step"]))
        loss_sum, right, count = self.state.sums.tolist()
        self.observer.on_progress(
            Progress(
                step=self.state.step,
                steps=self.epochs.steps,
                epoch=int(rows[-1]["epoch"]),
                epochs=self.recipe.epochs,
                lr=rows[-1]["lr"],
                loss=loss_sum / count,
                accuracy=right / count,
                images_per_second=count / self.state.epoch_seconds,
                seconds_left=self.seconds_left(),
            )
        )

    def evaluate_epoch(self, epoch: int) -> dict[str, float | None]:
        """The epoch's row of metrics.csv, evaluated where that is due."""
        state = self.state
        loss_sum, right, count = state.sums.tolist()
        every, last = self.recipe.evaluate_every, epoch + 1 == self.recipe.epochs
        due = last or (every > 0 and (epoch + 1) % every == 0)
        row: dict[str, float | None] = {
            "epoch": epoch + 1,
            "lr": self.rate(state.step - 1),
            "train_loss": loss_sum / count,
            "train_accuracy": right / count,
        }
        row |= self.evaluator.columns(state.evaluated_net, due=due)
        row["train_seconds"] = round(state.epoch_seconds, 3)
        row["images_per_second"] = round(count / state.epoch_seconds, 2)
        return row

    def end_epoch(self, epoch: int, row: Mapping[str, float | None]) -> None:
        """Move the state to the next epoch."""
        self.whole = False
        if isinstance(self.schedule, Plateau):
            loss = row[self.schedule.monitor]
            assert loss is not None, "checked with the recipe: val_loss is measured every epoch"
            self.schedule.observe(loss)
        value, best = row.get("val_accuracy"), self.state.best
        if value is not None and (best is None or value > best["val_accuracy"]):  # never on the test set
            self.state.best = {"epoch": epoch + 1, "val_accuracy": value}
        self.state.begin_epoch(epoch + 1)
        self.state.choose(self.batches.chosen(epoch + 1))
        self.whole = True

    def write_best(self, epochs: int) -> None:
        """Write the weights after so many epochs where they are the best; the checkpoint that says so is on disk.

        In this order, and again on resuming, so that a training which ends between the two keeps both in step.
        """
        if self.state.best and self.state.best["epoch"] == epochs:
            self.run.write_best(self.state.evaluated_net)

    def save(self) -> None:
        """Write a checkpoint. Raises TrainingFailed rather than save weights that are no numbers."""
        self.flush()
        self.check_finite()
        self.state.wall_seconds = time.perf_counter() - self.started
        self.run.sync_rows()
        rows = {"rows": self.run.rows_digest(self.state.epoch, self.state.step)}
        self.run.checkpoints.save(self.state.step, self.state.to_dict() | rows)
        self.saved_at = time.perf_counter()

    def check_finite(self) -> None:
        """Raise TrainingFailed where the state holds what is no number."""
        broken = self.state.not_finite()
        if broken:
            raise self.failed(f"{broken} no longer finite")

    def finish(self) -> None:
        """Weights, predictions and the result; the summary last."""
        recipe, state, test = self.recipe, self.state, self.sets.test
        logits_nk, result = self.evaluator.test(state.evaluated_net)
        self.run.write_model(state.evaluated_net, description(recipe, test))
        self.run.write_predictions(logits_nk, torch.from_numpy(test.labels))
        self.run.write_summary(
            {
                "recipe": recipe.name,
                "data": recipe.data.label,
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
        return sum(self.batches.seen(epoch) for epoch in range(self.recipe.epochs))

    def seconds_left(self) -> float:
        """At the pace so far, evaluation included."""
        return (time.perf_counter() - self.started) * (self.epochs.steps / max(self.state.step, 1) - 1)

    def failed(self, what: str, step: int | None = None) -> TrainingFailed:
        """The error for what was found at a step, the last one that was taken unless another is named."""
        step = self.state.step if step is None else step
        place = f"step {step} of {self.epochs.steps}"
        return failure(self.run, self.recipe, what, place, self.rate(max(step - 1, 0)))

    def stopped(self, by: Stopped) -> Stopped:
        """Save, and the error that says where to go on."""
        if not self.run.finished:
            self.save()
        return stopped(self.run, by.signal_number, f"step {self.state.step} of {self.epochs.steps}")

    def rescue(self) -> None:
        """Save what can be gone on from, where something else than a signal ends the training."""
        if self.whole:
            with contextlib.suppress(Exception):  # the first error is the one to tell
                self.save()
