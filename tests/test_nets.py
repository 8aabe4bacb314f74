"""The options of the nets, layer by layer, and the compact net; what all nets share is in test_models.py."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onecycle import registry
from onecycle.errors import UserError
from onecycle.models import compact, custom_resnet
from onecycle.models.compact import Conv
from onecycle.models.custom_resnet import ConvBlock, CustomResNet, Residual
from onecycle.models.norms import Norms
from onecycle.models.summary import summarize

BLOCKS = ("prep", "layer1.0", "layer1.1.0", "layer1.1.1", "layer2", "layer3.0", "layer3.1.0", "layer3.1.1")
FIRST = ("layer1.0", "layer2", "layer3.0")  # the blocks that pool


def kinds(net: nn.Module) -> dict[str, list[str]]:
    """The kinds of layers in each conv block, in their order."""
    return {
        name: [type(layer).__name__ for layer in module]
        for name, module in net.named_modules()
        if isinstance(module, ConvBlock)
    }


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def images(n: int = 4, size: int = 32) -> Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(1))


# --- the custom ResNet's defaults --------------------------------------------------------------------------------


def test_the_weights_for_a_seed_are_those_of_the_layers_built_in_their_order() -> None:
    torch.manual_seed(7)
    expected: OrderedDict[str, Tensor] = OrderedDict()
    widths = [(3, 64), (64, 128), (128, 128), (128, 128), (128, 256), (256, 512), (512, 512), (512, 512)]
    for name, (inputs, outputs) in zip(BLOCKS, widths, strict=True):
        norm = 2 if name in FIRST else 1  # behind the pool
        expected[f"{name}.0.weight"] = nn.Conv2d(inputs, outputs, 3, bias=False).weight
        for key, value in nn.BatchNorm2d(outputs).state_dict().items():
            expected[f"{name}.{norm}.{key}"] = value
    linear = nn.Linear(512, 10)
    expected["linear.weight"], expected["linear.bias"] = linear.weight, linear.bias

    torch.manual_seed(7)
    found = custom_resnet(10).state_dict()
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize(
    "changes",
    [
        {"norm": "layer"},
        {"norm": "group"},
        {"order": "conv-pool-relu-norm"},
        {"order": "conv-norm-relu-pool"},
        {"block_dropout": 0.5},
        {"stage_dropout": 0.5},
        {"linear_bias": False},
        {"log_softmax": True},
    ],
    ids=str,
)
def test_an_option_leaves_the_weights_of_the_convs_as_they_were(changes: dict[str, Any]) -> None:
    convs = []
    for options in ({}, changes):
        torch.manual_seed(3)
        net = custom_resnet(10, **options)
        convs.append([m.weight for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)])
    assert len(convs[0]) == 9
    assert all(torch.equal(one, other) for one, other in zip(*convs, strict=True))


# --- its options -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 6_573_130),
        ({"stage_dropout": 0.1, "linear_bias": False}, 6_573_120),  # as EVA6 session 9 gives it
        ({"order": "conv-pool-relu-norm", "block_dropout": 0.1}, 6_573_130),  # ERA session 12
        ({"log_softmax": True}, 6_573_130),
        ({"norm": "layer"}, 6_573_130),  # a scale and a shift a channel, as BatchNorm
        ({"norm": "group"}, 6_573_130),
    ],
    ids=str,
)
def test_the_parameters_are_as_many_as_published(options: dict[str, Any], count: int) -> None:
    assert parameters(custom_resnet(10, **options)) == count


@pytest.mark.parametrize("rate", [0.0, 0.2])
@pytest.mark.parametrize(
    ("order", "pooled", "plain"),
    [
        ("conv-pool-norm-relu", "Conv2d MaxPool2d BatchNorm2d ReLU", "Conv2d BatchNorm2d ReLU"),
        ("conv-pool-relu-norm", "Conv2d MaxPool2d ReLU BatchNorm2d", "Conv2d ReLU BatchNorm2d"),
        ("conv-norm-relu-pool", "Conv2d BatchNorm2d ReLU MaxPool2d", "Conv2d BatchNorm2d ReLU"),
    ],
)
def test_every_block_has_its_layers_in_order_and_dropout_last(order: Any, pooled: str, plain: str, rate: float) -> None:
    dropout = ["Dropout2d"] if rate else []
    expected = {name: (pooled if name in FIRST else plain).split() + dropout for name in BLOCKS}
    net = custom_resnet(10, order=order, block_dropout=rate)
    assert kinds(net) == expected
    assert {m.p for m in net.modules() if isinstance(m, nn.Dropout2d)} == ({rate} if rate else set())


def test_stage_dropout_is_at_the_end_of_each_stage_ahead_of_its_residual() -> None:
    net = custom_resnet(10, stage_dropout=0.3)
    found = {name: names.count("Dropout2d") for name, names in kinds(net).items()}
    assert found == {name: int(name in FIRST) for name in BLOCKS}
    assert all(names[-1] == "Dropout2d" for name, names in kinds(net).items() if name in FIRST)
    rates = [m.p for m in custom_resnet(10, stage_dropout=0.3, block_dropout=0.1).modules() if type(m) is nn.Dropout2d]
    assert rates == [0.1, 0.1, 0.3, 0.1, 0.1, 0.1, 0.3, 0.1, 0.3, 0.1, 0.1]


def test_dropout_leaves_out_whole_channels_in_training_alone() -> None:
    net = custom_resnet(10, stage_dropout=0.5)
    seen: list[Tensor] = []
    net.layer2.register_forward_hook(lambda module, args, output: seen.append(output))
    batch = images(8)
    with torch.no_grad():
        trained = net.train()(batch), net(batch)
        evaluated = net.eval()(batch), net(batch)
    assert not torch.equal(*trained)
    assert torch.equal(*evaluated)
    whole = (seen[0] == 0).all(dim=(2, 3)).float().mean()
    assert abs(whole - 0.5) < 0.06
    # What is left is doubled, so that the mean stays. In eval mode no channel is missing.
    assert (seen[2] == 0).all(dim=(2, 3)).float().mean() < 0.25


def test_order_changes_what_is_computed() -> None:
    outputs = []
    for order in ("conv-pool-norm-relu", "conv-pool-relu-norm", "conv-norm-relu-pool"):
        torch.manual_seed(0)
        net = custom_resnet(10, order=order)  # type: ignore[arg-type]
        outputs.append(net.train()(images()))
    # Per channel, norm and ReLU rise with their input (the scale is 1), so max-pooling may stand on either side of
    # them; but the statistics that the norm takes are then those of other values.
    assert not torch.allclose(outputs[0], outputs[1], atol=1e-3)
    assert not torch.allclose(outputs[0], outputs[2], atol=1e-3)


@pytest.mark.parametrize("build", [custom_resnet, compact])
def test_layer_and_group_norm_stand_in_the_place_of_every_batch_norm(build: Any) -> None:
    usual = [m.num_features for m in build(10).modules() if isinstance(m, nn.BatchNorm2d)]
    for norm, eps in (("layer", 1e-5), ("group", 1e-3)):
        net = build(10, norm=norm, norm_eps=eps)
        assert not any(isinstance(m, nn.BatchNorm2d) for m in net.modules())
        groups = [m for m in net.modules() if isinstance(m, nn.GroupNorm)]
        assert [m.num_channels for m in groups] == usual
        assert {m.num_groups for m in groups} == {1 if norm == "layer" else 32}
        assert {m.eps for m in groups} == {eps}
        # Without statistics of the batch, an image's logits are its own, in training too.
        batch = images(3)
        with torch.no_grad():
            torch.testing.assert_close(net.train()(batch)[:1], net(batch[:1]), rtol=1e-4, atol=1e-5)


def test_layer_norm_is_over_channels_and_pixels() -> None:
    x = images(2, 8).repeat(1, 4, 1, 1)
    expected = F.layer_norm(x, x.shape[1:], eps=1e-5)
    torch.testing.assert_close(Norms("layer")(12)(x), expected)


@pytest.mark.parametrize(("channels", "groups"), [(64, 32), (48, 16), (512, 32), (6, 2), (7, 1)])
def test_group_norm_has_groups_that_fit(channels: int, groups: int) -> None:
    norm = Norms("group")(channels)
    assert isinstance(norm, nn.GroupNorm)
    assert norm.num_groups == groups


@pytest.mark.parametrize("build", [custom_resnet, compact])
@pytest.mark.parametrize("norm", ["layer", "group"])
def test_a_momentum_where_there_is_none_is_refused(build: Any, norm: Any) -> None:
    with pytest.raises(UserError, match=f"norm_momentum 0.4 goes with model.norm batch alone, not with {norm}"):
        build(10, norm=norm, norm_momentum=0.4)
    build(10, norm=norm, norm_momentum=0.1)
    build(10, norm="batch", norm_momentum=0.4)


def log_softmax_nets(**options: Any) -> tuple[CustomResNet, CustomResNet]:
    nets = []
    for log_softmax in (False, True):
        torch.manual_seed(5)
        nets.append(custom_resnet(10, log_softmax=log_softmax, **options).eval())
    return nets[0], nets[1]


@pytest.mark.parametrize("logit_scale", [1.0, 0.125])
def test_log_softmax_gives_log_probabilities_of_the_same_cross_entropy(logit_scale: float) -> None:
    plain, logs = log_softmax_nets(logit_scale=logit_scale)
    assert list(plain.state_dict()) == list(logs.state_dict())
    labels = torch.tensor([3, 1, 4, 1])
    losses = []
    for net in (plain, logs):
        output = net(images())
        loss = F.cross_entropy(output, labels, label_smoothing=0.1)
        loss.backward()
        losses.append(loss.detach())
    torch.testing.assert_close(output.exp().sum(1), torch.ones(4))
    torch.testing.assert_close(losses[0], losses[1])
    for one, other in zip(plain.parameters(), logs.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6)
    with torch.no_grad():
        torch.testing.assert_close(logs(images()), plain(images()).log_softmax(1))
    assert (plain(images()).exp().sum(1) - 1).abs().max() > 0.1


def test_log_softmax_is_taken_in_float32_where_the_net_computes_in_bfloat16() -> None:
    plain, logs = log_softmax_nets()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits, log_probabilities = plain(images()), logs(images())
    assert logits.dtype == torch.bfloat16
    assert log_probabilities.dtype == torch.float32
    assert torch.equal(log_probabilities, logits.float().log_softmax(1))
    assert logs.double()(images().double()).dtype == torch.float64


# --- the compact net ---------------------------------------------------------------------------------------------


def convs(net: nn.Module) -> list[nn.Conv2d]:
    return [m for m in net.modules() if isinstance(m, nn.Conv2d)]


def test_compact_is_as_small_as_asked() -> None:
    summary = summarize(compact(10), (1, 3, 32, 32))
    assert summary.parameters == 190_762  # under 200,000
    assert 15e6 < summary.multiply_adds < 40e6


def test_compact_has_the_layers_of_its_table() -> None:
    net = compact(10)
    assert [name for name, _ in net.named_children()] == [
        *("block1", "block2", "block3", "block4"),
        *("pool", "flatten", "linear"),
    ]
    found = convs(net)
    # Strides for pooling; each block but the first begins with one.
    assert [conv.stride for conv in found].count((2, 2)) == 3
    for block in (net.block2, net.block3, net.block4):
        first = convs(block)[0]
        assert (first.stride, first.kernel_size, first.groups) == ((2, 2), (3, 3), 1)
    assert isinstance(net.pool, nn.AdaptiveAvgPool2d)
    kinds = {type(m).__name__ for m in net.modules()}
    assert not any("MaxPool" in kind or "Dropout" in kind or kind == "AvgPool2d" for kind in kinds)
    assert [conv.dilation for conv in found].count((2, 2)) == 1
    depthwise = [conv for conv in found if conv.groups > 1]
    assert len(depthwise) == 3
    for conv in depthwise:
        assert conv.groups == conv.in_channels == conv.out_channels
        assert (conv.kernel_size, conv.stride, conv.dilation) == ((3, 3), (1, 1), (1, 1))
    assert all(conv.bias is None for conv in found)


def test_compact_halves_its_maps_block_by_block() -> None:
    net = compact(10)
    sizes: list[torch.Size] = []
    for block in (net.block1, net.block2, net.block3, net.block4):
        block.register_forward_hook(lambda module, args, output: sizes.append(output.shape[1:]))
    with torch.no_grad():
        assert net(images(2)).shape == (2, 10)
        assert compact(7).eval()(images(1, 8)).shape == (1, 7)
        assert compact(3).eval()(images(1, 45)).shape == (1, 3)
    assert sizes == [(32, 32, 32), (64, 16, 16), (64, 8, 8), (128, 4, 4)]


def test_inverted_residuals_widen_are_depthwise_and_end_without_relu() -> None:
    residuals = [m for m in compact(10).modules() if isinstance(m, Residual)]
    assert len(residuals) == 2
    for residual in residuals:
        widen, depthwise, project = convs(residual)
        assert widen.in_channels == project.out_channels < widen.out_channels == depthwise.groups
        assert (widen.kernel_size, project.kernel_size) == ((1, 1), (1, 1))
        assert [type(layer).__name__ for part in residual for layer in part] == [
            *("Conv2d", "BatchNorm2d", "ReLU") * 2,
            *("Conv2d", "BatchNorm2d"),
        ]
        x = torch.randn(2, widen.in_channels, 6, 6)
        before = x.clone()
        residual.eval()
        with torch.no_grad():
            torch.testing.assert_close(residual(x), before + nn.Sequential(*residual)(x))
        assert torch.equal(x, before)


@pytest.mark.parametrize("name", registry.names("model"))
def test_every_net_takes_images_of_the_usual_sides(name: str) -> None:
    net = registry.load("model", name)(2).eval()
    with torch.no_grad():
        for size in (32, 48, 64, 96, 128):
            logits = net(images(1, size))
            assert logits.shape == (1, 2) and logits.isfinite().all()


def test_a_convs_size_is_kept_but_for_its_stride() -> None:
    x = torch.randn(1, 4, 9, 9)
    for options, size in (({"size": 1}, 9), ({"dilation": 2}, 9), ({"groups": 4}, 9), ({"stride": 2}, 5)):
        assert Conv(4, 4, Norms(), **options)(x).shape == (1, 4, size, size)
    assert (Conv(4, 4, Norms(), active=False)(x) < 0).any()
    assert not (Conv(4, 4, Norms())(x) < 0).any()


def test_compact_learns() -> None:
    torch.manual_seed(0)
    net, labels = compact(4), torch.arange(16) % 4
    batch = images(16, 16) + F.one_hot(labels, 4)[:, :3, None, None]
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(batch), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 1
    assert losses[-1] < 0.3 * losses[0]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())
