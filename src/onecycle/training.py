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
from .compiling import CompiledNet
from .data import Batch
from .distributed import World, process_lost_error
from .endings import failed_error, lost_error, stopped_error, write_results
from .epochs import Epochs
from .errors import Stopped, TrainingFailed, UserError
from .evaluator import Evaluator
from .hardware import autocast, fast, reused_memory, seed_generators, synchronize
from .interruption import Stop, stop_on_signals
from .observer import Observer
from .pace import Pace
from .preparation import Sets, build_loader, build_schedule, class_weights, initialize
from .randomness import step_seed
from .recipes import Recipe
from .resuming import newest, restore, take_up
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
    world: World | None = None,
) -> None:
    """Train `net` as the resolved recipe says and fill the run folder.

    With `resumed_on`, which describes where and how the training goes on, it does so from the run's newest checkpoint.
    The processes of a `world` all call this; that of rank 0 alone reads and writes the folder. Raises Stopped after
    SIGINT or SIGTERM, with the state saved, TrainingFailed where the loss or the weights are no longer finite, and
    UserError where another process is lost.
    """
    world = world or World(device)
    with (
        run.locked() if world.first else contextlib.nullcontext(),
        stop_on_signals(aloud=world.first) as stop,
        torch.random.fork_rng([device] if device.type == "cuda" else []),
        reused_memory(device),
    ):
        training = _Training(recipe, net, sets, run, world, observer, stop)
        try:
            if resumed_on is not None:
                training.restore(resumed_on)
            training.go()
        except Stopped as error:
            raise training.stopped_error(error) from None
        except FloatingPointError as error:
            raise training.failed_error(str(error)) from None
        except (UserError, TrainingFailed):
            raise
        except BaseException as error:
            if world.is_loss(error):
                raise training.lost_error(error) from None
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
        world: World,
        observer: Observer,
        stop: Stop,
    ) -> None:
        self.recipe, self.sets, self.run, self.world, self.device = recipe, sets, run, world, world.device
        self.observer, self.requests = observer, world.requests(stop)
        self.batches = build_loader(recipe, sets.train, self.device, train=True, part=world.part)
        self.class_weights = class_weights(recipe, sets.train, self.device)
        epochs = range(recipe.epochs)
        # A step takes as long as its images have pixels: small images first must not promise an early end.
        pixels = [self.batches.side(epoch) ** 2 for epoch in epochs]
        self.epochs = Epochs([self.batches.steps(epoch) for epoch in epochs], len(self.batches), pixels)
        self.schedule = build_schedule(recipe, len(self.batches))
        net = world.with_shared_norms(net) if recipe.distributed.sync_batchnorm else net
        self.state = TrainingState.new(recipe, net, self.schedule, self.device)
        self.parallel_net = world.parallel(self.state.net)
        self.compiled = None if recipe.compile == "none" else CompiledNet(self.parallel_net, recipe.compile)
        self.compile_seconds = 0.0
        self.evaluator = Evaluator(recipe, sets, world, self.requests.look)
        if recipe.data.hardest:
            self.state.watch_samples(self.batches.samples)
        self.pending: list[tuple[dict[str, float], Tensor]] = []  # rows of steps.csv whose loss is still on the device
        self.resumable = False  # whether the state, as it is now, is one that a training can go on from
        self.ended = False  # whether all results are written
        self.pace = Pace(self.epochs)
        self.ticked = self.flushed_at = self.saved_at = time.perf_counter()

    def restore(self, resumed_on: Mapping[str, Any]) -> None:
        """Go on from the newest checkpoint, or from the start where the training ended before the first."""
        saved = self.world.run_on_first(lambda: newest(self.run, self.observer))
        if saved:
            restore(self.run, self.state, self.epochs, saved)
        if self.world.first:
            take_up(self.run, self.recipe, self.state, saved.get("tables", ""), resumed_on, self.observer)
        else:
            self.state.sums.zero_()  # rank 0 restored them: a sum over the ranks must count them once
        self.pace.take_up(self.state.wall_seconds)
        if self.state.step == self.epochs.start(self.state.epoch):
            self.write_best(self.state.epoch)

    def go(self) -> None:
        """The epochs that are left, then the results."""
        self.resumable = True
        self.observer.on_start(self.recipe, self.run, self.world.device_name, self.state.step)
        if self.state.step == 0 and self.recipe.init is not None:
            self.save()  # so that going on does not need the earlier run any more
        elif self.state.step == 0:
            images = build_loader(self.recipe, self.sets.train, self.device, train=False)
            self.ticked = time.perf_counter()
            initialize(self.state.net, images)
            self.world.broadcast_tensors(self.state.net.state_dict().values())
            self.tick()
        self.compile()
        self.pace.begin(self.state.step)
        for epoch in range(self.state.epoch, self.recipe.epochs):
            self.train_epoch(epoch)
            self.check_finite()  # before figures of broken weights are written down
            row = self.evaluate_epoch(epoch)
            if self.world.first:
                self.run.append_metrics(row)
            self.end_epoch(epoch, row)
            self.save()
            self.write_best(epoch + 1)
            self.observer.on_epoch(row, self.pace.seconds_left(self.state.step))
        self.finish()
        self.requests.look()

    def compile(self) -> None:
        """Compile the net for all batches to come, where the recipe says so."""
        if self.compiled is None:
            return
        self.observer.on_message(f"compiling the net ({self.recipe.compile}), so that no step has to wait for it")
        blanks = self.batches.blanks(range(self.state.epoch, self.recipe.epochs))
        self.compile_seconds = self.compiled.warm_up(blanks, self.recipe.precision)

    def train_epoch(self, epoch: int) -> None:
        """The steps of an epoch that are left."""
        self.parallel_net.train()
        self.ticked = time.perf_counter()
        start = self.state.step - self.epochs.start(epoch)
        for batch in self.batches.epoch(epoch, start, self.state.chosen):
            self.train_step(epoch, batch)
            flush, save = self.requests.due(
                self.ticked - self.flushed_at >= FLUSH_SECONDS,
                self.ticked - self.saved_at >= self.recipe.checkpoint.every_seconds,
            )
            if flush:
                self.flush()
            if save:
                self.save()
                self.ticked = time.perf_counter()
            self.requests.check()
        synchronize(self.device)
        self.tick()
        self.flush()

    def train_step(self, epoch: int, batch: Batch) -> None:
        """One optimiser step. Nothing here waits for the device."""
        state = self.state
        self.resumable = False
        lr = self.rate(state.step)
        optim.set_lr(state.optimizer, lr)
        momentum = momentum_at(self.schedule, self.epochs.scheduled(state.step))
        if momentum is not None:
            optim.set_momentum(state.optimizer, momentum)
        seed_generators(step_seed(self.recipe.seed, state.step, self.world.rank))  # for what the net draws itself
        context = autocast if self.compiled else fast  # a compiled net keeps PyTorch's convolutions
        with context(self.recipe.precision, self.device):
            logits_nk = (self.compiled or self.parallel_net)(batch.images_nchw)
        own = self.world.part(len(batch.labels))
        labels = batch.labels[own]
        logits_nk = self.world.trimmed(logits_nk.float(), len(labels))
        loss = self.loss(logits_nk, labels, batch, own)
        state.optimizer.zero_grad(set_to_none=True)
        state.scaler.scale(self.world.scaled(loss)).backward()
        with autocast(self.recipe.precision, self.device):  # for optimisers that multiply matrices, as Muon does
            state.scaler.step(state.optimizer)
        state.scaler.update()
        if state.ema:
            state.ema.update_parameters(state.net)
        state.count(loss.detach(), logits_nk.detach(), labels, len(batch.labels))
        state.step += 1
        self.resumable = True
        self.tick()
        elapsed = round(state.train_seconds + state.epoch_seconds, 3)
        self.pending.append(({"step": state.step, "epoch": epoch + 1, "lr": lr, "elapsed_s": elapsed}, loss.detach()))

    def loss(self, logits_nk: Tensor, labels: Tensor, batch: Batch, own: slice) -> Tensor:
        """This process's part of the batch's mean loss.

        Notes each image's own loss where the hardest are to be chosen.
        """
        weights, smoothing = self.class_weights, self.recipe.loss.label_smoothing
        if self.state.sample_losses is None and self.world.size == 1:
            return F.cross_entropy(logits_nk, labels, weights, label_smoothing=smoothing)
        losses = F.cross_entropy(logits_nk, labels, weights, label_smoothing=smoothing, reduction="none")
        self.state.note_losses(batch.samples, own, losses.detach())
        return losses.sum() / (len(batch.labels) if weights is None else weights[batch.labels].sum())

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
        losses = self.world.all_reduce_sum(torch.stack([loss for _, loss in self.pending])).tolist()
        rows = [{**row, "loss": loss} for (row, _), loss in zip(self.pending, losses, strict=True)]
        self.pending.clear()
        good = [row for row in rows if math.isfinite(row["loss"])]
        if self.world.first:
            self.run.append_steps(good)
        if len(good) < len(rows):
            bad = next(row for row in rows if not math.isfinite(row["loss"]))
            raise self.failed_error(f"the loss is {bad['loss']}", int(bad["step"]))
        sums = self.world.all_reduce_sum(self.state.sums).tolist()
        self.observer.on_progress(self.pace.progress(rows[-1], sums, self.state.epoch_seconds))

    def evaluate_epoch(self, epoch: int) -> dict[str, float | None]:
        """The epoch's row of metrics.csv, evaluated where that is due."""
        state = self.state
        loss_sum, right, count = self.world.all_reduce_sum(state.sums).tolist()
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
        self.resumable = False
        if isinstance(self.schedule, Plateau):
            loss = row[self.schedule.monitor]
            assert loss is not None, "checked with the recipe: val_loss is measured every epoch"
            self.schedule.observe(loss)
        value, best = row.get("val_accuracy"), self.state.best
        if value is not None and (best is None or value > best["val_accuracy"]):  # never on the test set
            self.state.best = {"epoch": epoch + 1, "val_accuracy": value}
        self.state.begin_epoch(epoch + 1)
        self.state.merge_losses(self.world.all_reduce_sum)
        self.state.choose_hardest(self.batches.images_in(epoch + 1))
        self.resumable = True

    def write_best(self, epochs: int) -> None:
        """Write the weights after so many epochs where they are the best; the checkpoint that says so is on disk.

        In this order, and again on resuming, so that a training which ends between the two keeps both in step.
        """
        if self.world.first and self.state.best and self.state.best["epoch"] == epochs:
            self.run.write_best(self.state.evaluated_net, epochs)

    def save(self) -> None:
        """Write a checkpoint. Raises TrainingFailed rather than save weights that are no numbers."""
        self.flush()
        self.check_finite()
        self.state.merge_losses(self.world.all_reduce_sum)
        sums = self.world.all_reduce_sum(self.state.sums)
        self.state.wall_seconds = self.pace.seconds
        if self.world.first:
            self.run.sync_rows()
            saved = self.state.to_dict() | {"sums": sums, "tables": self.run.tables_digest()}
            self.run.checkpoints.save(self.state.step, saved)
        self.saved_at = time.perf_counter()

    def check_finite(self) -> None:
        """Raise TrainingFailed where the state holds what is no number."""
        broken = self.state.not_finite()
        if broken:
            raise self.failed_error(f"{broken} no longer finite")

    def finish(self) -> None:
        """Weights, predictions and the result."""
        logits_nk, result = self.evaluator.test(self.state.evaluated_net)
        if self.world.first:
            images = sum(map(self.batches.seen, range(self.recipe.epochs)))
            write_results(
                self.run,
                self.recipe,
                self.state,
                self.sets.test,
                logits_nk,
                result,
                device=self.world.device_name,
                images=images,
                compile_seconds=self.compile_seconds,
                wall_seconds=self.pace.seconds,
            )
        self.state.settle()
        self.world.barrier()
        self.ended = True

    def failed_error(self, what: str, step: int | None = None) -> TrainingFailed:
        """The error for what was found at a step, the last one that was taken unless another is named."""
        step = self.state.step if step is None else step
        place = f"step {step} of {self.epochs.steps}"
        return failed_error(self.run, self.recipe, what, place, self.rate(max(step - 1, 0)))

    def stopped_error(self, signal_error: Stopped) -> Stopped:
        """Save, and the error that says where to go on."""
        if not self.ended:
            self.save()
        self.world.barrier()  # the first process to leave has all others ended
        return stopped_error(self.run, signal_error.signal_number, f"step {self.state.step} of {self.epochs.steps}")

    def lost_error(self, error: BaseException) -> UserError:
        """The error for another process that is gone, or does not answer."""
        when = f"after step {self.state.step} of {self.epochs.steps}"
        return lost_error(self.run, process_lost_error(self.world, when, error))

    def rescue(self) -> None:
        """Save what can be gone on from, where something else than a signal ends the training."""
        if self.resumable and self.world.size == 1:  # several processes could only save together
            with contextlib.suppress(Exception):  # the first error is the one to tell
                self.save()
