"""Trainings in Lightning that go on: resumed, from a checkpoint's weights, on a plateau."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fits import KNOTS, VARIANTS, Memory, SaveAt, assert_same_weights, fit, trainer_for
from small import dataset, images, net, small_recipe

from onecycle import Dataset, UserError, registry
from onecycle.launch.lightning import ImageDataModule, LitClassifier
from onecycle.preparation import build_schedule

pytestmark = [
    # Lightning's own use of torch, which torch has renamed.
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning"),
]


@pytest.mark.parametrize(
    ("variant", "step", "hook"),
    [
        ("adamw", 2, "on_train_batch_end"),
        ("adamw", 8, "on_train_epoch_end"),
        ("ema", 6, "on_train_batch_end"),
        ("momentum", 2, "on_train_batch_end"),
        ("momentum", 8, "on_train_epoch_end"),
        ("beta1", 6, "on_train_batch_end"),
        ("plateau", 2, "on_train_batch_end"),
        ("plateau", 8, "on_train_batch_end"),  # the last step of an epoch, whose end is yet to come
        ("plateau", 8, "on_validation_end"),
        ("plateau", 8, "on_train_epoch_end"),
        ("held out", 6, "on_validation_end"),
        ("held out", 6, "on_train_epoch_end"),
    ],
)
def test_resumed_in_or_after_an_epoch_it_is_the_same_training(
    tmp_path: Path, variant: str, step: int, hook: str
) -> None:
    checkpoint, changes = tmp_path / "saved.ckpt", VARIANTS[variant]
    whole, told = fit(tmp_path, changes, callbacks=[SaveAt(step, hook, checkpoint)], enable_checkpointing=True)
    torch.manual_seed(123)
    resumed, told_since = fit(tmp_path, changes, ckpt_path=checkpoint)
    assert told_since.all("lr") == told.all("lr")[step:]
    assert told_since.all("train_loss_step") == told.all("train_loss_step")[step:]
    assert_same_weights(dict(whole.net.state_dict()), dict(resumed.net.state_dict()))
    epochs_since = len(told_since.all("train_loss"))
    assert told_since.all("train_loss") == pytest.approx(told.all("train_loss")[-epochs_since:], rel=1e-6)
    # Lightning ends an epoch that was saved after its validation, but not one that was saved before.
    assert epochs_since == {"on_train_batch_end": {2: 3, 6: 2, 8: 1}[step], "on_validation_end": 2}.get(hook, 1)
    if "lr" in changes.get("schedule", {}):
        assert told.all("lr")[-1] < told.all("lr")[0], "the rate has not dropped, so this tests nothing"


@pytest.mark.parametrize("variant", ["adamw", "momentum"])
def test_a_training_that_goes_on_may_do_so_at_another_rate(tmp_path: Path, variant: str) -> None:
    """As in our own loop, whose schedule is not in the checkpoint either."""
    checkpoint, changes = tmp_path / "saved.ckpt", VARIANTS[variant]
    fit(tmp_path, changes, callbacks=[SaveAt(6, "on_train_batch_end", checkpoint)], enable_checkpointing=True)
    lower = {**changes, "schedule.lr_max": 0.005}
    _, told = fit(tmp_path, lower, ckpt_path=checkpoint)
    schedule = build_schedule(small_recipe(**lower), 4)
    assert told.all("lr") == pytest.approx([schedule(step) for step in range(6, 12)], rel=1e-6)


def test_a_plateau_that_goes_on_at_another_rate_keeps_its_drops(tmp_path: Path) -> None:
    checkpoint, changes = tmp_path / "saved.ckpt", VARIANTS["plateau"]
    _, whole = fit(
        tmp_path, changes, callbacks=[SaveAt(8, "on_train_epoch_end", checkpoint)], enable_checkpointing=True
    )
    _, told = fit(tmp_path, {**changes, "schedule.lr": changes["schedule"]["lr"] / 2}, ckpt_path=checkpoint)
    assert told.all("lr") == pytest.approx([rate / 2 for rate in whole.all("lr")[8:]], rel=1e-6)
    assert whole.all("lr")[8] < whole.all("lr")[0], "the rate has not dropped, so this tests nothing"


def test_a_plateau_of_weights_from_a_checkpoint_begins_anew(tmp_path: Path) -> None:
    checkpoint, changes = tmp_path / "saved.ckpt", VARIANTS["plateau"]
    _, first = fit(
        tmp_path, changes, callbacks=[SaveAt(8, "on_train_epoch_end", checkpoint)], enable_checkpointing=True
    )
    lit = LitClassifier.load_from_checkpoint(checkpoint, model=net())
    assert isinstance(lit, LitClassifier)
    trainer_for(tmp_path, memory := Memory()).fit(lit, datamodule=ImageDataModule(lit.recipe, data=dataset()))
    assert memory.all("lr")[0] == first.all("lr")[0] > first.all("lr")[8]


@pytest.mark.parametrize("by_hand", [False, True], ids=["from a checkpoint", "by hand"])
def test_weights_that_are_loaded_stay_as_they_are(tmp_path: Path, by_hand: bool) -> None:
    """The first layer, which the net takes from the images, is not taken from the new ones."""
    recipe = small_recipe(model={"name": "whitened_convnet", "widths": [6, 8, 8]}, precision="fp32")
    first = LitClassifier(recipe, num_classes=4)
    trainer = trainer_for(tmp_path)
    trainer.fit(first, datamodule=ImageDataModule(recipe, data=dataset()))
    trainer.save_checkpoint(tmp_path / "saved.ckpt")
    whitening = first.net.get_parameter("whitening.weight").clone()
    if by_hand:
        lit = LitClassifier(recipe, num_classes=4)
        lit.net.load_state_dict(first.net.state_dict())
    else:
        lit = LitClassifier.load_from_checkpoint(tmp_path / "saved.ckpt")
    trainer_for(tmp_path).fit(lit, datamodule=ImageDataModule(recipe, data=Dataset(images(200, 5), images(60, 1))))
    assert torch.equal(lit.net.get_parameter("whitening.weight"), whitening)


def test_weights_that_were_only_drawn_are_still_to_begin_with_the_images(tmp_path: Path) -> None:
    """Also those of a checkpoint that a tuner, say, wrote before the first step."""
    recipe = small_recipe(model={"name": "whitened_convnet", "widths": [6, 8, 8]})
    data = ImageDataModule(recipe, data=dataset())
    lit = LitClassifier(recipe, num_classes=4)
    saves = SaveAt(0, "on_train_start", tmp_path / "saved.ckpt")
    trainer_for(tmp_path, callbacks=[saves], enable_checkpointing=True).fit(lit, datamodule=data)
    loaded = LitClassifier.load_from_checkpoint(tmp_path / "saved.ckpt")
    before = loaded.net.get_parameter("whitening.weight").clone()
    trainer_for(tmp_path, precision="bf16-true").fit(loaded, datamodule=data)
    after = loaded.net.get_parameter("whitening.weight")
    assert not torch.allclose(after.float(), before, rtol=0.1)
    assert torch.allclose(after.float(), lit.net.get_parameter("whitening.weight"), rtol=0.1, atol=0.01)


def test_a_plateau_that_missed_its_loss_says_so(tmp_path: Path) -> None:
    """Saved after an epoch's last step and before its validation, which Lightning then leaves out."""
    checkpoint = tmp_path / "saved.ckpt"
    fit(
        tmp_path,
        VARIANTS["held out"],
        callbacks=[SaveAt(6, "on_train_batch_end", checkpoint)],
        enable_checkpointing=True,
    )
    with pytest.raises(UserError, match="val_loss and an epoch had no validation by LitClassifier's validation_step"):
        fit(tmp_path, VARIANTS["held out"], ckpt_path=checkpoint)


@pytest.mark.parametrize("variant", ["plateau", "held out"])
def test_a_plateau_says_where_a_subclass_keeps_its_loss_to_itself(tmp_path: Path, variant: str) -> None:
    class Own(LitClassifier):
        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            return torch.nn.functional.cross_entropy(self(batch[0]), batch[1])

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("mine", 1.0)

    recipe = small_recipe(**{"precision": "fp32", **VARIANTS[variant]})
    step = {"plateau": "training", "held out": "validation"}[variant]
    with pytest.raises(
        UserError, match=f"an epoch had no {step} by LitClassifier's {step}_step; every epoch needs one"
    ):
        trainer_for(tmp_path).fit(Own(recipe, model=net()), datamodule=ImageDataModule(recipe, data=dataset()))


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[LitClassifier, Path]:
    """A classifier whose net the recipe names, trained at 0.123, and its checkpoint."""
    monkeypatch.setitem(registry.ENTRIES["model"], "tiny", "lightning_fits:tiny")
    lit = LitClassifier(small_recipe(), model="tiny", learning_rate=0.123, num_classes=4)
    trainer = trainer_for(tmp_path, fast_dev_run=True)
    trainer.fit(lit, datamodule=ImageDataModule(lit.recipe, data=dataset()))
    trainer.save_checkpoint(tmp_path / "saved.ckpt")
    return lit, tmp_path / "saved.ckpt"


def test_a_checkpoint_gives_the_classifier_back(saved: tuple[LitClassifier, Path]) -> None:
    lit, path = saved
    loaded = LitClassifier.load_from_checkpoint(path)
    assert loaded.recipe == lit.recipe and loaded.learning_rate == 0.123
    assert_same_weights(dict(lit.state_dict()), dict(loaded.state_dict()))
    assert torch.equal(loaded(torch.ones(1, 3, 32, 32)), lit(torch.ones(1, 3, 32, 32)))


def test_a_checkpoint_is_loaded_with_changes(saved: tuple[LitClassifier, Path]) -> None:
    def loaded(**changes: Any) -> LitClassifier:
        found = LitClassifier.load_from_checkpoint(saved[1], **changes)
        assert isinstance(found, LitClassifier)
        return found

    assert loaded(learning_rate=0.4).learning_rate == 0.4
    assert loaded(schedule={"lr_max": 0.5}).learning_rate == 0.5
    assert loaded(schedule=KNOTS).recipe.schedule.options["knots"] == ((0, 0.0), (1, 0.02), (3, 0.0))


def test_ones_own_net_is_handed_in_again(tmp_path: Path) -> None:
    lit, _ = fit(tmp_path, fast_dev_run=True)
    lit.trainer.save_checkpoint(tmp_path / "saved.ckpt")
    with pytest.raises(UserError, match="handed in from Python; hand it in again with model="):
        LitClassifier.load_from_checkpoint(tmp_path / "saved.ckpt")
    loaded = LitClassifier.load_from_checkpoint(tmp_path / "saved.ckpt", model=net(seed=1))
    assert_same_weights(dict(lit.state_dict()), dict(loaded.state_dict()))
