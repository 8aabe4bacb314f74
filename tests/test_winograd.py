"""Winograd's convolutions: what PyTorch's own give, in float64 where digits count; and when they are used at all."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

import onecycle
from onecycle.hardware import fast
from onecycle.layers import winograd

CPU = torch.device("cpu")
NEAR = {"rtol": 1e-4, "atol": 1e-4}  # of values about 1


@pytest.fixture(autouse=True)
def _without_avx512(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processor for which the sizes here are chosen; what is computed is the same on any."""
    monkeypatch.setattr(winograd, "abilities", lambda: frozenset({"avx2"}))


def channels_last(*shape: int) -> Tensor:
    return torch.randn(*shape).contiguous(memory_format=torch.channels_last)


def runs_winograd(images: Tensor, layer: nn.Module) -> bool:
    """Whether the layer's output comes from Winograd's filtering, by the operations that PyTorch runs."""
    with profile(activities=[ProfilerActivity.CPU]) as found, onecycle.FastLayers(), torch.no_grad():
        layer(images)
    names = {event.name for event in found.events() or []}
    assert ("aten::bmm" in names) != ("aten::conv2d" in names)
    return "aten::bmm" in names


def conv(inputs: int = 64, outputs: int = 128, size: int = 3, *, padding: int | str = 1, **options: int) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, size, padding=padding, **options)  # type: ignore[arg-type]
    return layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


# --- what it computes -------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(
    images=st.integers(1, 40),
    height=st.integers(3, 36),
    width=st.integers(3, 36),
    inputs=st.sampled_from([64, 100, 128]),
    outputs=st.sampled_from([64, 128, 200]),
    bias=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_outputs_and_gradients_are_those_of_float64_for_any_shape(
    images: int, height: int, width: int, inputs: int, outputs: int, bias: bool, seed: int
) -> None:
    images = -(-images * 40 // (height * width))  # few where they are large
    torch.manual_seed(seed)
    x, layer = channels_last(images, inputs, height, width).requires_grad_(), conv(inputs, outputs, bias=bias)
    wanted = [x, *layer.parameters()]
    with onecycle.FastLayers():
        out = layer(x)
    grad = channels_last(*out.shape)
    found = (out, *torch.autograd.grad(out, wanted, grad))
    right = F.conv2d(*(one.double() for one in wanted), padding=1)  # type: ignore[misc, arg-type, call-overload]
    truth = (right, *torch.autograd.grad(right, wanted, grad.double()))
    for one, other in zip(found, truth, strict=True):
        assert one.shape == other.shape
        assert (one - other).norm() < 1e-5 * other.norm()


def test_zeros_are_around_the_images_and_every_filter_looks_where_it_should() -> None:
    """Each filter has a single one: its output is the image moved by a pixel."""
    x, layer = channels_last(4, 64, 15, 21), conv(64, 576, bias=False)
    assert runs_winograd(x, layer)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(576).view(576, 64, 3, 3))
        with onecycle.FastLayers():
            out = layer(x).view(4, 64, 9, 15, 21)
    padded = F.pad(x, (1, 1, 1, 1))
    for number in range(9):
        row, column = divmod(number, 3)
        torch.testing.assert_close(out[:, :, number], padded[:, :, row : row + 15, column : column + 21], **NEAR)


def test_the_output_lies_in_memory_as_pytorchs_own_and_may_be_changed_in_place() -> None:
    x, layer = channels_last(8, 64, 18, 13), conv(bias=False)
    assert runs_winograd(x, layer)
    with onecycle.FastLayers():
        out = F.relu_(layer(x))
    assert out.stride() == layer(x).stride()
    out.sum().backward()


def test_only_the_gradients_that_are_needed_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    x, layer = channels_last(8, 64, 16, 16), conv()
    assert runs_winograd(x, layer)
    with onecycle.FastLayers():
        out = layer(x)
    with monkeypatch.context() as patched:
        patched.setattr(winograd, "_correlated", None)
        out.sum().backward()
    assert layer.weight.grad is not None
    with onecycle.FastLayers():
        out = layer.requires_grad_(False)(x.requires_grad_())
    monkeypatch.setattr(winograd, "_weight_gradient", None)
    out.sum().backward()
    assert x.grad is not None


def test_the_same_bits_each_time() -> None:
    x, layer = channels_last(70, 64, 15, 15), conv()
    assert runs_winograd(x, layer)

    def gradients() -> list[Tensor]:
        with onecycle.FastLayers():
            out = layer(x)
        return [out, *torch.autograd.grad(out.square().sum(), layer.parameters())]

    for first, second in zip(gradients(), gradients(), strict=True):
        assert torch.equal(first, second)


# --- when it is used --------------------------------------------------------------------------------------------


def test_it_is_used_where_it_is_faster() -> None:
    assert runs_winograd(channels_last(4, 64, 32, 32), conv())
    assert runs_winograd(channels_last(64, 512, 4, 4), conv(512, 512))
    assert runs_winograd(channels_last(64, 512, 3, 3), conv(512, 512))
    assert runs_winograd(channels_last(4, 64, 32, 32), conv(padding="same"))


def test_more_channels_are_needed_where_pytorch_has_avx512(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "abilities", lambda: frozenset({"avx2", "avx512f"}))
    assert not runs_winograd(channels_last(4, 64, 32, 32), conv())
    assert runs_winograd(channels_last(4, 128, 32, 32), conv(128, 128))


@pytest.mark.parametrize(
    ("images", "layer"),
    [
        (channels_last(4, 3, 32, 32), conv(3)),
        (channels_last(4, 24, 31, 31), conv(24, 64)),
        (channels_last(64, 256, 2, 2), conv(256, 256)),  # a tile of 3 x 3 for 4 pixels
        (channels_last(3, 512, 4, 4), conv(512, 512)),
        (channels_last(4, 64, 32, 32), conv(stride=2)),
        (channels_last(4, 64, 32, 32), conv(dilation=2, padding=2)),
        (channels_last(4, 64, 32, 32), conv(groups=2)),
        (channels_last(4, 64, 32, 32), conv(padding=0)),
        (channels_last(4, 64, 32, 32), conv(size=1, padding=0)),
        (channels_last(4, 64, 32, 32), conv(size=5, padding=2)),
        (torch.randn(4, 64, 32, 32), conv()),
        (channels_last(4, 64, 32, 32)[0], conv()),
        (channels_last(4, 64, 32, 32).double(), conv().double()),
        (channels_last(4, 64, 32, 32).bfloat16(), conv().bfloat16()),
    ],
    ids=lambda one: "" if isinstance(one, nn.Module) else "x".join(map(str, one.shape)),
)
def test_all_else_is_computed_as_ever(images: Tensor, layer: nn.Conv2d) -> None:
    assert not runs_winograd(images, layer)
    with torch.no_grad(), onecycle.FastLayers():
        found = layer(images)
    with torch.no_grad():
        assert torch.equal(found, layer(images))


def test_transforms_of_torch_func_compute_as_ever() -> None:
    x, layer = channels_last(4, 64, 32, 32), conv()
    parameters = dict(layer.named_parameters())

    def loss(parameters: dict[str, Tensor], one: Tensor) -> Tensor:
        return torch.func.functional_call(layer, parameters, one[None]).square().mean()

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))

    def of_heads(heads: Tensor) -> Tensor:
        return torch.func.vmap(lambda head: layer(x).mean((2, 3)) @ head)(heads)

    heads = torch.randn(3, 128, 2)
    wanted, of_wanted = each(parameters, x), of_heads(heads)
    with onecycle.FastLayers():
        found, of_found = each(parameters, x), of_heads(heads)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted) and torch.equal(of_found, of_wanted)


def test_autocast_goes_before_it() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert not runs_winograd(channels_last(4, 64, 32, 32), conv())


def test_autocast_around_the_backward_pass_alone_rounds_nothing() -> None:
    x, layer = channels_last(4, 64, 32, 32), conv()
    with onecycle.FastLayers():
        out = layer(x)
    expected = torch.autograd.grad(out.sum(), layer.weight, retain_graph=True)[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(torch.autograd.grad(out.sum(), layer.weight)[0], expected)


@pytest.mark.parametrize("precision", ["medium", "high"])
def test_it_is_left_where_matrix_products_may_be_rounded(precision: str) -> None:
    """As PyTorch's convolutions then are not."""
    usual = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        assert not runs_winograd(channels_last(4, 64, 32, 32), conv())
    finally:
        torch.set_float32_matmul_precision(usual)
    assert runs_winograd(channels_last(4, 64, 32, 32), conv())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_net_on_the_processor_computes_with_it_in_float32(precision: str) -> None:
    x, layer = channels_last(4, 64, 32, 32), conv(bias=False)
    with fast(precision, CPU):
        found = layer(x).grad_fn
    assert type(found).__name__ == {"fp32": "_WinogradConvolutionBackward", "bf16": "ConvolutionBackward0"}[precision]


def test_torch_compile_compiles_pytorchs_own_convolution() -> None:
    x, layer = channels_last(4, 64, 32, 32), conv()
    compiled = torch.compile(layer, backend="aot_eager")
    with torch.no_grad(), onecycle.FastLayers():
        found = compiled(x)
    with torch.no_grad():
        assert torch.equal(found, layer(x))


def test_a_wrong_call_fails_as_it_does_in_pytorch() -> None:
    layer, x = conv(), channels_last(4, 32, 32, 32)
    with pytest.raises(RuntimeError) as theirs:
        layer(x)
    with pytest.raises(RuntimeError) as ours, onecycle.FastLayers():
        layer(x)
    assert str(ours.value) == str(theirs.value)


def test_what_pytorch_makes_by_default_changes_nothing() -> None:
    x, layer = channels_last(4, 64, 32, 32), conv()
    with onecycle.FastLayers():
        expected = layer(x)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with onecycle.FastLayers(), torch.device("meta"):
            assert torch.equal(layer(x), expected)
    finally:
        torch.set_default_dtype(before)


# --- in a training ----------------------------------------------------------------------------------------------


def test_a_nets_gradients_are_nearly_as_true_as_with_pytorchs_own() -> None:
    """Of the whole custom ResNet, beside float64. Bfloat16 is a hundred times as far off."""
    torch.manual_seed(0)
    net = onecycle.models.custom_resnet(10).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x, labels = channels_last(16, 3, 32, 32), torch.arange(16) % 10

    def gradients(net: nn.Module, x: Tensor) -> Tensor:
        net.zero_grad()
        F.cross_entropy(net(x), labels).backward()
        return torch.cat([p.grad.flatten().double() for p in net.parameters() if p.grad is not None])

    direct = gradients(net, x)
    with onecycle.FastLayers():
        ours = gradients(net, x)
    truth = gradients(net.double(), x.double())
    assert 0 < (ours - truth).norm() < 3 * (direct - truth).norm() < 0.03 * truth.norm()
