"""The whitened net: its whitening by the definition, that it is set once and stays, its layers, its training."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from small import StopAt, assert_same_run, dataset, small_recipe, weights
from torch import Tensor, nn

import onecycle
from onecycle import Observer, Recipe, Run, Stopped, UserError, preparation, recipe, training
from onecycle.data import Loader
from onecycle.models.whitened_convnet import Whitening, whitened_convnet

EPS = 5e-4
SMALL: dict[str, Any] = {
    "model": {"name": "whitened_convnet", "widths": [6, 8, 8]},
    "optimizer": {"name": "muon", "adamw_lr": 0.1, "weight_decay": 0.03},
    "schedule": {"name": "piecewise_linear", "epochs": 3, "knots": [[0, 0.2], [3, 0.0]]},
    "augment.resize": [[0, 16], [1, 20], [2, 32]],
    "augment.cutout": 4,
    "precision": "fp32",
}


def correlated(count: int = 5, size: int = 9, seed: int = 0) -> Tensor:
    """Images whose neighbours and channels resemble each other, as those of photographs do."""
    random = np.random.default_rng(seed)
    smooth = np.cumsum(random.normal(size=(count, 3, size, size)), axis=3)
    smooth += 0.3 * np.cumsum(random.normal(size=(count, 1, size, size)), axis=2)
    return torch.from_numpy(smooth / smooth.std()).float()


def moments(images_nchw: Tensor) -> NDArray[np.float64]:
    """The second moments of all patches of 2x2 pixels, one after the other, in float64."""
    total, count = np.zeros((12, 12)), 0
    for image in images_nchw.double().numpy():
        for y in range(image.shape[1] - 1):
            for x in range(image.shape[2] - 1):
                patch = image[:, y : y + 2, x : x + 2].ravel()
                total += np.outer(patch, patch)
                count += 1
    return total / count


def whitened(images_nchw: Tensor) -> NDArray[np.float64]:
    """The filters [24, 12] that are taken from these images."""
    whitening = Whitening()
    whitening.initialize_from(images_nchw)
    return whitening.weight.double().flatten(1).numpy()


# --- the whitening -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 3, 9])
def test_the_projected_patches_have_the_identity_for_second_moments(size: int) -> None:
    images = correlated(40 if size == 2 else 5, size)
    filters, patches = whitened(images), moments(images)
    found = filters[:12] @ patches @ filters[:12].T
    eigenvalues = np.linalg.eigvalsh(patches)
    expected = np.diag(eigenvalues / (eigenvalues + EPS))  # the identity, but for what eps takes
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert eigenvalues.max() > 100 * EPS
    np.testing.assert_allclose(found[-6:, -6:], np.eye(6), atol=0.02)


def test_so_does_what_the_layer_puts_out() -> None:
    images = 10 * correlated(8, 12)
    whitening = Whitening()
    whitening.initialize_from(images)
    with torch.no_grad():
        outputs = whitening(images).double().permute(1, 0, 2, 3).flatten(1).numpy()
    assert outputs.shape == (24, 8 * 11 * 11)
    np.testing.assert_allclose(outputs[:12] @ outputs[:12].T / outputs.shape[1], np.eye(12), atol=0.01)
    np.testing.assert_allclose(outputs[12:], -outputs[:12], atol=1e-5)


def test_the_filters_are_eigenvectors_by_rising_variance_and_their_negatives() -> None:
    images = correlated(20, 9)
    filters, patches = whitened(images), moments(images)
    np.testing.assert_array_equal(filters[12:], -filters[:12])
    eigenvalues, eigenvectors = np.linalg.eigh(patches)
    for row, (value, vector) in enumerate(zip(eigenvalues, eigenvectors.T, strict=True)):
        np.testing.assert_allclose(np.linalg.norm(filters[row]), 1 / np.sqrt(value + EPS), rtol=1e-3)
        assert abs(filters[row] @ vector) / np.linalg.norm(filters[row]) == pytest.approx(1, abs=1e-3)


def test_before_it_is_set_it_has_orthonormal_directions() -> None:
    for _ in range(3):
        filters = Whitening().weight.double().flatten(1).numpy()
        np.testing.assert_allclose(filters[:12] @ filters[:12].T, np.eye(12), atol=1e-6)
        np.testing.assert_array_equal(filters[12:], -filters[:12])


def test_images_without_any_variance_leave_it_finite() -> None:
    for flat in (torch.zeros(3, 3, 8, 8), torch.ones(3, 3, 8, 8)):
        filters = whitened(flat)
        assert np.isfinite(filters).all() and np.abs(filters).max() <= 1.01 / np.sqrt(EPS)


def test_it_is_set_in_place_whatever_the_type_and_the_memory_format() -> None:
    images = correlated(10, 9)
    net = whitened_convnet(4, widths=(4, 4, 4)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    weight = net.whitening.weight
    net.initialize_from(images.bfloat16().to(memory_format=torch.channels_last))
    assert net.whitening.weight is weight and weight.dtype == torch.float32
    assert weight.is_contiguous(memory_format=torch.channels_last) and not weight.requires_grad
    filters, patches = weight.double().flatten(1).numpy(), moments(images.bfloat16())
    eigenvalues = np.linalg.eigvalsh(patches)
    expected = np.diag(eigenvalues / (eigenvalues + EPS))
    np.testing.assert_allclose(filters[:12] @ patches @ filters[:12].T, expected, atol=1e-3)


# --- the net -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pixels", "n", "classes"), [(9, 1, 10), (16, 3, 1), (20, 2, 7), (32, 2, 10), (64, 1, 100)])
def test_logits_shape(pixels: int, n: int, classes: int) -> None:
    net = whitened_convnet(classes, widths=(8, 8, 8)).eval()
    with torch.no_grad():
        assert net(torch.randn(n, 3, pixels, pixels)).shape == (n, classes)


def test_smaller_images_than_it_can_take_are_not_taken() -> None:
    with pytest.raises(RuntimeError, match="too small"):
        whitened_convnet(10, widths=(4, 4, 4))(torch.randn(2, 3, 8, 8))


def test_the_parameters_counted_by_hand() -> None:
    net = whitened_convnet(10)
    whitening = 24 * 3 * 2 * 2
    convs = 9 * (24 * 64 + 64 * 64 + 64 * 256 + 256 * 256 + 256 * 256 + 256 * 256)
    shifts = 2 * (64 + 256 + 256)
    assert sum(p.numel() for p in net.parameters()) == whitening + convs + 2 * shifts + 2560 == 1_972_768
    trained = sum(p.numel() for p in net.parameters() if p.requires_grad)
    assert trained == convs + shifts + 2560 == 1_971_328
    summary = onecycle.summarize_net("whitened_convnet")
    assert (summary.parameters, summary.trainable_parameters) == (1_972_768, 1_971_328)


def test_its_layers_are_those_of_its_docstring() -> None:
    net = whitened_convnet(10)
    names = [*("whitening", "activation", "stage1", "stage2", "stage3", "pool", "flatten", "linear")]
    assert [name for name, _ in net.named_children()] == names
    shapes: dict[str, torch.Size] = {}
    for name, module in net.named_children():
        module.register_forward_hook(lambda module, args, output, name=name: shapes.update({name: output.shape[1:]}))
    with torch.no_grad():
        net.eval()(torch.randn(1, 3, 32, 32))
    assert [tuple(shapes[name]) for name in names] == [
        *((24, 31, 31), (24, 31, 31), (64, 15, 15), (256, 7, 7), (256, 3, 3)),
        *((256, 1, 1), (256,), (10,)),
    ]
    assert [type(layer) for layer in net.stage1 if not isinstance(layer, nn.BatchNorm2d)] == [
        *(nn.Conv2d, nn.MaxPool2d, nn.GELU, nn.Conv2d, nn.GELU),
    ]
    assert [isinstance(layer, nn.BatchNorm2d) for layer in net.stage1] == [
        False,
        False,
        True,
        False,
        False,
        True,
        False,
    ]
    assert isinstance(net.get_submodule(net.explained_layer), nn.Sequential)


def test_filters_begin_as_the_identity_where_they_can() -> None:
    net, maps = whitened_convnet(10), torch.randn(2, 24, 6, 6)
    with torch.no_grad():
        torch.testing.assert_close(net.stage1[0](maps)[:, :24], maps, rtol=0, atol=1e-6)
        wide = torch.randn(2, 256, 6, 6)
        torch.testing.assert_close(net.stage3[4](wide), wide, rtol=0, atol=1e-6)
        narrowed = whitened_convnet(10, widths=(8, 4, 4)).stage1[0](maps)
        torch.testing.assert_close(narrowed, maps[:, :8], rtol=0, atol=1e-6)
    rest = net.get_parameter("stage1.0.weight")[24:]
    assert rest.std() > 0.01 and net.linear.bias is None


@pytest.mark.parametrize("width", [16, 256])
def test_the_linear_layers_weights_and_the_logits_are_both_scaled(width: int) -> None:
    """So that the function is that of weights of variance 1 and logits divided by the width, as airbench has it."""
    net = whitened_convnet(100, widths=(8, 8, width)).eval()
    weight = net.linear.weight.detach()
    assert weight.std().item() == pytest.approx(width**-0.5, rel=0.1)
    assert weight.mean().item() == pytest.approx(0, abs=0.1 * width**-0.5)
    images = torch.randn(3, 3, 20, 20)
    with torch.no_grad():
        features = net.flatten(net.pool(net.stage3(net.stage2(net.stage1(net.activation(net.whitening(images)))))))
        expected = features.double() @ (weight.double() * width**0.5).T / width
        torch.testing.assert_close(net(images).double(), expected, rtol=1e-4, atol=1e-6)


def test_norms_shift_and_do_not_scale() -> None:
    norms = [
        m for m in whitened_convnet(10, norm_momentum=0.3, norm_eps=1e-3).modules() if isinstance(m, nn.BatchNorm2d)
    ]
    assert [norm.num_features for norm in norms] == [64, 64, 256, 256, 256, 256]
    for norm in norms:
        assert not norm.weight.requires_grad and norm.bias.requires_grad
        assert torch.equal(norm.weight, torch.ones_like(norm.weight))
        assert (norm.momentum, norm.eps) == (0.3, 1e-3)


@pytest.mark.parametrize(("activation", "kind"), [("gelu", nn.GELU), ("silu", nn.SiLU), ("relu", nn.ReLU)])
def test_the_activation_stands_in_every_place(activation: Any, kind: type[nn.Module]) -> None:
    net = whitened_convnet(10, activation=activation)
    assert sum(isinstance(m, nn.GELU | nn.SiLU | nn.ReLU) for m in net.modules()) == 7
    assert sum(isinstance(m, kind) for m in net.modules()) == 7


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("widths", [64, 256], "three numbers"),
        ("widths", [64, 256, 0], "greater than or equal to 1"),
        ("widths", [64, 256, 5000], "less than or equal to 4096"),
        ("activation", "gel", "did you mean 'gelu'"),
        ("norm_momentum", 0, "greater than 0"),
        ("norm_momentum", 1.5, "less than or equal to 1"),
        ("norm_eps", 0, "greater than 0"),
        ("width", 64, "did you mean 'widths'"),
    ],
)
def test_options_that_cannot_be_are_refused_in_one_line(option: str, value: Any, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        recipe("custom_resnet", model={"name": "whitened_convnet", option: value})
    assert len(caught.value.problems) == 1 and f"model.{option}" in caught.value.problems[0]


# --- in a training -----------------------------------------------------------------------------------------------


def train(out: Path, observer: Observer | None = None, **changes: Any) -> Run:
    wanted = small_recipe(**{**SMALL, **changes})
    return onecycle.train(wanted, data=dataset(), out=out, device="cpu", observer=observer or Observer())


def plain_images(wanted: Recipe) -> Tensor:
    mean, std = wanted.data.statistics
    loader = Loader(preparation.split(wanted, dataset()).train, batch_size=60, mean=mean, std=std)
    return torch.cat([batch.images_nchw for batch in loader.in_order()])


@pytest.mark.parametrize("changes", [{}, {"ema.decay": 0.9}, {"data.val_fraction": 0.2}], ids=str)
def test_training_takes_it_from_its_plain_images_and_leaves_it_there(changes: dict[str, Any], tmp_path: Path) -> None:
    run = train(tmp_path / "run", **changes)
    expected = Whitening().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    expected.initialize_from(plain_images(run.recipe))
    assert torch.equal(weights(run)["whitening.weight"], expected.weight)
    untrained = preparation.build_net(run.recipe, 4).state_dict()
    moved = [name for name, value in weights(run).items() if not torch.equal(value, untrained[name])]
    assert "stage1.0.weight" in moved and "stage1.2.bias" in moved and "stage1.2.weight" not in moved


def test_it_learns(tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "augment.crop_padding": 0,
        "augment.cutout": 0,
        "schedule.epochs": 8,
        "schedule.knots": [[0, 0.2], [8, 0]],
    }
    run = train(tmp_path / "run", **{"model.widths": [12, 16, 16], **changes})
    assert run.summary["test"]["accuracy"] > 0.9


@pytest.mark.parametrize("changes", [{}, {"precision": "bf16", "ema.decay": 0.9}], ids=["fp32", "bf16, ema"])
def test_stopped_and_resumed_at_any_step_it_is_the_same_run(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With orthogonalised updates, the whitening, and another side in each epoch."""
    monkeypatch.setattr(training, "FLUSH_SECONDS", 0.0)
    changes = {"data.train_limit": 40, "data.batch_size": 12, **changes}  # twelve steps, as of all images
    whole = train(tmp_path / "whole", **changes)
    assert whole.summary["steps"] == 12
    called: list[int] = []
    original = Whitening.initialize_from

    def counted(self: Whitening, images_nchw: Tensor) -> None:
        called.append(len(images_nchw))
        original(self, images_nchw)

    monkeypatch.setattr(Whitening, "initialize_from", counted)
    for step in range(1, 12):
        folder = tmp_path / f"stopped{step}"
        with pytest.raises(Stopped):
            train(folder, StopAt(step), **changes)
        assert called == [40]
        resumed = onecycle.resume(folder, data=dataset(), device="cpu", observer=Observer())
        assert called == [40]
        assert_same_run(whole, resumed)
        called.clear()


def test_any_net_may_take_its_first_weights_from_the_images(tmp_path: Path) -> None:
    given: list[Tensor] = []

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.steps = nn.Linear(3, 4), itertools.count()

        def initialize_from(self, images_nchw: Tensor) -> None:
            assert next(self.steps) == 0
            given.append(images_nchw.clone())

        def forward(self, images_nchw: Tensor) -> Tensor:
            next(self.steps)
            logits: Tensor = self.linear(images_nchw.mean((2, 3)))
            return logits

    run = onecycle.train(small_recipe(), model=Own(), data=dataset(), out=tmp_path / "run", device="cpu")
    assert len(given) == 1
    torch.testing.assert_close(given[0].float(), plain_images(run.recipe), rtol=0, atol=0.02)  # in the precision used


def test_of_many_images_the_first_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation, "INITIAL_IMAGES", 30)
    net, other = (whitened_convnet(4, widths=(4, 4, 4)) for _ in range(2))
    loader = Loader(dataset().train, batch_size=25)
    preparation.initialize(net, loader)
    other.initialize_from(torch.cat([batch.images_nchw for batch in loader.in_order()])[:30])
    assert torch.equal(net.whitening.weight, other.whitening.weight)
    preparation.initialize(nn.Linear(3, 3), loader)  # has nothing to set


def test_a_range_test_sets_its_copies_and_leaves_the_net_handed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(4)
    net = whitened_convnet(4, widths=(6, 8, 8))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    strides = [parameter.stride() for parameter in net.parameters()]
    called: list[Whitening] = []
    original = Whitening.initialize_from

    def counted(self: Whitening, images_nchw: Tensor) -> None:
        called.append(self)
        original(self, images_nchw)

    monkeypatch.setattr(Whitening, "initialize_from", counted)
    wanted = small_recipe(**{"augment.resize": [[0, 16]], "augment.cutout": 4})
    options: dict[str, Any] = {"sweeps": 2, "steps": 30, "lr_start": 1e-4, "lr_end": 1.0, "device": "cpu"}
    onecycle.find_lr(wanted, model=net, data=dataset(), **options)
    assert len(called) == 2 and net.whitening not in called
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert [parameter.stride() for parameter in net.parameters()] == strides
