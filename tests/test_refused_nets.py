"""Nets, images and recipes that do not fit are refused, and what is refused leaves no folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small import dataset, images, net, small_recipe
from torch import Tensor, nn

import onecycle
from onecycle import ImageSet, Observer, UserError, recipe
from onecycle.recipes import assignments
from onecycle.rehearsal import try_side


class Gives(nn.Module):
    """A net whose answer is that of a linear layer, put into another form."""

    def __init__(self, form: Callable[[Tensor], Any], classes: int = 4) -> None:
        super().__init__()
        self.form, self.head = form, nn.Linear(3072, classes)

    def forward(self, images_nchw: Tensor) -> Any:
        return self.form(self.head(images_nchw.flatten(1)))


def raises(error: Exception) -> Callable[[Tensor], Tensor]:
    """A form of answer that is none; an assertion is what torchvision's and timm's vision transformers have."""

    def form(_: Tensor) -> Tensor:
        raise error

    return form


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Gives(lambda x: x, classes=7), r"gives float32 \[1, 7\] for one image; floats \[1, 4\] are needed"),
        (Gives(lambda x: x, classes=3), r"gives float32 \[1, 3\]"),
        (Gives(lambda x: x[..., None, None]), r"gives float32 \[1, 4, 1, 1\]"),
        (Gives(lambda x: x.argmax(1)), r"gives int64 \[1\]"),
        (Gives(lambda x: (x, x)), "gives a tuple for one image"),
        (Gives(lambda x: x.nothing), r"takes no images of 32 pixels a side \(.*nothing"),
        (
            Gives(raises(AssertionError("Wrong image height! Expected 224 but got 32!"))),
            r"takes no images of 32 pixels a side \(Wrong image height! Expected 224",
        ),
        (net().double(), r"takes no images of 32 pixels a side \(expected scalar type Float but found Double"),
        (nn.Sequential(nn.Flatten(), nn.LazyLinear(4)), "lazy layers that have seen no image yet"),
        (Gives, r"model is the class Gives; hand in a net, Gives\(\.\.\.\)"),
    ],
    ids=["more", "fewer", "maps", "classes", "tuple", "error", "assertion", "double", "lazy", "class"],
)
def test_a_net_whose_answer_is_no_row_of_logits(model: Any, said: str, tmp_path: Path) -> None:
    in_float32 = small_recipe(precision="fp32")  # on a processor with bfloat16, auto gives answers in that
    with pytest.raises(UserError, match=said):
        onecycle.train(in_float32, model=model, data=dataset(), out=tmp_path / "run", observer=Observer())
    assert not (tmp_path / "run").exists()


class Smooth(nn.Module):
    """A net with an operation that a processor has in float32 alone, and a GPU in bfloat16 too."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 4)

    def forward(self, images_nchw: Tensor) -> Tensor:
        return self.head(F.interpolate(images_nchw, size=(64, 64), mode="bilinear", antialias=True).mean((2, 3)))


def test_a_net_is_tried_in_the_precision_of_its_training_where_it_is_on_that_device() -> None:
    model = Smooth()
    assert try_side(model, 32, "fails", "fp32", torch.device("cpu")).shape == (1, 4)
    assert try_side(model, 32, "fails", "bf16", torch.device("cuda")).shape == (1, 4)
    with pytest.raises(UserError, match=r"the net Smooth fails \(.*not implemented for 'BFloat16'"):
        try_side(model, 32, "fails", "bf16", torch.device("cpu"))
    lacking = Gives(raises(MemoryError()))
    with pytest.raises(MemoryError):
        try_side(lacking, 32, "fails", "fp32", torch.device("cpu"))


class Capsules(nn.Module):
    """A net with a parameter of five dimensions, as capsule networks have."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.scale = nn.Conv2d(3, 4, 3), nn.Parameter(torch.ones(1, 4, 1, 1, 1))

    def forward(self, images_nchw: Tensor) -> Tensor:
        return (self.conv(images_nchw)[..., None] * self.scale).mean((2, 3, 4))


def test_a_net_with_a_parameter_of_five_dimensions_trains(tmp_path: Path) -> None:
    run = onecycle.train(small_recipe(), model=Capsules(), data=dataset(), out=tmp_path / "run", observer=Observer())
    assert (
        run.finished and run.evaluate(model=Capsules(), data=dataset().test).accuracy == run.summary["test"]["accuracy"]
    )


def test_an_average_of_weights_needs_a_net_that_can_be_copied(tmp_path: Path) -> None:
    model = net()
    model.register_buffer("made", torch.ones(1, requires_grad=True) * 2)  # copy.deepcopy takes leaves alone
    with pytest.raises(UserError, match="ema: the net Sequential cannot be copied"):
        onecycle.train(small_recipe(ema={"decay": 0.9}), model=model, data=dataset(), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_balanced_classes_without_images(tmp_path: Path) -> None:
    labels = np.zeros(200, np.int64)
    one_class = onecycle.Dataset(ImageSet(images().images_nhwc, labels, tuple("abcd")), images(60, 1))
    one_class = onecycle.Dataset(one_class.train, ImageSet(images(60, 1).images_nhwc, labels[:60], tuple("abcd")))
    with pytest.raises(UserError, match="class 'b' has no training images"):
        onecycle.train(
            small_recipe(**{"loss.class_weights": "balanced"}), model=net(), data=one_class, out=tmp_path / "run"
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("side", "count", "said"), [(4, 20, "data.image_size 4"), (600, 5, "600"), (32, 0, "0 images")]
)
def test_images_that_no_recipe_takes(side: int, count: int, said: str, tmp_path: Path) -> None:
    given = ImageSet(np.zeros((count, side, side, 3), np.uint8), np.arange(count) % 2, ("a", "b"))
    with pytest.raises(UserError, match=said) as caught:
        onecycle.train(small_recipe(), model=net(), data=given, out=tmp_path / "run")
    assert "pydantic" not in str(caught.value)


def test_images_of_another_size_are_not_evaluated(tmp_path: Path) -> None:
    run = onecycle.train(small_recipe(), model=net(), data=dataset(), out=tmp_path / "run", observer=Observer())
    larger = ImageSet(np.zeros((4, 64, 64, 3), np.uint8), np.arange(4), run.classes)
    with pytest.raises(UserError, match=f"the images have 64 pixels a side; {run.path} was trained on 32"):
        run.evaluate(data=larger, model=net())


def test_parts_that_a_file_leaves_out_can_be_set(tmp_path: Path) -> None:
    bare = tmp_path / "bare.yaml"
    bare.write_text(
        "model: {name: compact}\noptimizer: {name: adam}\nschedule: {name: constant, epochs: 1, lr: 0.01}\n"
    )
    for text in ("resources.cpus=1", "distributed.sync_batchnorm=true", "ema.decay=0.5", "loss.label_smoothing=0.1"):
        key, _, value = text.partition("=")
        part, _, name = key.partition(".")
        assert str(getattr(getattr(recipe(bare, **assignments([text])), part), name)).lower() == value
    assert recipe(bare, ema={}).ema == recipe(bare, **{"ema.decay": 0.999}).ema != None  # noqa: E711
    assert recipe(recipe(bare, ema={"decay": 0.5}), ema={}).ema.decay == 0.5  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "compact"}, r"model 'compact': must be a mapping of keys; for its name model\.name"),
        ({"data": 3}, r"data 3: must be a mapping of keys; for its name data\.name"),
        ({"loss": 3}, "loss 3: must be a mapping of keys$"),
        (
            {"schedule": {"name": "plateau", "lr": 0.1}, "data.hardest": [[1, 0.5]]},
            r"schedule\.monitor train_loss rises where data\.hardest leaves the easy images out; val_loss",
        ),
    ],
    ids=str,
)
def test_recipes_are_refused_in_our_words(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        recipe("custom_resnet", **changes)


def test_sgd_is_not_spoilt_by_a_first_step_that_is_left_out() -> None:
    """As a GradScaler does whose first scale is too large; torch's fused SGD would begin with memory as it is."""
    wanted = [torch.full((1000,), 0.5) for _ in range(3)]
    for momentum in (0.9, 0.0):
        layer = nn.Linear(1000, 1, bias=False)
        before = layer.weight.detach().clone()
        optimizer = onecycle.optim.sgd(layer, momentum=momentum)
        onecycle.optim.set_lr(optimizer, 0.1)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
        reference = torch.optim.SGD([clone := nn.Parameter(before.clone())], 0.1, momentum, nesterov=momentum > 0)
        for grad in (torch.full((1000,), torch.inf), *wanted):
            layer.weight.grad = grad[None] * scaler.get_scale()
            scaler.scale(torch.zeros(()))
            scaler.step(optimizer)
            scaler.update()
            if grad.isfinite().all():
                clone.grad = grad[None].clone()
                reference.step()
            torch.testing.assert_close(layer.weight.detach(), clone.detach())
