"""Both ends for a recipe: sweeps over seeds and over shifted ranges, then the choice."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from ..epochs import in_force
from ..errors import UserError, shown
from ..fine_tuning import take_over
from ..hardware import to_channels_last
from ..optim import build_optimizer
from ..preparation import Sets, build_loader, build_net, build_schedule, class_weights, copied, initialize
from ..recipes import Recipe
from ..schedule import provisional
from .choice import RULE, RULE_MIN, LrRange, check_rules, choose
from .sweeps import STEPS, Sweep, check_range, sweep

SWEEPS = 3
MOST_SWEEPS = 100
_SHIFTS_DECADES = (0.0, -0.5, 0.5)  # of the range, in turn, so that a choice which depends on its ends shows
_RANGES = {"sgd": (1e-4, 10.0)}
_RANGE = (1e-5, 1.0)  # of Adam's kind, whose steps are about as long as the rate


def find(
    recipe: Recipe,
    sets: Sets,
    *,
    device: torch.device,
    net: nn.Module | None = None,
    sweeps: int = SWEEPS,
    steps: int = STEPS,
    lr_start: float | None = None,
    lr_end: float | None = None,
    rule: str = RULE,
    rule_min: str = RULE_MIN,
    stop: bool = True,
    on_step: Callable[[int, int, float, float], None] = lambda done, total, lr, loss: None,
) -> LrRange:
    """Sweep a resolved recipe's net, optimiser, batches and loss, and choose lr_min and lr_max.

    Each sweep has a seed of its own, the recipe's and those after it, which decides weights, order and augmentation
    (the weights of a given `net` stay), and a range of its own, shifted by half a decade down and up. `stop` is that of
    `sweep`. `on_step` is told steps done, steps in all, the rate and the loss. Raises UserError where the sweeps are
    impossible or show nothing.
    """
    if not isinstance(sweeps, int) or not 1 <= sweeps <= MOST_SWEEPS:
        raise UserError(f"{shown(sweeps)} sweeps are asked for; 1 to {MOST_SWEEPS} are possible")
    start, end = default_range(recipe)
    start, end = start if lr_start is None else lr_start, end if lr_end is None else lr_end
    check_range(start, end, steps)
    check_rules(rule, rule_min)
    weights = class_weights(recipe, sets.train, device)
    loss = functools.partial(F.cross_entropy, weight=weights, label_smoothing=recipe.loss.label_smoothing)
    done: list[Sweep] = []
    for number in range(sweeps):
        seeded = recipe.evolve(seed=(recipe.seed + number) % 2**63)
        swept = copied(net, "for the sweep") if net else build_net(seeded, len(sets.train.classes))
        to_channels_last(swept, device)
        if recipe.init is None:
            initialize(swept, build_loader(seeded, sets.train, device, train=False))
        else:
            take_over(swept, seeded, sets.train.classes)
        loader = build_loader(_at_peak(seeded, sets), sets.train, device, train=True)
        shift = 10 ** _SHIFTS_DECADES[number % len(_SHIFTS_DECADES)]
        done.append(
            sweep(
                swept,
                build_optimizer(swept, recipe.optimizer),
                itertools.chain.from_iterable(loader.epoch(epoch) for epoch in itertools.count()),
                lr_start=start * shift,
                lr_end=end * shift,
                steps=steps,
                loss=loss,
                precision=recipe.precision,
                seed=seeded.seed,
                stop=stop,
                on_step=_counted(on_step, number * steps, sweeps * steps),
            )
        )
    return choose(done, rule=rule, rule_min=rule_min)


def _at_peak(recipe: Recipe, sets: Sets) -> Recipe:
    """The recipe with images of one size, that of the epoch in which its rate is highest.

    A size that changed within a sweep would bend the loss as the rate does.
    """
    if not recipe.augment.resize:
        return recipe
    steps = len(build_loader(recipe, sets.train, torch.device("cpu"), train=True))
    schedule = build_schedule(recipe, steps, provisional(recipe.schedule.options))
    peak = max(range(recipe.epochs * steps), key=schedule)
    side = in_force(recipe.augment.resize, peak // steps, sets.train.image_size)
    return recipe.evolve(augment={"resize": ((0, side),)})


def default_range(recipe: Recipe) -> tuple[float, float]:
    """The rates that a sweep runs from and to where nothing else is asked for."""
    return _RANGES.get(recipe.optimizer.name, _RANGE)


def _counted(
    on_step: Callable[[int, int, float, float], None], before: int, total: int
) -> Callable[[float, float], None]:
    counter = itertools.count(before + 1)
    return lambda lr, loss: on_step(next(counter), total, lr, loss)
