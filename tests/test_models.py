"""The custom ResNet, part by part."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from onecycle.models import custom_resnet
from onecycle.models.custom_resnet import ConvBlock, Residual
from onecycle.models.norms import Norms


@pytest.mark.parametrize(("num_classes", "parameters"), [(10, 6_573_130), (2, 6_573_130 - 8 * 513), (100, 6_619_300)])
def test_parameter_count(num_classes: int, parameters: int) -> None:
    assert sum(p.numel() for p in custom_resnet(num_classes).parameters()) == parameters


@pytest.mark.parametrize(("n", "pixels", "num_classes"), [(2, 32, 10), (1, 64, 10), (3, 32, 2), (1, 40, 7)])
def test_logits_shape(n: int, pixels: int, num_classes: int) -> None:
    with torch.no_grad():
        assert custom_resnet(num_classes)(torch.randn(n, 3, pixels, pixels)).shape == (n, num_classes)


def test_blocks_are_conv_pool_norm_relu() -> None:
    net = custom_resnet(10)
    pooled = [nn.Conv2d, nn.MaxPool2d, nn.BatchNorm2d, nn.ReLU]
    plain = [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    blocks = {name: [type(layer) for layer in m] for name, m in net.named_modules() if isinstance(m, ConvBlock)}
    assert blocks == {
        "prep": plain,
        "layer1.0": pooled,
        "layer1.1.0": plain,
        "layer1.1.1": plain,
        "layer2": pooled,
        "layer3.0": pooled,
        "layer3.1.0": plain,
        "layer3.1.1": plain,
    }
    assert [type(layer) for layer in net.children()][-3:] == [nn.AdaptiveMaxPool2d, nn.Flatten, nn.Linear]


def test_convs_are_3x3_without_bias() -> None:
    convs = [m for m in custom_resnet(10).modules() if isinstance(m, nn.Conv2d)]
    assert [conv.out_channels for conv in convs] == [64, 128, 128, 128, 256, 512, 512, 512]
    for conv in convs:
        assert (conv.kernel_size, conv.stride, conv.padding, conv.bias) == ((3, 3), (1, 1), (1, 1), None)


def test_norms_have_the_defaults_of_pytorch() -> None:
    default = nn.BatchNorm2d(1)
    norms = [m for m in custom_resnet(10).modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 8
    for norm in norms:
        assert norm.eps == default.eps
        assert norm.momentum == default.momentum
        assert norm.affine and norm.track_running_stats


def test_norm_options_reach_every_norm() -> None:
    norms = [m for m in custom_resnet(10, norm_momentum=0.4, norm_eps=1e-3).modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(norm.momentum, norm.eps) for norm in norms} == {(0.4, 1e-3)}


def test_logits_are_not_normalised() -> None:
    net = custom_resnet(10).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        before = net(images)
        net.linear.bias.add_(3.0)
        after = net(images)
    # Any softmax would cancel a shift of all logits.
    torch.testing.assert_close(after, before + 3.0)
    assert (before < 0).any()


def test_logit_scale_multiplies_the_logits() -> None:
    net = custom_resnet(10, logit_scale=0.125).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        scaled = net(images)
        net.logit_scale = 1.0
        torch.testing.assert_close(scaled, 0.125 * net(images))


def test_the_pool_is_max_pool_4_at_32_pixels() -> None:
    net = custom_resnet(10).eval()
    inputs: list[Tensor] = []
    net.pool.register_forward_hook(lambda module, args, output: inputs.append(args[0]))
    with torch.no_grad():
        net(torch.randn(2, 3, 32, 32))
    assert inputs[0].shape == (2, 512, 4, 4)
    assert torch.equal(net.pool(inputs[0]), nn.MaxPool2d(4)(inputs[0]))


def test_residual_adds_its_input_and_leaves_it_alone() -> None:
    blocks = [ConvBlock(4, 4, Norms()).eval() for _ in range(2)]
    x = torch.randn(2, 4, 8, 8)
    before = x.clone()
    with torch.no_grad():
        torch.testing.assert_close(Residual(*blocks).eval()(x), before + nn.Sequential(*blocks)(x))
    assert torch.equal(x, before)
