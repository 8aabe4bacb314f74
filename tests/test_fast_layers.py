"""Pooling, BatchNorm and activations by loops in C++: what PyTorch's own give; and when the loops are used."""

from __future__ import annotations

import contextlib
import copy
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import onecycle
from onecycle.hardware import environment, fast, threads
from onecycle.layers import mode, native, pooling
from onecycle.models.whitened_convnet import whitened_convnet

CPU = torch.device("cpu")
NEEDS_COMPILER = pytest.mark.skipif(native.library("loops") is None, reason="this machine has no C++ compiler")
DTYPES = (torch.float32, torch.bfloat16)
SIZES = {"images": st.integers(1, 9), "channels": st.integers(1, 70), "height": st.integers(2, 9)}
SIZES |= {"width": st.integers(2, 9), "dtype": st.sampled_from(DTYPES), "seed": st.integers(0, 2**32)}


@pytest.fixture(autouse=True)
def _any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small tensors go through the loops too, where to call them takes longer."""
    monkeypatch.setattr(mode, "_FEWEST_VALUES", 1)
    monkeypatch.setattr(mode, "_FEWEST_VALUES_OF_NORM", 1)


@pytest.fixture
def beginning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """As in a process that begins, with a cache folder of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CXX", raising=False)
    native.library.cache_clear()
    yield tmp_path / "cache" / "onecycle"
    native.library.cache_clear()


def images_of(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape).to(dtype).contiguous(memory_format=torch.channels_last)


def is_ours(out: Tensor) -> bool:
    return isinstance(out.grad_fn, torch.autograd.function.BackwardCFunction)


def computed(layer: nn.Module, images: Tensor, *, ours: bool) -> list[Tensor]:
    """The output and the gradients of images and parameters."""
    images = images.detach().requires_grad_()
    with onecycle.FastLayers() if ours else contextlib.nullcontext():
        out = layer(images)
    assert is_ours(out) == ours
    torch.manual_seed(1)
    grad = torch.randn(out.shape).to(out.dtype).contiguous(memory_format=torch.channels_last)
    return [out, *torch.autograd.grad(out, [images, *layer.parameters()], grad)]


def batch_norm(channels: int, momentum: float = 0.1) -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(channels, momentum=momentum)
    with torch.no_grad():
        layer.weight.copy_(torch.rand(channels) + 0.5)
        layer.bias.copy_(torch.randn(channels))
    return layer


# --- what they compute ------------------------------------------------------------------------------------------


@NEEDS_COMPILER
@settings(deadline=None, max_examples=60)
@given(**SIZES, levels=st.sampled_from([2, 1000]))
def test_max_pooling_is_pytorchs_to_the_bit_for_any_shape(
    images: int, channels: int, height: int, width: int, dtype: torch.dtype, seed: int, levels: int
) -> None:
    """Also where pixels are alike, of which the first has the gradient, and where one is no number."""
    torch.manual_seed(seed)
    x = (images_of(images, channels, height, width) * levels).round().to(dtype)
    x.permute(0, 2, 3, 1).view(-1)[torch.randint(x.numel(), (3,))] = torch.tensor(
        [float("nan"), float("inf"), -float("inf")]
    ).to(dtype)
    found, expected = (computed(nn.MaxPool2d(2), x, ours=ours) for ours in (True, False))
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype and one.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


@NEEDS_COMPILER
@settings(deadline=None, max_examples=60)
@given(**SIZES, mean=st.sampled_from([0.0, 1.0, 100.0]))  # of 100 bfloat16 keeps halves: the gradient means little
def test_batch_norm_is_as_near_float64_as_pytorchs_for_any_shape(
    images: int, channels: int, height: int, width: int, dtype: torch.dtype, seed: int, mean: float
) -> None:
    torch.manual_seed(seed)
    x, layer = (images_of(images, channels, height, width) + mean).to(dtype), batch_norm(channels)
    layers = layer, copy.deepcopy(layer), copy.deepcopy(layer).double()
    found = computed(layers[0], x, ours=True)
    expected = computed(layers[1], x, ours=False)
    torch.manual_seed(1)
    grad = torch.randn(x.shape).to(dtype).double()
    wide = x.double().requires_grad_()
    out = layers[2](wide)
    truth = [out, *torch.autograd.grad(out, [wide, *layers[2].parameters()], grad)]
    moments = [[one.running_mean, one.running_var] for one in layers]
    # What is added up may nearly cancel out: rounding goes by the size of the summands.
    inverse = (wide.var((0, 2, 3), correction=0) + 1e-5).rsqrt().max().item()
    largest, total = grad.abs().max().item(), grad.abs().sum().item()
    summands = [3 + x.abs().max().item() * inverse, 3 * inverse * largest, 3 * total, total, mean + 3, mean + 3]
    everything = zip(found + moments[0], expected + moments[1], truth + moments[2], summands, strict=True)
    for one, other, true, summand in everything:
        assert one.dtype == other.dtype and one.shape == other.shape
        rounding = torch.finfo(one.dtype).eps * (mean + 1) * summand
        assert (one - true).abs().max() <= 1.5 * (other - true).abs().max() + rounding
    assert layers[0].num_batches_tracked == 1


@NEEDS_COMPILER
@settings(deadline=None, max_examples=40)
@given(**{key: one for key, one in SIZES.items() if key != "dtype"}, inplace=st.booleans())
def test_relu_is_pytorchs_for_any_shape(
    images: int, channels: int, height: int, width: int, seed: int, inplace: bool
) -> None:
    """Also of zeros and of what is no number; in place the images themselves are changed."""
    torch.manual_seed(seed)
    x = images_of(images, channels, height, width).round().bfloat16()
    x.permute(0, 2, 3, 1).view(-1)[torch.randint(x.numel(), (3,))] = torch.tensor([torch.nan, -0.0, 3.0]).bfloat16()
    layer = nn.Sequential(nn.Identity(), nn.ReLU(inplace))

    def found(*, ours: bool) -> list[Tensor]:
        leaf = x.clone().requires_grad_()
        before = leaf * 1
        with onecycle.FastLayers() if ours else contextlib.nullcontext():
            out = layer(before)
        assert is_ours(out) == ours and (out.data_ptr() == before.data_ptr()) == inplace
        torch.manual_seed(1)
        grad = torch.randn(out.shape).bfloat16().contiguous(memory_format=torch.channels_last)
        return [out, before, *torch.autograd.grad(out, leaf, grad)]

    for one, other in zip(found(ours=True), found(ours=False), strict=True):
        assert one.dtype == other.dtype and one.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


@NEEDS_COMPILER
def test_gelu_of_every_bfloat16_value_is_right_to_its_last_bit_or_to_1e_7() -> None:
    """And the gradient, where PyTorch's is 1 or 2 bits off too, which computes in float32 and rounds."""
    every = torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    every = every[every.isfinite()].view(1, 1, -1, 255).contiguous(memory_format=torch.channels_last)
    truth = every.double().requires_grad_()
    out = F.gelu(truth)
    expected = [out, *torch.autograd.grad(out, truth, torch.ones_like(out))]
    leaf = every.clone().requires_grad_()
    with onecycle.FastLayers():
        out = F.gelu(leaf)
    assert is_ours(out)
    found = [out, *torch.autograd.grad(out, leaf, torch.ones_like(out))]
    for one, other, tiny in zip(found, expected, (1e-7, 2e-5), strict=True):
        assert not one.isnan().any()
        assert ((one - other).abs() <= 2**-8 * other.abs() + tiny).all()
    with onecycle.FastLayers():
        least, most = (
            F.gelu(torch.full((1, 2, 2, 2), value).bfloat16().contiguous(memory_format=torch.channels_last))
            for value in (torch.nan, torch.inf)
        )
    assert least.isnan().all() and (most == torch.inf).all()


@NEEDS_COMPILER
@settings(deadline=None, max_examples=30)
@given(images=st.integers(1, 9), channels=st.integers(1, 70), side=st.integers(1, 40), seed=st.integers(0, 2**32))
def test_gelu_is_as_near_float64_as_pytorchs_for_any_shape(images: int, channels: int, side: int, seed: int) -> None:
    torch.manual_seed(seed)
    x = images_of(images, channels, side, side, dtype=torch.bfloat16)
    for one, other in zip(*(computed(nn.GELU(), x, ours=ours) for ours in (True, False)), strict=True):
        assert one.dtype == other.dtype and one.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(one, other, rtol=2**-7, atol=1e-4)  # a bit of either's rounding


@NEEDS_COMPILER
def test_batch_norm_of_many_pixels_far_from_zero_loses_nothing() -> None:
    torch.manual_seed(0)
    x = images_of(64, 2, 128, 128) + 300
    out = computed(nn.BatchNorm2d(2), x, ours=True)[0]
    truth = nn.BatchNorm2d(2).double()(x.double())
    assert (out - truth).abs().max() < 1e-3  # of a pixel, 300 +- 1, float32 keeps 3e-5


@NEEDS_COMPILER
def test_a_gradient_that_lies_otherwise_in_memory_is_taken() -> None:
    for layer in (nn.MaxPool2d(2), batch_norm(5), nn.ReLU(), nn.GELU()):
        x = images_of(4, 5, 6, 8, dtype=torch.bfloat16).requires_grad_()
        with onecycle.FastLayers():
            out = layer(x)
        grad = torch.randn(out.shape).to(out.dtype)
        for one in (grad, grad[:1].expand_as(out)):
            first, second = (
                torch.autograd.grad(out, x, g, retain_graph=True)[0]
                for g in (one, one.contiguous(memory_format=torch.channels_last))
            )
            assert torch.equal(first, second)


@NEEDS_COMPILER
def test_the_same_bits_each_time_and_nearly_the_same_on_any_number_of_threads() -> None:
    x, layer = images_of(16, 24, 15, 15, dtype=torch.bfloat16), batch_norm(24)
    first, second = (computed(copy.deepcopy(layer), x, ours=True) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    with threads(3):
        third = computed(layer, x, ours=True)
    for one, other in zip(first, third, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-2)


@NEEDS_COMPILER
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_nets_gradients_are_as_true_as_with_pytorchs_own(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the whole net of fast94, beside float64."""
    torch.manual_seed(0)
    net = whitened_convnet(10, widths=(16, 32, 32)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x, labels = images_of(64, 3, 32, 32), torch.arange(64) % 10

    def gradients(net: nn.Module, x: Tensor) -> Tensor:
        net.zero_grad()
        F.cross_entropy(net(x).float(), labels).backward()
        return torch.cat([p.grad.flatten().double() for p in net.parameters() if p.grad is not None])

    with fast(precision, CPU):
        ours = gradients(net, x)
    monkeypatch.setattr(native, "library", lambda name: None)
    with fast(precision, CPU):
        theirs = gradients(net, x)
    net.double()
    net.whitening.double()
    logits = net(x.double())
    net.zero_grad()
    F.cross_entropy(logits, labels).backward()
    truth = torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])
    assert 0 < (ours - truth).norm() < 1.5 * (theirs - truth).norm()


# --- when they are used -----------------------------------------------------------------------------------------


@NEEDS_COMPILER
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_net_on_the_processor_computes_with_them(precision: str) -> None:
    x = images_of(4, 8, 8, 8)
    with fast(precision, CPU):
        x = F.conv2d(x, images_of(8, 8, 1, 1).requires_grad_())
        assert is_ours(F.max_pool2d(x, 2)) and is_ours(nn.BatchNorm2d(8)(x))
        assert is_ours(F.relu(x)) == is_ours(F.gelu(x)) == (precision == "bf16")


@NEEDS_COMPILER
@pytest.mark.parametrize(
    ("images", "layer"),
    [
        (images_of(4, 8, 8, 8), nn.MaxPool2d(3)),
        (images_of(4, 8, 8, 8), nn.MaxPool2d(2, stride=1)),
        (images_of(4, 8, 8, 8), nn.MaxPool2d(2, padding=1)),
        (images_of(4, 8, 8, 8), nn.MaxPool2d(2, dilation=2)),
        (images_of(4, 8, 7, 7), nn.MaxPool2d(2, ceil_mode=True)),
        (images_of(4, 8, 8, 8).double(), nn.MaxPool2d(2)),
        (torch.randn(4, 8, 8, 8), nn.MaxPool2d(2)),
        (torch.randn(8, 8, 8), nn.MaxPool2d(2)),
        (images_of(4, 8, 8, 8), nn.GELU()),
        (images_of(4, 8, 8, 8), nn.ReLU()),
        (images_of(4, 8, 8, 8, dtype=torch.bfloat16), nn.GELU(approximate="tanh")),
        (images_of(4, 8, 8, 8).double(), nn.ReLU()),
        (torch.randn(4, 8, 8, 8), nn.ReLU()),
        (images_of(4, 8, 8, 8), nn.BatchNorm2d(8, affine=False)),
        (images_of(4, 8, 8, 8), nn.BatchNorm2d(8, track_running_stats=False)),
        (images_of(4, 8, 8, 8), batch_norm(8).eval()),
        (images_of(4, 8, 8, 8, dtype=torch.bfloat16), batch_norm(8).bfloat16()),
        (images_of(4, 8, 8, 8).double(), batch_norm(8).double()),
    ],
    ids=lambda one: str(one) if isinstance(one, nn.Module) else "x".join(map(str, one.shape)),
)
def test_all_else_is_computed_as_ever(images: Tensor, layer: nn.Module) -> None:
    images, other = images.requires_grad_(), copy.deepcopy(layer)
    with onecycle.FastLayers():
        found = layer(images)
    assert not is_ours(found) and torch.equal(found, other(images))


@NEEDS_COMPILER
def test_indices_are_pytorchs() -> None:
    x = images_of(4, 8, 8, 8)
    with onecycle.FastLayers():
        found = F.max_pool2d(x, 2, return_indices=True)
    assert torch.equal(found[1], F.max_pool2d(x, 2, return_indices=True)[1])


def test_small_tensors_are_computed_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with onecycle.FastLayers():
        assert not is_ours(F.max_pool2d(images_of(4, 8, 8, 8).requires_grad_(), 2))


def test_what_pytorch_refuses_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 1 value per channel"), onecycle.FastLayers():
        batch_norm(8)(images_of(1, 8, 1, 1))
    with pytest.raises(RuntimeError, match="Output size is too small"), onecycle.FastLayers():
        F.max_pool2d(images_of(4, 8, 1, 5), 2)


def test_transforms_of_torch_func_and_torch_compile_compute_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    x = images_of(4, 8, 8, 8)
    wanted = torch.func.vmap(F.max_pool2d, in_dims=(0, None))(x, 2)
    pooled = torch.compile(nn.MaxPool2d(2), backend="aot_eager")
    monkeypatch.setattr(pooling, "max_pooled", None)
    with onecycle.FastLayers():
        assert torch.equal(torch.func.vmap(F.max_pool2d, in_dims=(0, None))(x, 2), wanted)
        assert torch.equal(torch.func.vmap(lambda one: F.max_pool2d(one[None], 2))(x)[:, 0], wanted)
        assert torch.equal(pooled(x), wanted)


def test_a_checkpointed_block_computes_as_ever() -> None:
    """Forward and, in the backward pass, outside the context, again."""
    torch.manual_seed(0)
    block, x = nn.Sequential(nn.MaxPool2d(2), batch_norm(8)), images_of(4, 8, 8, 8).requires_grad_()
    with onecycle.FastLayers():
        out = torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False)
    out.square().sum().backward()
    found, x.grad = x.grad, None
    block(x).square().sum().backward()
    assert found is not None and torch.equal(found, x.grad)


def test_what_pytorch_makes_by_default_changes_nothing() -> None:
    x, layer = images_of(4, 8, 8, 8, dtype=torch.bfloat16), batch_norm(8)
    expected = computed(nn.Sequential(nn.MaxPool2d(2), copy.deepcopy(layer)), x, ours=bool(native.library("loops")))
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"), torch.no_grad():
            found = nn.Sequential(nn.MaxPool2d(2), layer)
            with onecycle.FastLayers():
                assert torch.equal(found(x), expected[0])
    finally:
        torch.set_default_dtype(before)


# --- how they come to be ----------------------------------------------------------------------------------------


@NEEDS_COMPILER
def test_they_are_compiled_once_and_kept(beginning: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert native.library("loops") is not None
    [kept] = beginning.iterdir()
    monkeypatch.setattr(subprocess, "run", None)  # as there is no second time
    native.library.cache_clear()
    assert native.library("loops") is not None and [*beginning.iterdir()] == [kept]


@NEEDS_COMPILER
def test_they_are_compiled_where_nothing_can_be_kept(beginning: Path) -> None:
    beginning.parent.write_text("a file where the cache's folder would be")
    assert native.library("loops") is not None


@NEEDS_COMPILER
def test_a_file_that_is_no_library_is_made_elsewhere(beginning: Path) -> None:
    assert native.library("loops") is not None
    [kept] = beginning.iterdir()
    native.library.cache_clear()
    kept.unlink()
    kept.write_text("half of it")
    assert native.library("loops") is not None


@pytest.mark.parametrize("compiler", ["no-such-compiler", "false", "'"])
def test_without_a_compiler_all_is_computed_as_ever(
    compiler: str, beginning: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", compiler)
    assert native.library("loops") is None
    x = images_of(4, 8, 8, 8).requires_grad_()
    with onecycle.FastLayers():
        assert not is_ours(F.max_pool2d(x, 2)) and not is_ours(batch_norm(8)(x))
    assert environment(CPU)["native_loops"] is False


@NEEDS_COMPILER
def test_a_training_says_that_it_has_them() -> None:
    assert environment(CPU)["native_loops"] is True


@NEEDS_COMPILER
def test_the_source_compiles_without_a_warning(tmp_path: Path) -> None:
    command = [
        "c++",
        *native._OPTIONS,
        "-Wall",
        "-Wextra",
        "-Werror",
        str(native.source("loops")),
        "-o",
        str(tmp_path / "x.o"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
