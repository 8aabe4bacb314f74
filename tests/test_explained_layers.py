"""Which layer is looked at, and what is said of one that cannot be."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from onecycle import UserError
from onecycle.explanation import class_activation, default_layer
from onecycle.models import compact, custom_resnet

IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
TARGETS = torch.tensor([0, 3, 2, 1])


class Branches(nn.Module):
    """A ReLU that runs twice, a conv that never runs, one that nothing is computed from, and one behind a detach."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.relu, self.twin = nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 1)
        self.never, self.aside, self.cut = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.pool, self.linear = nn.AdaptiveAvgPool2d(1), nn.Linear(4, 5)

    def forward(self, images_nchw: Tensor) -> Tensor:
        maps = self.relu(self.stem(images_nchw))
        maps = maps + self.cut(maps).detach()
        self.aside(maps)
        maps = self.relu(self.twin(maps))
        logits: Tensor = self.linear(self.pool(maps).flatten(1))
        return logits


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("twinn", "layer 'twinn' is unknown to Branches; did you mean 'twin'?"),
        ("", "layer '' is unknown to Branches; allowed: stem, relu, twin"),
        ("linear", r"layer 'linear' gives \[4, 5\]; a layer that gives maps \[n, c, h, w\] is needed"),
        ("relu", "layer 'relu' runs 2 times in a pass"),
        ("never", "layer 'never' runs 0 times in a pass"),
        ("aside", "layer 'aside' has no part in the logits"),
        ("cut", "layer 'cut' has no part in the logits"),
    ],
)
def test_a_layer_that_cannot_be_looked_at_is_one_clear_line(layer: str, message: str) -> None:
    net = Branches().train()
    with pytest.raises(UserError, match=message) as raised:
        class_activation(net, IMAGES, TARGETS, layer=layer)
    assert len(raised.value.problems) == 1
    assert all(module.training and not module._forward_hooks for module in net.modules())


def test_a_layer_that_gives_no_tensor() -> None:
    class Pair(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x, x

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pair = Pair()

        def forward(self, x: Tensor) -> Tensor:
            both: tuple[Tensor, Tensor] = self.pair(x)
            return both[0].mean((2, 3))

    with pytest.raises(UserError, match="layer 'pair' gives tuple; a layer that gives maps"):
        class_activation(Net(), IMAGES, TARGETS % 3, layer="pair")


@pytest.mark.parametrize("build", [custom_resnet, compact])
def test_our_nets_name_a_layer_of_theirs_with_maps_of_some_pixels(build: Callable[[int], nn.Module]) -> None:
    net = build(10)
    name = default_layer(net)
    assert name == type(net).explained_layer
    found = class_activation(net, IMAGES, TARGETS)
    assert found.shape[1] == found.shape[2] >= 4
    assert torch.equal(found, class_activation(net, IMAGES, TARGETS, layer=name))


def test_the_default_of_other_nets_is_the_last_layer_with_maps_that_runs_once() -> None:
    assert default_layer(Branches()) == "twin"
    net = nn.Sequential(
        OrderedDict(
            features=nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Conv2d(4, 4, 3, stride=2), nn.ReLU()),
            pool=nn.AdaptiveAvgPool2d(1),
            head=nn.Sequential(nn.Conv2d(4, 2, 1), nn.Flatten()),
        )
    )
    assert default_layer(net) == "features"
    # At 8 pixels the last maps are one pixel.
    assert default_layer(net, torch.zeros(1, 3, 8, 8)) == "features.1"


def test_a_net_without_maps_has_no_default() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4))
    with pytest.raises(UserError, match="Sequential has no layer that gives maps of more than one pixel"):
        default_layer(net)
    with pytest.raises(UserError, match="class activation maps need a convolutional net"):
        class_activation(net, IMAGES, TARGETS)
