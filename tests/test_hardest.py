"""Epochs over the hardest images alone: which images, which rates; stopped and resumed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from small import StopAt, assert_same_run, dataset, net, small_recipe
from torch import Tensor, nn

import onecycle
from onecycle import Observer, Progress, Run, Stopped, UserError, recipe, training
from onecycle.checkpoint import load_state, save_state
from onecycle.data import Augmentation, Loader
from onecycle.schedule import constant, momentum_at
from onecycle.state import TrainingState

HARDEST = [[1, 0.5], [3, 0.7]]  # of 200 images: 200, 100, 100, 140
LENGTHS = [4, 2, 2, 3]  # in batches of 60, the last of an epoch short
STEPS = sum(LENGTHS)


def run_small(out: Path, observer: Observer | None = None, **changes: Any) -> Run:
    defaults: dict[str, Any] = {"precision": "fp32", "data.hardest": HARDEST}
    if "schedule" not in changes:
        defaults["schedule.epochs"] = 4
    wanted = small_recipe(**{**defaults, **changes})
    given: dict[str, Any] = {"data": dataset(), "device": "cpu", "observer": observer or Observer()}
    return onecycle.train(wanted, model=net(), out=out, **given)


# --- which images are chosen -------------------------------------------------------------------------------------

losses_with_ties = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, 3.0, float("inf")]), min_size=1, max_size=40)


def watching(count: int) -> TrainingState:
    """A state before the first step, with so many images to watch."""
    state = TrainingState.new(small_recipe(), net(), constant(1, epochs=1, lr=0.1), torch.device("cpu"))
    state.watch_samples(count)
    return state


@settings(max_examples=60, deadline=None)
@given(losses=losses_with_ties, share=st.floats(0, 1))
def test_the_largest_losses_are_chosen_the_unseen_first_and_of_equals_the_earlier(
    losses: list[float], share: float
) -> None:
    state, count = watching(len(losses)), round(share * len(losses))
    assert state.sample_losses is not None and state.chosen is not None
    state.sample_losses.copy_(torch.tensor(losses))
    state.choose_hardest(count)
    left, expected = list(range(len(losses))), []
    for _ in range(count):
        hardest = max(left, key=lambda one: (losses[one], -one))
        expected.append(hardest)
        left.remove(hardest)
    assert state.chosen.nonzero().flatten().tolist() == sorted(expected)
    state.choose_hardest(len(losses))
    assert state.chosen.all()


def test_nothing_is_chosen_where_nobody_asked() -> None:
    state = TrainingState.new(small_recipe(), net(), constant(1, epochs=1, lr=0.1), torch.device("cpu"))
    state.choose_hardest(3)
    assert state.chosen is None and state.sample_losses is None


class Watch:
    """Records every training step: its epoch, the images' places in the set, and their losses by NumPy in float64."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, smoothing: float) -> None:
        self.batches: list[tuple[int, NDArray[np.int64], NDArray[np.float64]]] = []
        self.right: Counter[int] = Counter()
        original, logits = training._Training.train_step, []

        def keep(module: nn.Module, args: Any, output: Tensor) -> None:
            if module.training:
                logits.append(output.detach().double().numpy())

        def step(own: Any, epoch: int, batch: Any) -> None:
            handle = own.state.net.register_forward_hook(keep)
            original(own, epoch, batch)
            handle.remove()
            self.right[epoch] += int((logits[0].argmax(1) == batch.labels.numpy()).sum())
            self.batches.append((epoch, batch.samples.numpy(), losses_of(logits.pop(), batch.labels, smoothing)))

        monkeypatch.setattr(training._Training, "train_step", step)

    def seen(self, epoch: int) -> list[int]:
        return [int(sample) for one, samples, _ in self.batches if one == epoch for sample in samples]


def losses_of(logits: NDArray[np.float64], labels: Tensor, smoothing: float) -> NDArray[np.float64]:
    log_p = logits - np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True))
    log_p -= logits.max(1, keepdims=True)
    result: NDArray[np.float64] = -(1 - smoothing) * log_p[np.arange(len(labels)), labels] - smoothing * log_p.mean(1)
    return result


@pytest.mark.parametrize(
    ("hardest", "drop_last", "counts"),
    [
        (HARDEST, False, [200, 100, 100, 140]),
        (HARDEST, True, [180, 60, 60, 120]),
        ([[1, 0.4], [2, 0.9]], False, [200, 80, 180, 180]),
        ([[1, 0.4], [2, 0.9]], True, [180, 60, 180, 180]),  # the first epoch leaves images unseen
        ([[2, 0.01]], False, [200, 200, 60, 60]),  # less than a batch: a batch
        ([[1, 1.0], [3, 0.3]], True, [180, 180, 180, 60]),
    ],
    ids=str,
)
def test_an_epoch_sees_the_images_of_the_largest_losses(
    hardest: list[list[float]], drop_last: bool, counts: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(monkeypatch, smoothing=0.1)
    changes: dict[str, Any] = {"data.hardest": hardest, "data.drop_last": drop_last, "loss.label_smoothing": 0.1}
    run = run_small(tmp_path / "run", **changes)
    loader = Loader(dataset().train, batch_size=60, augmentation=Augmentation(flip="none"), seed=0)
    losses, steps = np.full(200, np.inf), []
    for epoch, count in enumerate(counts):
        share = next((share for start, share in reversed(hardest) if start <= epoch), 1.0)
        chosen = sorted(range(200), key=lambda one: (-losses[one], one))[: max(round(200 * share), 60)]
        in_order = [int(one) for one in loader.plan(epoch).order if one in chosen]
        assert watch.seen(epoch) == in_order[:count] and len(in_order) - count == (len(chosen) % 60) * drop_last
        for one, samples, found in watch.batches:
            if one == epoch:
                losses[samples] = found
                steps.append(epoch + 1)
    assert [row["epoch"] for row in run.steps()] == steps
    assert [row["step"] for row in run.steps()] == list(range(1, len(steps) + 1))
    assert run.summary["steps"] == len(steps)
    for row, images in zip([run.summary, *run.metrics()], [sum(counts), *counts], strict=True):
        rounding = 0.0005 * row["images_per_second"]  # seconds are written to the millisecond
        assert row["images_per_second"] * row["train_seconds"] == pytest.approx(images, abs=rounding + 1)


def test_the_training_metrics_are_of_the_images_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(monkeypatch, smoothing=0.0)
    run = run_small(tmp_path / "run", **{"loss.label_smoothing": 0.0})
    for epoch, row in enumerate(run.metrics()):
        losses = np.concatenate([found for one, _, found in watch.batches if one == epoch])
        assert row["train_loss"] == pytest.approx(losses.mean(), rel=1e-5)
        assert row["train_accuracy"] == pytest.approx(watch.right[epoch] / len(losses), rel=1e-12)


def test_a_share_of_1_is_the_training_without_it(tmp_path: Path) -> None:
    """But for rounding: the mean of the images' losses rather than the mean loss."""
    whole, other = (
        run_small(tmp_path / "whole", **{"data.hardest": []}),
        run_small(tmp_path / "other", **{"data.hardest": [[1, 1.0]], "precision": "fp32"}),
    )
    assert len(whole.steps()) == len(other.steps()) == 16
    for one, two in zip(whole.steps(), other.steps(), strict=True):
        assert one["lr"] == two["lr"] and one["loss"] == pytest.approx(two["loss"], rel=1e-3)


@pytest.mark.parametrize(
    "chosen", [[True, False] * 50, [False] * 99 + [True], [True] * 100], ids=["half", "one", "all"]
)
def test_an_images_augmentation_is_the_same_whether_or_not_others_are_left_out(chosen: list[bool]) -> None:
    augmentation = Augmentation(
        cutout_probability=0.5, shift=0.1, scale=0.2, rotate=20, affine_probability=0.7, resize=((1, 24),)
    )
    images = dataset().train.subset(np.arange(100))
    loader = Loader(images, batch_size=30, augmentation=augmentation, seed=3)
    with pytest.raises(UserError, match=r"chosen is torch\.int64 \[100\]; torch\.bool \[100\] is needed"):
        next(iter(loader.epoch(0, chosen=torch.tensor(chosen).long())))
    for epoch in (0, 1):
        everything = {
            int(sample): image.clone()
            for batch in loader.epoch(epoch)
            for sample, image in zip(batch.samples, batch.images_nchw, strict=True)
        }
        assert len(everything) == 100
        seen = []
        for batch in loader.epoch(epoch, chosen=torch.tensor(chosen)):
            for sample, image, label in zip(batch.samples, batch.images_nchw, batch.labels, strict=True):
                assert torch.equal(image, everything[int(sample)])
                assert label == images.labels[int(sample)]
                seen.append(int(sample))
        assert sorted(seen) == list(np.flatnonzero(chosen))
        # From any batch on it is what is left of the epoch.
        rest = [int(one) for batch in loader.epoch(epoch, 1, torch.tensor(chosen)) for one in batch.samples]
        assert rest == seen[30:]


@pytest.mark.parametrize("drop_last", [False, True])
def test_the_loader_counts_what_it_gives(drop_last: bool) -> None:
    hardest = ((1, 0.5), (2, 0.001), (4, 1.0))
    options: dict[str, Any] = {"batch_size": 60, "augmentation": Augmentation(), "drop_last": drop_last}
    loader = Loader(dataset().train, hardest=hardest, **options)
    assert [loader.images_in(epoch) for epoch in range(6)] == [200, 100, 60, 60, 200, 200]
    for epoch in range(6):
        chosen = torch.arange(200) < loader.images_in(epoch)
        assert loader.steps(epoch) == len(list(loader.epoch(epoch, chosen=chosen)))
    assert len(loader) == loader.steps(0) == (3 if drop_last else 4)


# --- rates -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_the_rates_and_the_momentum_of_a_training(shape: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    momenta: list[float] = []
    original = training._Training.train_step

    def step(own: Any, epoch: int, batch: Any) -> None:
        original(own, epoch, batch)
        momenta.extend(group["momentum"] for group in own.state.optimizer.param_groups[:1])

    monkeypatch.setattr(training._Training, "train_step", step)
    changes: dict[str, Any] = {"optimizer.name": "sgd", "schedule.shape": shape, "schedule.momentum": [0.8, 0.95]}
    run = run_small(tmp_path / "run", **changes)
    schedule = training.build_schedule(run.recipe, 4)
    places = [epoch * 4 + place for epoch, length in enumerate(LENGTHS) for place in np.linspace(0, 3, length)]
    assert [row["lr"] for row in run.steps()] == pytest.approx([schedule(place) for place in places], rel=1e-9)
    assert momenta == pytest.approx([momentum_at(schedule, place) for place in places], rel=1e-9)
    assert max(row["lr"] for row in run.steps()) == 0.02 and min(momenta) == 0.8
    assert [row["lr"] for row in run.metrics()] == [schedule(4 * epoch + 3) for epoch in range(4)]


# --- stopping and going on ---------------------------------------------------------------------------------------

PLATEAU = {"name": "plateau", "epochs": 4, "lr": 0.02, "patience": 0, "threshold": 0.5, "monitor": "val_loss"}
VARIANTS: dict[str, dict[str, Any]] = {
    "one cycle": {"schedule.momentum": [0.8, 0.95]},
    "plateau": {"schedule": PLATEAU, "data.val_fraction": 0.2},
    "drop last, from the second epoch": {"data.drop_last": True, "data.hardest": [[1, 0.4], [2, 0.9]]},
    "muon, bf16, ema": {"optimizer.name": "muon", "schedule.lr_max": 0.2, "precision": "bf16", "ema.decay": 0.9},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_stopped_and_resumed_at_any_step_it_is_the_same_run(
    variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "FLUSH_SECONDS", 0.0)
    changes = VARIANTS[variant]
    whole = run_small(tmp_path / "whole", **changes)
    if variant == "plateau":
        rates = [row["lr"] for row in whole.steps()]
        assert rates[-1] < rates[0], "the rate has not dropped, so this tests nothing"
    for step in range(1, whole.summary["steps"]):
        folder = tmp_path / f"stopped{step}"
        with pytest.raises(Stopped):
            run_small(folder, StopAt(step), **changes)
        resumed = onecycle.resume(folder, model=net(seed=9), data=dataset(), device="cpu", observer=Observer())
        assert_same_run(whole, resumed)


def stopped(folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Path:
    """The folder of a run that was stopped after five steps; its only checkpoint."""
    monkeypatch.setattr(training, "FLUSH_SECONDS", 0.0)
    with pytest.raises(Stopped):
        run_small(folder, StopAt(5), **changes)
    for older in Run.open(folder).checkpoints.paths()[:-1]:
        older.unlink()
    (path,) = Run.open(folder).checkpoints.paths()
    return path


def test_a_run_that_began_before_these_keys_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its recipe nor its checkpoint has them."""
    whole = run_small(tmp_path / "whole", **{"data.hardest": []})
    path = stopped(tmp_path / "stopped", monkeypatch, **{"data.hardest": []})
    state = load_state(path)
    assert state.pop("sample_losses") is None and state.pop("chosen") is None
    save_state(path, state)
    stored = yaml.safe_load((tmp_path / "stopped/recipe.yaml").read_text())
    del stored["data"]["hardest"], stored["schedule"]["momentum"], stored["augment"]["resize"], stored["tta_share"]
    (tmp_path / "stopped/recipe.yaml").write_text(yaml.safe_dump(stored))
    resumed = onecycle.resume(tmp_path / "stopped", model=net(), data=dataset(), device="cpu", observer=Observer())
    assert_same_run(whole, resumed)


@pytest.mark.parametrize("damage", ["missing", "of another size"])
def test_a_checkpoint_that_lacks_the_losses_is_one_line(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = stopped(tmp_path / "run", monkeypatch)
    state = load_state(path)
    assert state["sample_losses"].shape == state["chosen"].shape == (200,)
    assert state["chosen"].sum() == 100
    if damage == "missing":
        del state["sample_losses"], state["chosen"]
    else:
        state["sample_losses"] = state["sample_losses"][:7].clone()
    save_state(path, state)
    with pytest.raises(UserError) as caught:
        onecycle.resume(tmp_path / "run", model=net(), data=dataset(), device="cpu", observer=Observer())
    (line,) = caught.value.problems
    assert str(path.parent) in line and "\n" not in line


def test_a_resumed_run_keeps_its_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(tmp_path / "run", monkeypatch)
    with pytest.raises(UserError, match=r"keeps its data\.hardest"):
        onecycle.resume(tmp_path / "run", model=net(), data=dataset(), changes={"data.hardest": [[1, 0.6]]})


# --- the key -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ([[1, 0.5], [1, 0.6]], ["data.hardest", "[1, 1]", "later than the one before"]),
        ([[3, 0.5], [1, 0.6]], ["data.hardest", "[3, 1]", "later than the one before"]),
        ([[1, 0]], ["data.hardest", "greater than 0"]),
        ([[1, 1.01]], ["data.hardest", "less than or equal to 1"]),
        ([[0, 0.5]], ["data.hardest", "greater than or equal to 1"]),
        ([[0.5, 0.5]], ["data.hardest", "integer"]),
        ([0, 0.5], ["data.hardest", "two numbers"]),
        (0.5, ["data.hardest", "two numbers"]),
        ([[1, float("nan")]], ["data.hardest", "finite"]),
    ],
    ids=str,
)
def test_what_cannot_be_is_one_clear_line(value: Any, parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        recipe("custom_resnet", **{"data.hardest": value})
    (line,) = caught.value.problems
    assert all(part in line for part in parts), line


def test_it_goes_through_yaml(tmp_path: Path) -> None:
    wanted = recipe("custom_resnet", **{"data.hardest": HARDEST})
    assert wanted.data.hardest == ((1, 0.5), (3, 0.7))
    (tmp_path / "stored.yaml").write_text(wanted.to_yaml())
    assert recipe(tmp_path / "stored.yaml") == wanted
    assert recipe("custom_resnet").data.hardest == ()


def test_both_contradictions_are_said_at_once() -> None:
    with pytest.raises(UserError) as caught:
        recipe("custom_resnet", **{"data.hardest": [[2, 0.5], [1, 0.5]], "augment.resize": [[2, 16], [2, 24]]})
    resize, hardest = sorted(caught.value.problems)
    assert "augment.resize: the epochs [2, 2]" in resize and "data.hardest: the epochs [2, 1]" in hardest


def test_a_range_test_goes_over_all_images() -> None:
    """There is no last loss to choose by."""
    quick: dict[str, Any] = {"sweeps": 2, "steps": 40, "lr_start": 1e-4, "lr_end": 1.0, "device": "cpu"}
    found = [
        onecycle.find_lr(small_recipe(**{"data.hardest": pairs}), model=net(), data=dataset(), **quick)
        for pairs in ([], [[1, 0.4]])
    ]
    assert found[0] == found[1]


def test_a_progress_bar_knows_the_epochs_own_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "FLUSH_SECONDS", 0.0)
    told: list[tuple[int, int, int]] = []

    class Listener(Observer):
        def on_progress(self, progress: Progress) -> None:
            told.append((progress.epoch, progress.step_in_epoch, progress.steps_in_epoch))

    run_small(tmp_path / "run", Listener(), **{"data.hardest": [[1, 0.5]]})
    assert told == [
        *((1, step, 4) for step in range(1, 5)),
        *((epoch, step, 2) for epoch in (2, 3, 4) for step in (1, 2)),
    ]
