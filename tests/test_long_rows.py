"""Filters' gradients of images side by side: PyTorch's own; and when they are taken."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import onecycle
from onecycle.hardware import fast
from onecycle.layers import long_rows

CPU = torch.device("cpu")
OURS = "_LongRowsConvolutionBackward"


@pytest.fixture
def matrix_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that says it has them; what is computed is the same on any."""
    monkeypatch.setattr(long_rows, "abilities", lambda: frozenset({"amx_tile"}))


def images_of(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, dtype=dtype).contiguous(memory_format=torch.channels_last)


def conv(inputs: int = 64, outputs: int = 64, **options: object) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, 3, **{"padding": 1, "bias": False, **options})  # type: ignore[arg-type]
    return layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def computed(images: Tensor, layer: nn.Module, *, ours: bool) -> tuple[Tensor, ...]:
    """The output under autocast, and the gradients of images and parameters."""
    images = images.detach().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        if ours:
            with onecycle.FastLayers():
                out = layer(images)
        else:
            out = layer(images)
    assert (type(out.grad_fn).__name__ == OURS) == ours or layer.bias is not None
    torch.manual_seed(1)
    return out, *torch.autograd.grad(out, [images, *layer.parameters()], torch.randn_like(out))


@settings(deadline=None, max_examples=40)
@given(
    images=st.integers(1, 70),
    height=st.integers(1, 12),
    width=st.integers(1, 40),
    inputs=st.integers(1, 9),
    outputs=st.integers(1, 9),
    seed=st.integers(0, 2**32),
)
def test_the_gradient_is_pytorchs_for_any_shape(
    images: int, height: int, width: int, inputs: int, outputs: int, seed: int
) -> None:
    """In float64, where the two differ by the order of their sums alone."""
    torch.manual_seed(seed)
    x, weight = images_of(images, inputs, height, width).double(), images_of(outputs, inputs, 3, 3).double()
    out = torch.conv2d(x, weight.requires_grad_(), padding=1)
    grad = images_of(*out.shape).double()
    expected = torch.autograd.grad(out, weight, grad)[0]
    torch.testing.assert_close(long_rows.weight_gradient(x, weight.detach(), grad), expected)


@pytest.mark.usefixtures("matrix_units")
@pytest.mark.parametrize("bias", [False, True])
def test_a_layer_computes_what_it_does_without_it(bias: bool) -> None:
    torch.manual_seed(0)
    images, layer = images_of(70, 64, 5, 6), conv(bias=bias)
    found, expected = (computed(images, layer, ours=ours) for ours in (True, False))
    truth = computed(images.double(), copy.deepcopy(layer).double(), ours=False)
    for one, other, true in zip(found, expected, truth, strict=True):
        assert one.dtype == other.dtype and one.stride() == other.stride()
        # As near the truth as PyTorch's, whose rounding differs between processors; ours rounds once more for a bias.
        assert (one - true).norm() < 1.5 * (other - true).norm() < 0.03 * true.norm()
    if not bias:
        assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])


@pytest.mark.usefixtures("matrix_units")
def test_only_the_gradients_that_are_needed_are_computed() -> None:
    images, layer = images_of(64, 64, 4, 4), conv()
    with fast("bf16", CPU):
        layer(images).sum().backward()
    assert images.grad is None and layer.weight.grad is not None
    assert layer.weight.grad.dtype == torch.float32


@pytest.mark.usefixtures("matrix_units")
def test_the_same_bits_each_time() -> None:
    images, layer = images_of(100, 64, 7, 7), conv()
    for first, second in zip(*(computed(images, layer, ours=True) for _ in range(2)), strict=True):
        assert torch.equal(first, second)


@pytest.mark.usefixtures("matrix_units")
def test_it_is_used_where_it_is_faster() -> None:
    with fast("bf16", CPU):
        assert type(conv()(images_of(64, 64, 10, 10)).grad_fn).__name__ == OURS
    whole = conv().bfloat16()
    with onecycle.FastLayers():
        assert type(whole(images_of(64, 64, 4, 4, dtype=torch.bfloat16)).grad_fn).__name__ == OURS


@pytest.mark.usefixtures("matrix_units")
@pytest.mark.parametrize(
    ("images", "layer"),
    [
        (images_of(64, 64, 12, 12), conv()),
        (images_of(63, 64, 4, 4), conv()),
        (images_of(64, 32, 4, 4), conv(32, 64)),
        (images_of(64, 64, 4, 4), conv(stride=2)),
        (images_of(64, 64, 4, 4), conv().requires_grad_(False)),
        (torch.randn(64, 64, 4, 4), conv()),
        (images_of(64, 64, 4, 4).double(), conv().double()),
    ],
)
def test_all_else_is_computed_as_ever(images: Tensor, layer: nn.Conv2d) -> None:
    with fast("bf16", CPU):
        assert type(layer(images).grad_fn).__name__ != OURS


@pytest.mark.usefixtures("matrix_units")
def test_no_gradient_no_copies() -> None:
    with fast("bf16", CPU), torch.no_grad():
        assert not long_rows.is_faster(images_of(64, 64, 4, 4), conv().weight)


@pytest.mark.usefixtures("matrix_units")
def test_float16_is_left_alone() -> None:
    with torch.autocast("cpu", torch.float16), onecycle.FastLayers():
        assert type(conv()(images_of(64, 64, 4, 4)).grad_fn).__name__ != OURS


def test_other_processors_compute_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_rows, "abilities", lambda: frozenset({"avx512_bf16"}))
    with fast("bf16", CPU):
        assert type(conv()(images_of(64, 64, 4, 4)).grad_fn).__name__ != OURS
