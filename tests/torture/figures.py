"""Numbers that go wrong: figures that are not finite put into a training, and image sets that are barely sets.

A training must stop with exit code 3 and name the step, the learning rate and the last good checkpoint, save nothing
that is not finite, and go on with a lower rate. The image sets must be refused in one line or give figures that are
finite where they are defined, through every command.
"""

from __future__ import annotations

import itertools
import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import small
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from onecycle import api
from torture import small_runs
from torture.bare_sets import image_sets
from torture.small_runs import STEPS, Listener, said, saved
from torture.tally import Tally, at_least

PLACES = ("pixels", "activation", "gradient", "large gradient", "weight", "buffer", "average", "logits in evaluation")
VALUES = (math.nan, math.inf, -math.inf)


def attacks(folder: Path, seed: int, share: float) -> Iterator[Tally]:
    """A tally for figures in a training, one for image sets."""
    folder.mkdir(parents=True, exist_ok=True)
    with small_runs.quickly():
        yield not_finite(folder, seed, share)
        yield image_sets(folder, seed, share)


class Poisoned(nn.Module):
    """A net into which a value gets at the training step `step`, counted from 1, at one of PLACES."""

    done = 0  # steps; of the class, as the average of the weights is a copy of the net

    def __init__(self, place: str, value: float, step: int) -> None:
        super().__init__()
        self.net = small.net()
        self.place, self.value, self.at = place, value, step
        Poisoned.done = 0
        if "gradient" in place:
            self.net[3].weight.register_hook(self.spoil_gradient)

    def forward(self, images_nchw: Tensor) -> Tensor:
        """The logits, spoilt where this is the step."""
        if not self.training:
            spoilt = self.place == "logits in evaluation" and self.done >= self.at
            return self.net(images_nchw) + (self.value if spoilt else 0)
        Poisoned.done += 1
        if self.done != self.at:
            return self.net(images_nchw)
        if self.place == "pixels":
            images_nchw = images_nchw.clone()
            images_nchw[0, 1, 20, 20] = self.value
        if self.place == "activation":
            return self.net[6:](self.net[:6](images_nchw) + self.value)
        logits_nk = self.net(images_nchw)
        with torch.no_grad():
            if self.place == "weight":
                self.net[3].weight.data[0, 0, 0, 0] = self.value
            if self.place == "buffer":
                self.net[1].running_var.data[2] = self.value
        return logits_nk

    def spoil_gradient(self, gradient: Tensor) -> Tensor:
        """A hook on a weight's gradient."""
        if self.done != self.at:
            return gradient
        # Finite, and its square is not: Adam's second moment would be.
        return gradient + (1e30 if self.place == "large gradient" else self.value)


class SpoiltAverage(AveragedModel):
    """An average of the weights that takes up a value at a step."""

    poison = (math.nan, 0)

    def update_parameters(self, model: nn.Module) -> None:
        """As torch's, and once with the value."""
        super().update_parameters(model)
        value, step = self.poison
        if int(self.n_averaged) == step:
            next(self.module.parameters()).data[0, 0, 0, 0] = value


def not_finite(folder: Path, seed: int, share: float) -> Tally:
    """Every place, every value, every step."""
    tally = Tally("a value that is not finite")
    every = list(itertools.product(PLACES, VALUES, range(1, STEPS + 1), (1e-9, 300.0)))
    random = np.random.default_rng((seed, 1))
    latest = 0
    for case in sorted(random.permutation(len(every))[: at_least(len(every), share, len(PLACES))]):
        place, value, step, seconds = every[case]
        path = folder / "figures"
        shutil.rmtree(path, ignore_errors=True)
        failure, named = stopped(path, place, value, step, seconds)
        latest = max(latest, named - step)
        tally.add(failure and f"{value} in {place} at step {step}, a checkpoint every {seconds} s: {failure}")
    tally.figure = f"noticed at most {latest} steps later"
    return tally


def stopped(path: Path, place: str, value: float, step: int, seconds: float) -> tuple[str | None, int]:
    """What did not hold where a value was put into a training, and the step that was named."""
    model = Poisoned(place, value, step)
    spoilt = type("Spoilt", (SpoiltAverage,), {"poison": (value, step if place == "average" else 0)})
    try:
        with mock.patch("onecycle.optim.averaging.AveragedModel", spoilt):
            small_runs.train(path, model=model, **{"checkpoint.every_seconds": seconds})
        return "it went on to its end", step
    except Exception as error:
        message, wrong = said(error, 3)
    if wrong is not None:
        return wrong, step
    found = re.search(r"at step (\d+) of \d+, learning rate [\d.e-]+; (.*)$", message)
    if not found:
        return f"said: {message}", step
    named, way_out = int(found[1]), found[2]
    checkpoints = sorted((path / "checkpoints").glob("*.safetensors"))
    needed = f"the last good checkpoint is {checkpoints[-1]}" if checkpoints else "there is no checkpoint yet"
    if not way_out.startswith(needed):
        return f"names another checkpoint: {message}", named
    if not step <= named <= STEPS:
        return f"names step {named}", named
    return saved(path) or goes_on(path), named


def goes_on(path: Path) -> str | None:
    """What did not hold in going on with a lower rate and a net that is well."""
    model = Poisoned("nowhere", 0.0, 0)
    try:
        changes = {"schedule.lr_max": 0.003}
        run = api.resume(path, changes=changes, model=model, data=small_runs.data(), observer=Listener())
        assert run.recipe.schedule.options["lr_max"] == 0.003
        assert len(run.steps()) == STEPS and run.evaluate().images == 60
    except Exception as error:
        return f"does not go on: {said(error)[0]}"
    return saved(path)
