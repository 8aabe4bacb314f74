"""Recipes in Lightning: the same training as our own loop's, with somebody else's Trainer."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.tuner import Tuner
from lightning_fits import KNOTS, VARIANTS, Memory, assert_same_weights, fit, tiny, trainer_for
from PIL import Image
from small import dataset, images, net, small_recipe, weights
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import onecycle
from onecycle import Dataset, Observer, Recipe, Run, UserError, evaluation, recipe, registry
from onecycle.data import Augmentation, Loader
from onecycle.launch.lightning import ImageDataModule, LitClassifier

pytestmark = [
    # Lightning's own use of torch, which torch has renamed.
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning"),
]


def run_own(folder: Path, **changes: Any) -> Run:
    recipe = small_recipe(**{"precision": "fp32", **changes})
    return onecycle.train(recipe, model=net(), data=dataset(), out=folder, device="cpu", observer=Observer())


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_equals_our_own_loop(tmp_path: Path, variant: str) -> None:
    """Every loss and weight bit for bit; what Lightning logs it rounds to float32."""
    changes = VARIANTS[variant]
    run = run_own(tmp_path / "run", **changes)
    torch.manual_seed(123)
    lit, memory = fit(tmp_path, changes)
    rows = run.metrics()
    assert memory.all("train_loss_step") == [row["loss"] for row in run.steps()]
    assert memory.all("lr") == pytest.approx([row["lr"] for row in run.steps()], rel=1e-6)
    assert_same_weights(dict(lit.net.state_dict()), weights(run))
    assert memory.all("train_loss") == pytest.approx([row["train_loss"] for row in rows], rel=1e-6)
    assert memory.all("train_acc") == pytest.approx([row["train_accuracy"] for row in rows], rel=1e-6)
    validated = "val" if "data.val_fraction" in changes else "test"
    assert memory.all("val_loss") == pytest.approx([row[f"{validated}_loss"] for row in rows], rel=1e-6)
    assert memory.all("val_acc") == pytest.approx([row[f"{validated}_accuracy"] for row in rows], rel=1e-6)


@pytest.mark.parametrize("variant", ["ema", "drop last", "unsure"])
def test_the_test_equals_our_own(tmp_path: Path, variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LitClassifier, "draw_mistakes", lambda self: None)
    run = run_own(tmp_path / "run", **VARIANTS[variant])
    lit, _ = fit(tmp_path, VARIANTS[variant])
    data = ImageDataModule(lit.recipe, data=dataset())
    [tested] = trainer_for(tmp_path).test(lit, datamodule=data, verbose=False)
    expected = run.summary["test"]
    assert tested.pop("test_loss") == pytest.approx(expected["loss"], rel=1e-6)
    assert tested.pop("test_acc") == pytest.approx(expected["accuracy"], rel=1e-6)
    assert tested == ({"test_acc_tta": pytest.approx(expected["accuracy_tta"])} if variant != "ema" else {})


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_net_that_begins_with_the_images_equals_our_own_loop(tmp_path: Path, precision: str) -> None:
    recipe = small_recipe(
        model={"name": "whitened_convnet", "widths": [6, 8, 8]},
        optimizer={"name": "sgd"},
        **{"augment.resize": [[0, 16], [2, 32]], "precision": precision},
    )
    run = onecycle.train(recipe, data=dataset(), out=tmp_path / "run", device="cpu", observer=Observer())
    lit, memory = LitClassifier(recipe, num_classes=4), Memory()
    before = lit.net.get_parameter("whitening.weight").clone()
    trainer = trainer_for(tmp_path, memory, precision=lit.precision)
    trainer.fit(lit, datamodule=ImageDataModule(recipe, data=dataset()))
    assert memory.all("train_loss_step") == [row["loss"] for row in run.steps()]
    assert_same_weights(dict(lit.net.state_dict()), weights(run))
    assert not torch.equal(before, lit.net.get_parameter("whitening.weight"))


def test_epochs_over_the_hardest_images_are_refused() -> None:
    with pytest.raises(UserError, match=r"data\.hardest is for onecycle\.train; data=\{'hardest': \[\]\}") as caught:
        ImageDataModule(small_recipe(**{"data.hardest": [[1, 0.5]]}), data=dataset())
    assert len(caught.value.problems) == 1
    wanted = small_recipe(**{"data.hardest": [[1, 0.5]]})
    assert ImageDataModule(wanted, data={"hardest": []}).recipe.data.hardest == ()  # as the line says
    assert ImageDataModule(recipe(wanted, data={"hardest": []}), data=dataset()).recipe.data.hardest == ()


def test_a_net_of_ones_own_without_an_output_for_each_class_is_refused(tmp_path: Path) -> None:
    recipe = small_recipe(precision="fp32")
    lit = LitClassifier(recipe, model=tiny(3))
    with pytest.raises(UserError, match=r"gives float32 \[1, 3\] for one image; floats \[1, 4\] are needed"):
        trainer_for(tmp_path).fit(lit, datamodule=ImageDataModule(recipe, data=dataset()))


@pytest.mark.parametrize(
    ("model", "said"),
    [(nn.Flatten(), "has no parameter that trains"), (nn.Sequential(nn.Flatten(), nn.LazyLinear(4)), "lazy layers")],
    ids=["nothing to train", "lazy"],
)
def test_a_net_without_weights_is_refused_in_a_line(tmp_path: Path, model: nn.Module, said: str) -> None:
    recipe = small_recipe(precision="fp32")
    with pytest.raises(UserError, match=said):
        trainer_for(tmp_path).fit(
            LitClassifier(recipe, model=model), datamodule=ImageDataModule(recipe, data=dataset())
        )


def test_a_loader_is_not_taken_for_the_images_validated_before(tmp_path: Path) -> None:
    recipe = small_recipe(**{"precision": "fp32", "loss.class_weights": "balanced"})
    lit, trainer = LitClassifier(recipe, model=net()), trainer_for(tmp_path)
    trainer.validate(lit, datamodule=ImageDataModule(recipe, data=dataset()), verbose=False)
    loader = DataLoader(TensorDataset(torch.rand(8, 3, 32, 32), torch.zeros(8, dtype=torch.int64)), batch_size=4)
    with pytest.raises(UserError, match=r"class_weights balanced counts the images of an ImageDataModule; none"):
        trainer.fit(lit, loader, loader)


def test_mistakes_are_collected_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, Any] = {}
    gallery = sys.modules["onecycle.plots.gallery"]
    draw = gallery.gallery

    def spy(pixels: Any, lines: Any, title: str) -> Any:
        drawn.update(pixels=pixels, words=[line.words for line in lines[0]])
        return draw(pixels, lines, title)

    monkeypatch.setattr(gallery, "gallery", spy)
    lit, data = LitClassifier(small_recipe(), model=net()), dataset()
    [tested] = trainer_for(tmp_path).test(lit, datamodule=ImageDataModule(small_recipe(), data=data), verbose=False)
    loader = Loader(
        data.test, batch_size=7, mean=data.train.channel_statistics()[0], std=data.train.channel_statistics()[1]
    )
    logits = evaluation.predict_logits(net(), loader).numpy()
    wrong = np.flatnonzero(logits.argmax(1) != data.test.labels)
    assert lit.mistakes is not None and 20 < len(wrong) == len(lit.mistakes)
    assert tested["test_acc"] == pytest.approx(1 - len(wrong) / 60)
    assert sorted(lit.mistakes.index) == list(wrong)
    assert np.array_equal(lit.mistakes.predicted, logits.argmax(1)[lit.mistakes.index])
    assert np.all(np.diff(lit.mistakes.predicted_probability) <= 0)
    assert np.array_equal(drawn["pixels"], data.test.images_nhwc[lit.mistakes.index[:20]])
    first = lit.mistakes.index[0]
    predicted, true = logits[first].argmax(), data.test.labels[first]
    assert drawn["words"] == [f"predicted: class {predicted}", f"true: class {true}"]
    with Image.open(tmp_path / "misclassified.png") as picture:
        assert picture.width > 600


@pytest.mark.parametrize("count", [60, 90])
def test_the_images_of_another_loader_are_not_taken_for_those_of_the_fit(tmp_path: Path, count: int) -> None:
    lit, trainer = LitClassifier(small_recipe(), model=net()), trainer_for(tmp_path)
    trainer.fit(lit, datamodule=ImageDataModule(small_recipe(), data=dataset()))
    other = TensorDataset(torch.randn(count, 3, 32, 32), torch.arange(count) % 4)
    trainer.test(lit, DataLoader(other, 30))
    assert lit.mistakes and not (tmp_path / "misclassified.png").exists()


def test_predictions_are_logits_of_the_test_set(tmp_path: Path) -> None:
    lit = LitClassifier(small_recipe(), model=net())
    predicted = trainer_for(tmp_path).predict(lit, datamodule=ImageDataModule(small_recipe(), data=dataset()))
    mean, std = dataset().train.channel_statistics()
    logits = evaluation.predict_logits(net(), Loader(dataset().test, batch_size=60, mean=mean, std=std))
    assert torch.equal(torch.cat(predicted), logits)


# Lightning advises workers for every torch DataLoader.
@pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers:UserWarning")
def test_ones_own_loaders_work_too(tmp_path: Path) -> None:
    ours = images(60)
    pixels = torch.from_numpy(ours.images_nhwc).permute(0, 3, 1, 2).float() / 255
    loader = DataLoader(TensorDataset(pixels, torch.from_numpy(ours.labels)), batch_size=20)
    lit, memory = LitClassifier(small_recipe(), model=net()), Memory()
    trainer = trainer_for(tmp_path, memory, accumulate_grad_batches=2)
    trainer.fit(lit, loader, loader)
    assert len(memory.all("val_loss")) == 3
    assert trainer.global_step == 6
    trainer.test(lit, loader, verbose=False)
    assert lit.mistakes is not None and lit.draw_mistakes() is None


@pytest.mark.parametrize(("limit", "accumulate", "steps"), [(1.0, 1, 4), (3, 1, 3), (1.0, 2, 2)])
def test_the_schedule_ends_with_the_training(tmp_path: Path, limit: float, accumulate: int, steps: int) -> None:
    """As many steps of the schedule as of the optimiser, whatever the Trainer makes of an epoch."""
    _, memory = fit(tmp_path, limit_train_batches=limit, accumulate_grad_batches=accumulate)
    rates = memory.all("lr")
    assert len(rates) == 3 * steps
    assert max(rates) == rates[steps - 1] == pytest.approx(0.02)
    assert rates[0] == rates[-1] == pytest.approx(0.001)


def test_dropout_differs_between_accumulated_batches(tmp_path: Path) -> None:
    seen = []

    class Watch(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
            seen.append(torch.initial_seed())

    fit(tmp_path, accumulate_grad_batches=2, callbacks=[Watch()])
    assert len(set(seen)) == len(seen) == 12


def test_a_trainer_that_departs_from_the_recipe_is_warned_of(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="the Trainer makes 8 steps, the schedule has 12"):
        fit(tmp_path, max_epochs=2)
    with pytest.warns(UserWarning, match="precision bf16-mixed is used, not the recipe's fp32"):
        fit(tmp_path, precision="bf16-mixed")


def test_a_dry_run_draws_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lit, _ = fit(tmp_path, fast_dev_run=True)
    trainer_for(tmp_path, fast_dev_run=True).test(lit, datamodule=ImageDataModule(lit.recipe, data=dataset()))
    assert not list(tmp_path.rglob("*.png"))


def test_lightnings_learning_rate_finder_sets_the_peak(tmp_path: Path) -> None:
    recipe = small_recipe(**{"precision": "fp32", "schedule.epochs": 6})
    lit, data = LitClassifier(recipe, model=net()), ImageDataModule(recipe, data=dataset())
    memory = Memory()
    trainer = trainer_for(tmp_path, memory, max_epochs=6)
    found = Tuner(trainer).lr_find(lit, datamodule=data, min_lr=1e-3, max_lr=0.3, num_training=20)
    assert found is not None and lit.learning_rate == found.suggestion()
    assert found.results["lr"][-1] == pytest.approx(0.3), "the schedule was in the finder's way"
    memory.rows.clear()
    trainer.fit(lit, datamodule=data)
    lit_anew, memory_anew = LitClassifier(recipe, model=net(), learning_rate=found.suggestion()), Memory()
    trainer_for(tmp_path, memory_anew, max_epochs=6).fit(lit_anew, datamodule=ImageDataModule(recipe, data=dataset()))
    assert memory.all("lr") == memory_anew.all("lr")
    assert memory.all("train_loss_step") == memory_anew.all("train_loss_step")
    assert max(memory.all("lr")) == pytest.approx(found.suggestion())


def test_the_images_without_a_trainer() -> None:
    recipe = small_recipe(**{"data.val_fraction": 0.2, "data.drop_last": True})
    module, train = ImageDataModule(recipe, data=dataset(), batch_size=50), dataset().train
    module.setup("fit")
    assert module.sets is not None and module.sets.val is not None
    batches = module.train_dataloader()
    mean, std = module.recipe.data.statistics
    assert (mean, std) == module.sets.train.channel_statistics()
    loader = Loader(
        module.sets.train,
        batch_size=50,
        augmentation=Augmentation(**recipe.augment.model_dump()),
        drop_last=True,
        mean=mean,
        std=std,
    )
    for epoch in range(2):
        ours = list(batches)
        assert len(ours) == len(batches) == 3
        for one, other in zip(ours, loader.epoch(epoch), strict=True):
            assert all(torch.equal(left, right) for left, right in zip(one, other, strict=True))
    assert len(module.val_dataloader()) == len(list(module.val_dataloader())) == 1
    assert torch.equal(next(iter(module.val_dataloader())).labels, torch.from_numpy(module.sets.val.labels))
    assert len(train) == 200 and len(module.test_dataloader()) == len(list(module.test_dataloader())) == 2


def test_overfitting_sees_the_same_batches(tmp_path: Path) -> None:
    seen = []

    class Watch(Callback):
        def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
            seen.append(batch.samples)

    fit(tmp_path, overfit_batches=1, callbacks=[Watch()])
    assert len(seen) == 3 and all(torch.equal(samples, seen[0]) for samples in seen)


def test_the_courses_arguments(tmp_path: Path) -> None:
    lit = LitClassifier("custom_resnet", model=net(), learning_rate=0.03, weight_decay=1e-4, **{"schedule.lr_min": 0.0})
    assert lit.recipe.schedule.options["lr_max"] == lit.learning_rate == 0.03
    assert lit.recipe.optimizer.options["weight_decay"] == 1e-4
    module = ImageDataModule("digits", data_dir=tmp_path, batch_size=256)
    module.prepare_data()
    module.setup("fit")
    assert next(iter(module.train_dataloader())).images_nchw.shape == (256, 3, 32, 32)


def test_what_cannot_work_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.ENTRIES["model"], "tiny", "lightning_fits:tiny")
    with pytest.raises(
        UserError, match=r"the net has 10 outputs and the images 4 classes; LitClassifier\(..., num_classes=4\)"
    ):
        trainer_for(tmp_path).test(
            LitClassifier(small_recipe(), model="tiny"),
            datamodule=ImageDataModule("digits", data=dataset(), batch_size=60),
        )
    with pytest.raises(UserError, match="has knots, no single rate"):
        LitClassifier(small_recipe(schedule=KNOTS), model=net(), learning_rate=0.1)
    with pytest.raises(UserError, match=r"schedule.lr_max is 'find'; give it onecycle.find_lr"):
        LitClassifier(small_recipe(**{"schedule.lr_max": "find"}), model=net())
    with pytest.raises(UserError, match="weight_decay"):
        LitClassifier(small_recipe(), model=net(), weight_decay=-1.0)
    with pytest.raises(UserError, match="data is a list"):
        ImageDataModule(small_recipe(), data=[1, 2])  # type: ignore[arg-type]


def few_images(*, data_dir: Path | None = None, image_size: int = 32) -> Dataset:
    return Dataset(images(300, 0, classes=10), images(20, 1, classes=10))


def few_epochs() -> Recipe:
    return small_recipe(model={"name": "tiny"})


# Lightning says so of a Trainer without a logger of its own, where there is no TensorBoard.
@pytest.mark.filterwarnings("ignore:Starting from v1.9.0, `tensorboardX` has been removed:UserWarning")
# And of its table of layers, which the other tests leave out.
@pytest.mark.filterwarnings("ignore:Precision bf16-mixed is not supported by the model summary:UserWarning")
# The page's Trainers log every 50 steps, and there are fewer.
@pytest.mark.filterwarnings("ignore:The number of training batches .* is smaller than the logging interval")
def test_the_pages_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a few images, and with a recipe of seconds in the place of one of hours."""
    text = (Path(__file__).parents[1] / "docs" / "lightning.md").read_text(encoding="utf-8")
    monkeypatch.setitem(registry.ENTRIES["model"], "tiny", "lightning_fits:tiny")
    monkeypatch.setitem(registry.ENTRIES["data"], "cifar10", "test_lightning:few_images")
    monkeypatch.setitem(registry.ENTRIES["recipe"], "era_s12_lightning", "test_lightning:few_epochs")
    monkeypatch.setattr(onecycle.data, "cifar10", few_images)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec(block, names)
    assert names["best"].learning_rate == 0.03
    assert (tmp_path / "logs").is_dir() and list(tmp_path.rglob("misclassified.png"))
    assert torch.cat(names["logits"]).shape == (20, 10)


def test_several_processes_are_refused() -> None:
    """Each of them would be fed the same batches."""
    module = ImageDataModule(small_recipe(), data=dataset())
    module.trainer = Trainer(accelerator="cpu", devices=2, logger=False, enable_checkpointing=False)
    with pytest.raises(UserError, match=r"has 2 processes; onecycle feeds one: Trainer\(devices=1\)"):
        module.setup("fit")


def test_the_hyperparameters_are_logged(tmp_path: Path) -> None:
    _, memory = fit(tmp_path)
    assert memory.parameters["learning_rate"] == 0.02
    assert memory.parameters["name"]["schedule"]["lr_min"] == 0.001


def test_the_classes_are_weighed_as_in_our_own_loop(tmp_path: Path) -> None:
    few = dataset()
    data = Dataset(few.train.subset(np.flatnonzero((few.train.labels != 0) | (np.arange(200) < 40))), few.test)
    wanted = small_recipe(**{"loss.class_weights": "balanced", "schedule.epochs": 2, "precision": "fp32"})
    run = onecycle.train(wanted, model=net(), data=data, out=tmp_path / "run", observer=Observer())
    lit = LitClassifier(wanted, model=net())
    trainer_for(tmp_path, max_epochs=2).fit(lit, datamodule=ImageDataModule(wanted, data=data))
    assert_same_weights(dict(lit.net.state_dict()), weights(run))
    own = DataLoader(TensorDataset(torch.zeros(8, 3, 32, 32), torch.zeros(8).long()), batch_size=4)
    with pytest.raises(UserError, match="class_weights balanced counts the images of an ImageDataModule"):
        trainer_for(tmp_path, max_epochs=2).fit(LitClassifier(wanted, model=net()), own, own)
