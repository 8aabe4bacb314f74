"""Whether a recipe that was taken for valid can be carried out."""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
import yaml
from torch import nn

from onecycle import optim, registry
from onecycle.epochs import in_force
from onecycle.preparation import build_schedule
from onecycle.recipes import Recipe, checked, flatten
from onecycle.schedule import MOST_RATE, momentum_at, rates_to_find
from torture.calling import bounded

_MOST_PARAMETERS = 10**9


def check_recipe(printed: str) -> None:
    """Raise AssertionError unless a printed recipe reads back to its value and can be planned."""
    values = yaml.load(printed, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # a reader that is not ours
    made = checked(values, "again")
    stored, again = flatten(values), flatten(made.model_dump(mode="json"))
    assert stored == again, "it reads back to another value"
    with bounded():
        check_plan(made)


def check_plan(made: Recipe) -> None:
    """Rates that are finite at every step, and a net and an optimiser that can be built and make a step."""
    found = {"lr_min": 0.0, "lr_max": MOST_RATE}
    options = {**made.schedule.options, **{key: found[key] for key in rates_to_find(made.schedule.options)}}
    rates, momenta = [], []
    for steps in (1, 98):
        last = made.epochs * steps - 1
        schedule = build_schedule(made, steps, options)
        for step in (0, 1, last // 3, last / 2, last, last + 1, 10 * last):
            rates.append(schedule(step))
            momenta.append(momentum_at(schedule, step))
    assert all(math.isfinite(rate) and rate >= 0 for rate in rates), rates
    if made.epochs > 1000:
        for epoch in range(made.epochs):
            in_force(made.data.hardest, epoch, 1.0)
    net = _tiny_net()
    optimizer = registry.load("optimizer", made.optimizer.name)(net, **made.optimizer.options)
    for rate, momentum in ((rates[0], momenta[0]), (max(rates), momenta[-1])):
        optim.set_lr(optimizer, rate)
        if momentum is not None:
            optim.set_momentum(optimizer, momentum)
        for parameter in net.parameters():
            parameter.grad = torch.full_like(parameter, 1e-3)
        optimizer.step()
    assert _parameters(made.model.name, tuple(made.model.options.items())) < _MOST_PARAMETERS


def _tiny_net() -> nn.Module:
    with torch.random.fork_rng([]):
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


@functools.lru_cache(maxsize=1000)
def _parameters(name: str, options: tuple[tuple[str, Any], ...]) -> int:
    """Of the net, which is built without its memory."""
    with torch.device("meta"):
        net = registry.load("model", name)(10, **dict(options))
    return sum(parameter.numel() for parameter in net.parameters())
