"""Optimisers that go through a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from stored_states import round_trip, same
from torch import nn

from onecycle import optim
from onecycle.checkpoint import load_state, save_state


def small_net() -> nn.Module:
    torch.manual_seed(3)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten(1))
    return net.to(memory_format=torch.channels_last)


def steps(net: nn.Module, optimizer: torch.optim.Optimizer, numbers: range) -> None:
    for number in numbers:
        random = torch.Generator().manual_seed(number)
        images_nchw = torch.randn(5, 3, 6, 6, generator=random).to(memory_format=torch.channels_last)
        optim.set_lr(optimizer, 1e-2 / (number + 1))
        optimizer.zero_grad()
        net(images_nchw).square().mean().backward()
        optimizer.step()


BUILDERS: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "adamw": lambda net: optim.adamw(net, weight_decay=0.05, decay_norms_and_biases=False),
    "adam": lambda net: optim.adam(net, weight_decay=1e-4),
    "sgd": lambda net: optim.sgd(net, weight_decay=5e-4, decay_norms_and_biases=False),
    "muon": lambda net: optim.muon(net, weight_decay=0.05, adamw_lr=2.0),
}


@pytest.mark.parametrize("name", BUILDERS)
def test_a_restored_optimiser_goes_on_bit_for_bit(tmp_path: Path, name: str) -> None:
    net = small_net()
    optimizer = BUILDERS[name](net)
    steps(net, optimizer, range(3))
    save_state(tmp_path / "state", {"model": net.state_dict(), "optimizer": optimizer.state_dict()})
    steps(net, optimizer, range(3, 6))

    resumed = small_net()
    restored = BUILDERS[name](resumed)
    state = load_state(tmp_path / "state")
    resumed.load_state_dict(state["model"])
    optim.restore(restored, state["optimizer"])
    for group in restored.param_groups:
        for parameter in group["params"]:
            for key, value in restored.state[parameter].items():
                if key != "step":
                    assert value.stride() == parameter.stride(), key
    strides = {p.stride() == p.contiguous().stride() for p in resumed.parameters()}
    assert strides == {True, False}  # some are channels-last

    steps(resumed, restored, range(3, 6))
    for (key, one), other in zip(net.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert same(one, other), key
    assert same(load_and_save(tmp_path, optimizer), load_and_save(tmp_path, restored))


def load_and_save(folder: Path, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    return round_trip(folder / "other", optimizer.state_dict())


def test_norms_and_biases_are_decayed_only_where_asked() -> None:
    net = small_net()
    for build in (optim.adamw, optim.adam, optim.sgd):
        (everything,) = build(net, weight_decay=0.1).param_groups
        assert everything["weight_decay"] == 0.1
        assert len(everything["params"]) == len(list(net.parameters()))
        kernels, rest = build(net, weight_decay=0.1, decay_norms_and_biases=False).param_groups
        assert (kernels["weight_decay"], rest["weight_decay"]) == (0.1, 0.0)
        assert all(parameter.ndim == 4 for parameter in kernels["params"])
        assert len(kernels["params"]) == 2
        assert len(rest["params"]) == 4
