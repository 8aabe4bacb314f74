"""What the optimisers share: groups of parameters, their learning rates, and how their state is taken up again."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn
from torch.optim import Optimizer

from .. import registry
from ..errors import UserError
from ..recipes import Component
from ..schedule import MOST_RATE

# The bounds that torch's optimisers have too, so that a recipe is held against them before anything is begun.
NotNegative = Annotated[float, Field(ge=0, le=MOST_RATE)]  # products with a rate stay within float32
BelowOne = Annotated[float, Field(ge=0, lt=1)]


def trained_parameters(net: nn.Module) -> list[nn.Parameter]:
    """The parameters that train. Raises UserError where there are none."""
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    if not parameters:
        raise UserError(f"the net {type(net).__name__} has no parameter that trains")
    return parameters


def set_lr(optimizer: Optimizer, lr: float) -> None:
    """Set the learning rate of every group, times the group's own `lr_factor` where it has one."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_factor", 1.0)


def set_momentum(optimizer: Optimizer, momentum: float) -> None:
    """Set the momentum of every group, of Adam's kind its beta1."""
    for group in optimizer.param_groups:
        if "betas" in group:
            group["betas"] = (momentum, group["betas"][1])
        else:
            group["momentum"] = momentum


def build_optimizer(net: nn.Module, component: Component) -> Optimizer:
    """The optimiser of a recipe; groups that come with rates of their own keep their ratios to the largest."""
    optimizer = registry.load("optimizer", component.name)(net, **component.options)
    if not isinstance(optimizer, Optimizer):
        given = type(optimizer).__name__
        raise UserError(f"optimizer {component.name!r} builds a {given}; a torch.optim.Optimizer is needed")
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure and closure.default is inspect.Parameter.empty:
        raise UserError(f"optimizer {component.name!r} builds a {type(optimizer).__name__}, whose step needs a closure")
    rates = [group.get("lr") for group in optimizer.param_groups]
    if all(isinstance(rate, int | float) for rate in rates) and len(set(rates)) > 1:  # some have none until a step
        keep_ratios(optimizer)
    return optimizer


def keep_ratios(optimizer: Optimizer) -> None:
    """Note each group's rate over the largest as its `lr_factor`, unless the groups have factors, as ours do."""
    rates = [float(group["lr"]) for group in optimizer.param_groups]
    if not any(rates):  # a scheduler warms up from 0, and has noted what they were
        rates = [float(group.get("initial_lr", 0.0)) for group in optimizer.param_groups]
    if max(rates) > 0 and not any("lr_factor" in group for group in optimizer.param_groups):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr_factor"] = rate / max(rates)


def keeps_tensors(optimizer: Optimizer) -> bool:
    """Whether the optimizer, one of torch's or ours, is known to keep only tensors as state."""
    return type(optimizer).__module__.startswith((f"{torch.optim.__name__}.", f"{__package__}."))


def restore(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Load a state dict so that each tensor shaped as its parameter gets its memory format too.

    The fused kernels walk memory in order: a momentum in NCHW beside a channels-last weight would silently be wrong.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    states = {
        number: {key: _like(value, parameters[number]) for key, value in values.items()}
        for number, values in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": states})


def _like(value: Any, parameter: torch.Tensor) -> Any:
    if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
        return torch.empty_like(parameter, dtype=value.dtype).copy_(value)
    return value
