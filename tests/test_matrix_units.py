"""Convolutions by matrix units: what PyTorch's own give; and when they are used."""

from __future__ import annotations

import copy
import ctypes
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import onecycle
from onecycle.hardware import environment, fast, threads
from onecycle.layers import matrix_units, native

CPU = torch.device("cpu")
OURS = "_ConvolutionBackward"
NEEDS_UNITS = pytest.mark.skipif(
    not matrix_units.is_available(), reason="this machine has no matrix units (AMX), or no C++ compiler"
)


def images_of(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape).to(dtype).contiguous(memory_format=torch.channels_last)


def conv(inputs: int = 64, outputs: int = 64, **options: object) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, 3, **{"padding": 1, "bias": False, **options})  # type: ignore[arg-type]
    return layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def computed(images: Tensor, layer: nn.Conv2d, *, ours: bool) -> tuple[Tensor, ...]:
    """The output under autocast, and the gradients of images and parameters."""
    images = images.detach().requires_grad_()
    with fast("bf16", CPU) if ours else torch.autocast("cpu", torch.bfloat16):
        out = layer(images)
    torch.manual_seed(1)
    grad = torch.randn(out.shape).to(out.dtype).contiguous(memory_format=torch.channels_last)
    return out, *torch.autograd.grad(out, [images, *layer.parameters()], grad)


def relative_error(found: Tensor, truth: Tensor) -> float:
    return ((found - truth).norm() / truth.norm().clamp(min=1e-30)).item()


def true_to_float64(images: int, inputs: int, outputs: int, height: int, width: int) -> None:
    """The output and both gradients differ from those of the same bfloat16 values by their own rounding alone."""
    x, weight = (images_of(*shape) for shape in ((images, inputs, height, width), (outputs, inputs, 3, 3)))
    values = [one.bfloat16().double().requires_grad_() for one in (x, weight)]
    truth = F.conv2d(*values, padding=1)
    grad = images_of(*truth.shape, dtype=torch.bfloat16)
    leaves = [one.float().detach().requires_grad_() for one in values]
    out = matrix_units.convolved(*leaves)
    found = torch.autograd.grad(out, leaves, grad)
    expected = torch.autograd.grad(truth, values, grad.double())
    assert out.shape == truth.shape and out.dtype == torch.bfloat16
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert [one.dtype for one in found] == [torch.float32, torch.float32]
    assert (out - truth).abs().max() <= 2**-8 * truth.abs().max()
    assert relative_error(out, truth) < 2**-8 and relative_error(found[0], expected[0]) < 2**-8
    assert relative_error(found[1], expected[1]) < 1e-5


# --- what they compute ------------------------------------------------------------------------------------------


@NEEDS_UNITS
@settings(deadline=None, max_examples=60)
@given(
    images=st.integers(1, 70),
    inputs=st.integers(1, 70),
    outputs=st.integers(1, 70),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    seed=st.integers(0, 2**32),
)
def test_any_shape_is_computed(images: int, inputs: int, outputs: int, height: int, width: int, seed: int) -> None:
    torch.manual_seed(seed)
    true_to_float64(images, inputs, outputs, height, width)


@NEEDS_UNITS
@pytest.mark.parametrize(
    "shape", [(40, 24, 64, 31, 31), (33, 256, 128, 5, 40), (32, 96, 32, 64, 3), (64, 512, 512, 2, 2)]
)
def test_more_than_the_cache_holds_is_computed_in_parts(shape: Sequence[int]) -> None:
    torch.manual_seed(0)
    true_to_float64(*shape)


@NEEDS_UNITS
@pytest.mark.parametrize("bias", [False, True])
def test_a_layer_computes_what_it_does_without_it(bias: bool) -> None:
    torch.manual_seed(0)
    images, layer = images_of(70, 64, 5, 6), conv(bias=bias)
    found, expected = (computed(images, layer, ours=ours) for ours in (True, False))
    truth = computed(images.double(), copy.deepcopy(layer).double(), ours=False)
    for one, other, true in zip(found, expected, truth, strict=True):
        assert one.dtype == other.dtype and one.stride() == other.stride()
        # As near the truth as PyTorch's; ours rounds once more for a bias.
        assert relative_error(one, true) < 1.5 * relative_error(other, true) < 0.03


@NEEDS_UNITS
def test_only_the_gradients_that_are_needed_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    images, layer = images_of(64, 64, 4, 4), conv()
    with fast("bf16", CPU):
        out = layer(images)
    with monkeypatch.context() as patched:
        patched.setattr(matrix_units, "_correlated", None)
        out.sum().backward()
    assert layer.weight.grad is not None
    images, layer = images.requires_grad_(), conv().requires_grad_(False)
    with fast("bf16", CPU):
        out = layer(images)
    monkeypatch.setattr(matrix_units, "_weight_gradient", None)
    out.sum().backward()
    assert images.grad is not None


@NEEDS_UNITS
def test_a_gradient_that_lies_otherwise_in_memory_is_taken() -> None:
    x, weight = images_of(64, 64, 4, 6).requires_grad_(), images_of(32, 64, 3, 3).requires_grad_()
    out = matrix_units.convolved(x, weight)
    grad = torch.randn(out.shape).bfloat16()
    for one in (grad, grad[:1].expand_as(out)):
        last = one.contiguous(memory_format=torch.channels_last)
        found, expected = (torch.autograd.grad(out, (x, weight), g, retain_graph=True) for g in (one, last))
        assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))


@NEEDS_UNITS
def test_the_same_bits_each_time_and_nearly_the_same_on_any_number_of_threads() -> None:
    images, layer = images_of(100, 64, 7, 7), conv()
    first, second = (computed(images, layer, ours=True) for _ in range(2))
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))
    for number in (1, 3, 7):  # 100 images are four groups, so that the last is more than there is work for
        with threads(number):
            other = computed(images, layer, ours=True)
        assert torch.equal(first[0], other[0]) and torch.equal(first[1], other[1])
        assert relative_error(other[2], first[2]) < 1e-6


@NEEDS_UNITS
def test_pytorchs_own_products_are_right_afterwards() -> None:
    """They use the same units, whose tiles have a shape that ours must leave as they found it."""
    torch.manual_seed(0)
    a, b = torch.randn(300, 200).bfloat16(), torch.randn(200, 100).bfloat16()
    x, layer = images_of(64, 64, 5, 5), conv(64, 40, stride=2)
    with torch.autocast("cpu", torch.bfloat16):
        expected = a @ b, layer(x)
    for _ in range(3):
        computed(images_of(64, 64, 4, 4), conv(), ours=True)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(a @ b, expected[0]) and torch.equal(layer(x), expected[1])


@NEEDS_UNITS
def test_a_nets_gradients_are_as_true_as_with_pytorchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(conv(64, 64), nn.ReLU(), conv(64, 128), nn.MaxPool2d(2), nn.ReLU(), conv(128, 64), nn.Flatten())
    x = images_of(64, 64, 8, 8)

    def gradients() -> Tensor:
        net.zero_grad()
        with fast("bf16", CPU):
            out = net(x)
        out.float().square().mean().backward()
        return torch.cat([p.grad.flatten().double() for p in net.parameters() if p.grad is not None])

    ours = gradients()
    monkeypatch.setattr(native, "library", lambda name: None)
    theirs = gradients()
    monkeypatch.undo()
    net.double()
    net.zero_grad()
    net(x.double()).square().mean().backward()
    truth = torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])
    assert 0 < (ours - truth).norm() < 1.2 * (theirs - truth).norm()


# --- when they are used -----------------------------------------------------------------------------------------


@NEEDS_UNITS
def test_they_are_used_where_they_are_faster() -> None:
    with fast("bf16", CPU):
        assert type(conv()(images_of(64, 64, 10, 10)).grad_fn).__name__ == OURS
        assert type(conv(24, 64)(images_of(64, 24, 31, 31)).grad_fn).__name__ == OURS
    whole = conv().bfloat16()
    with onecycle.FastLayers():
        assert type(whole(images_of(64, 64, 4, 4, dtype=torch.bfloat16)).grad_fn).__name__ == OURS


@NEEDS_UNITS
@pytest.mark.parametrize(
    ("images", "layer"),
    [
        (images_of(63, 64, 4, 4), conv()),
        (images_of(64, 3, 32, 32), conv(3, 64)),
        (images_of(64, 64, 4, 4), conv(stride=2)),
        (images_of(64, 64, 4, 4), conv(dilation=2, padding=2)),
        (images_of(64, 64, 4, 4), conv(groups=2)),
        (images_of(64, 64, 4, 4), conv(padding=0)),
        (torch.randn(64, 64, 4, 4), conv()),
        (images_of(64, 64, 4, 4).double(), conv().double()),
    ],
    ids=lambda one: str(one) if isinstance(one, nn.Module) else "x".join(map(str, one.shape)),
)
def test_all_else_is_computed_as_ever(images: Tensor, layer: nn.Conv2d) -> None:
    with fast("bf16", CPU):
        assert type(layer(images).grad_fn).__name__ != OURS


@NEEDS_UNITS
def test_no_images_are_computed_as_ever() -> None:
    with fast("bf16", CPU):
        assert conv()(images_of(64, 64, 4, 4)[:0]).shape == (0, 64, 4, 4)


@NEEDS_UNITS
def test_other_precisions_are_left_alone() -> None:
    half, full, brain = torch.float16, torch.float32, torch.bfloat16
    for autocast, dtype in ((None, full), (half, full), (half, brain)):
        with torch.autocast("cpu", autocast, enabled=autocast is not None), onecycle.FastLayers():
            out = conv().to(dtype)(images_of(64, 64, 4, 4, dtype=dtype))
        assert type(out.grad_fn).__name__ != OURS


@pytest.mark.parametrize("refused", [1, -1])
def test_a_system_that_refuses_the_units_computes_as_ever(refused: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class System:
        def syscall(self, *arguments: int) -> int:
            return refused

    matrix_units._may_be_used.cache_clear()
    monkeypatch.setattr(matrix_units, "abilities", lambda: matrix_units._NEEDED)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: System())
    try:
        assert not matrix_units.is_available()
    finally:
        matrix_units._may_be_used.cache_clear()


def test_a_processor_without_units_computes_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix_units, "abilities", lambda: frozenset({"avx512_bf16", "avx512f"}))
    matrix_units._may_be_used.cache_clear()
    try:
        with fast("bf16", CPU):
            assert type(conv()(images_of(64, 64, 4, 4)).grad_fn).__name__ != OURS
        assert environment(CPU)["matrix_units"] is False
    finally:
        matrix_units._may_be_used.cache_clear()


def test_without_a_compiler_all_is_computed_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "library", lambda name: None)
    with fast("bf16", CPU):
        assert type(conv()(images_of(64, 64, 4, 4)).grad_fn).__name__ != OURS


def compiles(source: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """For the first processor that had such units, on any machine."""
    usual = [one for one in native._OPTIONS if not one.startswith("-march")]
    command = ["c++", *usual, "-march=sapphirerapids", *options, str(source), "-o", str(source.parent / "x.o")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.skipif(native.library("loops") is None, reason="this machine has no C++ compiler")
def test_the_source_compiles_without_a_warning(tmp_path: Path) -> None:
    (tmp_path / "empty.cpp").touch()
    if compiles(tmp_path / "empty.cpp").returncode != 0:
        pytest.skip("this machine's C++ compiler knows no processor with matrix units")
    for file in (native.source("convolution"), native.source("tiles").with_suffix(".hpp")):
        shutil.copy(file, tmp_path)
    # GCC 12 takes variables of its own headers for uninitialised.
    done = compiles(tmp_path / "convolution.cpp", "-Wall", "-Wextra", "-Werror", "-Wno-maybe-uninitialized")
    assert done.returncode == 0, done.stderr
