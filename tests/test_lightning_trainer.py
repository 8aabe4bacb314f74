"""Recipes in Lightning with what a Trainer offers: tuners, averages, its options; and keys that it leaves alone."""

from __future__ import annotations

import re
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import (
    BatchSizeFinder,
    GradientAccumulationScheduler,
    LearningRateFinder,
    ModelCheckpoint,
    ModelSummary,
    StochasticWeightAveraging,
)
from lightning.pytorch.tuner import Tuner
from lightning.pytorch.utilities.model_summary import summarize
from lightning_fits import Memory, SaveAt, fit, trainer_for
from small import dataset, net, small_recipe
from torch.utils.data import DataLoader, TensorDataset

from onecycle import UserError
from onecycle.launch.lightning import ImageDataModule, LitClassifier
from onecycle.preparation import build_schedule

pytestmark = [
    # Lightning's own use of torch, which torch has renamed.
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning"),
]
LEFT_TO_THE_TRAINER = {
    "precision": "fp32",
    "compile": "max-autotune",
    "evaluate_every": 0,
    "checkpoint.every_seconds": 45,
    "resources": {"cpus": 1000, "gpus": 0.5},
}


class Seen(Callback):
    """Keeps which images each batch that trains has, and how large the gradient is that a step is made with."""

    def __init__(self) -> None:
        self.samples: list[list[int]] = []
        self.norms: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.samples.append(batch.samples.tolist())
        gradients = [one.grad.norm() for one in pl_module.parameters()]
        self.norms.append(torch.stack(gradients).norm().item())


def lit_and_images(**changes: Any) -> tuple[LitClassifier, ImageDataModule]:
    recipe = small_recipe(**{"precision": "fp32", **changes})
    return LitClassifier(recipe, model=net()), ImageDataModule(recipe, data=dataset())


def warned_of(lit: LitClassifier, trainer: Trainer, *data: Any, **options: Any) -> list[str]:
    """What onecycle warns of in a fit."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.fit(lit, *data, **options)
    told = [str(one.message) for one in caught if str(one.message).startswith("onecycle: ")]
    return [text.removeprefix("onecycle: ") for text in told]


def test_keys_that_the_trainer_leaves_alone_are_warned_of(tmp_path: Path) -> None:
    lit, data = lit_and_images(**LEFT_TO_THE_TRAINER)
    assert warned_of(lit, trainer_for(tmp_path), datamodule=data) == [
        "compile max-autotune has no effect in a Trainer; lit.net.compile(mode='max-autotune') before fit",
        "evaluate_every 0 has no effect; Trainer(check_val_every_n_epoch=3)",
        "checkpoint.every_seconds 45 has no effect; "
        "Trainer(callbacks=[ModelCheckpoint(train_time_interval=timedelta(seconds=45))])",
        "resources.cpus 1000 has no effect in a Trainer; torch.set_num_threads(1000) before fit",
        "resources.gpus 0.5 has no effect; Trainer(accelerator='gpu', devices=1) trains on one",
    ]


def test_who_does_as_the_warnings_say_gets_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {**LEFT_TO_THE_TRAINER, "resources": {"cpus": 1000}}
    lit, data = lit_and_images(**changes)
    lit.net.compile(backend="eager")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1000)
    saving = ModelCheckpoint(tmp_path, train_time_interval=timedelta(seconds=45))
    memory = Memory()
    options = {"check_val_every_n_epoch": 3, "enable_checkpointing": True, "callbacks": [saving]}
    assert not warned_of(lit, trainer_for(tmp_path, memory, **options), datamodule=data)
    assert len(memory.all("val_loss")) == 1


def test_a_module_that_torch_compiles_trains_the_same_without_a_warning(tmp_path: Path) -> None:
    lit, data = lit_and_images(compile="default", tta="flip")
    memory, compiled = Memory(), []

    def backend(module: torch.fx.GraphModule, inputs: Any) -> Any:
        compiled.append(module)
        return module.forward

    trainer, module = trainer_for(tmp_path, memory), torch.compile(lit, backend=backend)
    assert not warned_of(module, trainer, datamodule=data)
    _, told = fit(tmp_path, {"tta": "flip"})
    assert compiled and memory.all("train_loss_step") == told.all("train_loss_step")
    [tested] = trainer.test(module, datamodule=data, verbose=False)
    assert set(tested) == {"test_loss", "test_acc", "test_acc_tta"}


def test_changes_handed_to_the_wrong_half_are_warned_of(tmp_path: Path) -> None:
    recipe = small_recipe(precision="fp32")
    changes = {"data.batch_size": 50, "augment": {"cutout": 3}, "schedule.lr_max": 0.01}
    lit = LitClassifier(recipe, model=net(), **changes)
    data = ImageDataModule(recipe, data=dataset(), seed=3, **{"augment.cutout": 3, "schedule.lr_max": 0.03})
    assert warned_of(lit, trainer_for(tmp_path), datamodule=data) == [
        "LitClassifier's data.batch_size 50 has no effect, as ImageDataModule has 60; hand it to ImageDataModule",
        "ImageDataModule's schedule.lr_max 0.03 has no effect, as LitClassifier has 0.01; hand it to LitClassifier",
    ]
    loader = DataLoader(TensorDataset(torch.zeros(8, 3, 32, 32), torch.zeros(8).long()), batch_size=4)
    told = warned_of(LitClassifier(recipe, model=net(), augment={"cutout": 3}), trainer_for(tmp_path), loader)
    assert told == [
        "LitClassifier's augment.cutout 3 has no effect on loaders that are not an ImageDataModule's; "
        "ImageDataModule, or loaders made so"
    ]


def test_a_batch_size_that_is_set_counts_from_the_next_loader_on() -> None:
    data = ImageDataModule(small_recipe(), data=dataset())
    assert data.batch_size == 60
    data.batch_size = 25
    data.setup("fit")
    before = data.train_dataloader()
    data.batch_size = 50
    assert data.batch_size == data.recipe.data.batch_size == 50
    assert [len(one) for one in (before, data.train_dataloader(), data.val_dataloader())] == [8, 4, 2]
    assert next(iter(data.train_dataloader())).images_nchw.shape == (50, 3, 32, 32)
    for size in (0, -1, 2.5, True, "large"):
        with pytest.raises(UserError, match=r"recipe custom_resnet: data\.batch_size") as told:
            data.batch_size = size  # type: ignore[assignment]
        assert len(told.value.problems) == 1
    with pytest.warns(UserWarning, match="onecycle: batch_size 300 is larger than the training set; 200 is used"):
        data.batch_size = 300
    assert data.batch_size == 200 and len(data.train_dataloader()) == 1


@pytest.mark.parametrize("changes", [{}, {"ema.decay": 0.9}], ids=["plain", "ema"])
def test_lightnings_tuner_finds_a_batch_size(tmp_path: Path, changes: dict[str, Any]) -> None:
    lit, data = lit_and_images(**changes)
    memory, seen = Memory(), Seen()
    trainer = trainer_for(tmp_path, memory, callbacks=[seen])
    found = Tuner(trainer).scale_batch_size(lit, datamodule=data, init_val=25, steps_per_trial=1, max_trials=3)
    assert found == data.batch_size == 100
    assert not seen.samples and not memory.rows
    trainer.fit(lit, datamodule=data)
    assert [len(one) for one in seen.samples] == [100] * 6
    anew, told_anew = fit(tmp_path, {**changes, "data.batch_size": 100})
    assert memory.all("lr") == told_anew.all("lr")
    assert memory.all("train_loss_step") == told_anew.all("train_loss_step")
    assert all(torch.equal(one, anew.state_dict()[name]) for name, one in lit.state_dict().items())


def test_a_search_for_the_batch_size_ends_at_the_images(tmp_path: Path) -> None:
    lit, data = lit_and_images()
    tuner = Tuner(trainer_for(tmp_path, limit_val_batches=0))
    with pytest.warns(UserWarning, match="onecycle: batch_size 240 is larger than the training set; 200 is used"):
        assert tuner.scale_batch_size(lit, datamodule=data, init_val=120, steps_per_trial=1) == 200
    assert data.batch_size == 200
    data.batch_size = 20
    found = tuner.scale_batch_size(lit, datamodule=data, method="test", init_val=30, steps_per_trial=1)
    assert found == data.batch_size == 60, "the images that it tests on"


def test_the_schedule_follows_a_batch_size_that_a_callback_finds(tmp_path: Path) -> None:
    finder = BatchSizeFinder(init_val=50, steps_per_trial=1, max_trials=2)
    _, memory = fit(tmp_path, {"optimizer.name": "muon"}, callbacks=[finder])
    assert finder.optimal_batch_size == 100
    schedule = build_schedule(small_recipe(**{"optimizer.name": "muon"}), 2)
    assert memory.all("lr") == pytest.approx([schedule(step) for step in range(6)], rel=1e-6)


def test_the_schedule_follows_a_rate_that_a_callback_finds(tmp_path: Path) -> None:
    finder, memory = LearningRateFinder(min_lr=1e-3, max_lr=0.3, num_training_steps=20), Memory()
    lit, data = lit_and_images(**{"schedule.epochs": 6})
    trainer_for(tmp_path, memory, max_epochs=6, callbacks=[finder]).fit(lit, datamodule=data)
    assert finder.optimal_lr is not None and lit.learning_rate == finder.optimal_lr.suggestion() != 0.02
    wanted = small_recipe(**{"schedule.epochs": 6, "schedule.lr_max": lit.learning_rate})
    schedule = build_schedule(wanted, 4)
    assert memory.all("lr") == pytest.approx([schedule(step) for step in range(24)], rel=1e-6)


# Lightning says so of a schedule that is stepped with every step, and does it all the same.
@pytest.mark.filterwarnings("ignore:SWA is currently only supported every epoch:UserWarning")
def test_stochastic_weight_averaging_takes_over_from_the_schedule(tmp_path: Path) -> None:
    def averaging() -> StochasticWeightAveraging:
        return StochasticWeightAveraging(swa_lrs=0.01, swa_epoch_start=2, annealing_epochs=1)

    callbacks = [averaging(), SaveAt(6, "on_train_batch_end", tmp_path / "saved.ckpt")]
    lit, memory = fit(tmp_path, callbacks=callbacks, enable_checkpointing=True)
    schedule = build_schedule(small_recipe(), 4)
    assert memory.all("lr")[:5] == pytest.approx([schedule(step) for step in range(5)], rel=1e-6)
    assert len(set(memory.all("lr")[4:8])) == 1, "the averaging has the rate of its epoch's beginning"
    plain, _ = fit(tmp_path)
    name = "net.0.weight"
    assert not torch.equal(lit.state_dict()[name], plain.state_dict()[name])
    resumed, _ = fit(tmp_path, callbacks=[averaging()], ckpt_path=tmp_path / "saved.ckpt")
    assert torch.equal(lit.state_dict()[name], resumed.state_dict()[name])
    with pytest.raises(UserError, match="ema and StochasticWeightAveraging would both make the final weights; ema=Non"):
        fit(tmp_path, {"ema.decay": 0.9}, callbacks=[averaging()])


def test_a_barebones_trainer_trains_and_tests_without_a_word(tmp_path: Path) -> None:
    lit, data = lit_and_images()
    nothing = {"logger": None, "enable_checkpointing": None, "log_every_n_steps": None}
    quiet = {"enable_progress_bar": None, "enable_model_summary": None}
    trainer = trainer_for(tmp_path, barebones=True, **nothing, **quiet)
    trainer.fit(lit, datamodule=data)
    trainer.test(lit, datamodule=data)
    assert trainer.global_step == 12 and lit.mistakes is not None
    assert not list(tmp_path.iterdir())
    plain, _ = fit(tmp_path)
    assert all(torch.equal(one, plain.state_dict()[name]) for name, one in lit.state_dict().items())


def test_options_that_must_not_change_the_training_do_not(tmp_path: Path) -> None:
    """Loaders made anew, a validation before, and a table of layers with the sizes of what goes through them."""
    lit, data = lit_and_images()
    lit.example_input_array = torch.zeros(2, 3, 32, 32)
    memory = Memory()
    options = {"reload_dataloaders_every_n_epochs": 1, "enable_model_summary": True, "callbacks": [ModelSummary(2)]}
    trainer = trainer_for(tmp_path, memory, **options)
    [validated] = trainer.validate(lit, datamodule=data, verbose=False)
    assert validated["val_acc"] == pytest.approx(0.25, abs=0.2) and lit.global_step == 0
    memory.rows.clear()
    trainer.fit(lit, datamodule=data)
    _, told = fit(tmp_path)
    assert memory.all("train_loss_step") == told.all("train_loss_step")
    assert re.search(r"\[2, 3, 32, 32\] *\| *\[2, 4\]", str(summarize(lit)))


def test_a_second_fit_goes_on_with_the_schedule(tmp_path: Path) -> None:
    rates: list[float] = []

    class Rates(Callback):
        def on_train_batch_start(self, trainer: Trainer, *arguments: Any) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    lit, data = lit_and_images()
    steps = 4  # an epoch
    trainer = trainer_for(tmp_path, max_epochs=1, callbacks=[Rates()])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a Trainer that makes fewer steps than the schedule has
        trainer.fit(lit, datamodule=data)
        trainer.fit_loop.max_epochs = lit.recipe.epochs
        trainer.fit(lit, datamodule=data)
    schedule = build_schedule(lit.recipe, steps)
    assert rates == pytest.approx([schedule(step) for step in range(lit.recipe.epochs * steps)])


def test_accumulation_that_changes_is_warned_of(tmp_path: Path) -> None:
    lit, data = lit_and_images()
    trainer = trainer_for(tmp_path, callbacks=[GradientAccumulationScheduler({0: 2, 1: 1})])
    told = " ".join(warned_of(lit, trainer, datamodule=data))
    assert "GradientAccumulationScheduler changes the steps of an epoch" in told


def test_a_subclass_may_validate_test_and_save_by_itself(tmp_path: Path) -> None:
    class Own(LitClassifier):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("mine", 1.0)

        def test_step(self, batch: Any, batch_idx: int) -> None:
            self.log("mine too", 1.0)

        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            checkpoint["mine"] = 1

    recipe = small_recipe(precision="fp32")
    lit = Own(recipe, model=net())
    trainer = trainer_for(tmp_path)
    images = ImageDataModule(recipe, data=dataset())
    trainer.fit(lit, datamodule=images)
    assert "mine" in trainer.callback_metrics and "val_acc" not in trainer.callback_metrics
    assert trainer.test(lit, datamodule=images, verbose=False) == [{"mine too": 1.0}]
    trainer.save_checkpoint(tmp_path / "saved.ckpt")
    assert isinstance(Own.load_from_checkpoint(tmp_path / "saved.ckpt", model=net()), Own)


def test_the_gradient_is_clipped(tmp_path: Path) -> None:
    clipped, plain = Seen(), Seen()
    fit(tmp_path, callbacks=[clipped], gradient_clip_val=0.1)
    fit(tmp_path, callbacks=[plain])
    assert max(clipped.norms) < 0.1001 < min(plain.norms)


def test_overfitting_goes_over_the_same_two_batches_on_the_whole_schedule(tmp_path: Path) -> None:
    seen = Seen()
    _, memory = fit(tmp_path, overfit_batches=2, callbacks=[seen])
    assert seen.samples == seen.samples[:2] * 3 and seen.samples[0] != seen.samples[1]
    schedule = build_schedule(small_recipe(), 2)
    assert memory.all("lr") == pytest.approx([schedule(step) for step in range(6)], rel=1e-6)
