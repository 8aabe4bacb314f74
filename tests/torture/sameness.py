"""The same seed on the same machine gives the same run, bit for bit, whatever else is different."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import small

import onecycle
from onecycle import Dataset, Stopped, training
from onecycle.api import pictures
from torture.children import Child, begin
from torture.subject import content, difference, settings
from torture.tally import Tally, at_least

_RATES = {"name": "one_cycle", "epochs": 2, "peak_epoch": 1, "lr_min": 0.001}
_PLATEAU = {"name": "plateau", "epochs": 2, "lr": 0.001, "patience": 0, "threshold": 0.9}
_FEW_WIDTHS: dict[str, Any] = {"name": "whitened_convnet", "widths": [16, 24, 24]}
VARIANTS: dict[str, dict[str, Any]] = {
    "custom_resnet, fp32, adamw, ema": {
        **{"model": {"name": "custom_resnet", "stage_dropout": 0.1}, "precision": "fp32", "ema.decay": 0.9},
        **{"optimizer": {"name": "adamw"}, "schedule": {**_RATES, "lr_max": 0.002}},
    },
    "custom_resnet, bf16, sgd, hardest": {
        **{"model": {"name": "custom_resnet"}, "precision": "bf16", "data.hardest": [[1, 0.5]]},
        **{"optimizer": {"name": "sgd"}, "schedule": {**_RATES, "lr_max": 0.02, "momentum": [0.8, 0.95]}},
    },
    "compact, fp32, adam, plateau": {
        **{"model": {"name": "compact"}, "precision": "fp32", "augment.rotate": 15},
        **{"optimizer": {"name": "adam"}, "schedule": _PLATEAU},
    },
    "compact, bf16, muon, ema": {
        **{"model": {"name": "compact"}, "precision": "bf16", "ema.decay": 0.9},
        **{"optimizer": {"name": "muon"}, "schedule": {**_RATES, "lr_max": 0.02}},
    },
    "whitened_convnet, fp32, muon, hardest, resize": {
        **{"model": _FEW_WIDTHS, "precision": "fp32", "data.hardest": [[1, 0.5]], "augment.resize": [[0, 20], [1, 32]]},
        **{"optimizer": {"name": "muon"}, "schedule": {**_RATES, "lr_max": 0.02}, "tta": "flip_shift"},
    },
    "whitened_convnet, bf16, muon, hardest, resize": {
        **{"model": _FEW_WIDTHS, "precision": "bf16", "data.hardest": [[1, 0.5]], "augment.resize": [[0, 20], [1, 32]]},
        **{"optimizer": {"name": "muon"}, "schedule": {**_RATES, "lr_max": 0.02}},
    },
}
SURROUNDINGS = (
    {"PYTHONHASHSEED": "0", "LC_ALL": "C", "TZ": "UTC"},
    {"PYTHONHASHSEED": "1", "LC_ALL": "C.UTF-8", "TZ": "Asia/Kolkata"},
    {"PYTHONHASHSEED": "4294967295", "LC_ALL": "POSIX", "TZ": "America/St_Johns", "PYTHONUTF8": "1"},
    {"PYTHONHASHSEED": "random", "LANG": "de_DE.UTF-8", "TZ": "Pacific/Apia", "PYTHONOPTIMIZE": "1"},
)
_REAL = [
    *("train", "digits", "--device", "cpu"),
    *settings("model.name=compact", "data.train_limit=120", "schedule.epochs=2", "schedule.peak_epoch=1"),
    *settings("evaluate_every=0"),
]


def attacks(folder: Path, seed: int, share: float) -> Iterator[Tally]:
    """All that this part varies."""
    for number, name in enumerate(list(VARIANTS)[: at_least(len(VARIANTS), share)]):
        yield resumed_anywhere(folder / str(number), name, (1, 2), seed, share)
    yield elsewhere(folder / "elsewhere", at_least(len(SURROUNDINGS), share, 2))


def resumed_anywhere(folder: Path, name: str, threads: tuple[int, ...], seed: int, share: float) -> Tally:
    """A training in another process, and stopped after each step and resumed, or a share; by number of threads."""
    tally = Tally(f"again, and resumed after every step: {name}")
    for number in threads:
        parent = folder / f"{number} threads"
        whole = parent / "whole"
        _train(whole, name, number)
        undisturbed = content(whole)
        steps = undisturbed["summary"]["steps"]
        random = np.random.default_rng((seed, number))
        stops = sorted(random.choice(np.arange(1, steps), at_least(steps - 1, share), replace=False).tolist())
        for stop in (0, *stops):
            run = parent / f"stopped{stop}"
            _train(run, name, number, stop)
            wrong = difference(undisturbed, content(run))
            tally.add(wrong and f"{number} threads, stopped after step {stop} (0: not at all): {wrong}")
    return tally


def elsewhere(folder: Path, count: int) -> Tally:
    """In processes of other hash seeds, locales, time zones and working folders."""
    tally = Tally("in other surroundings")
    first: dict[str, Any] | None = None
    for number, surroundings in enumerate(SURROUNDINGS[:count]):
        place = folder / f"place {number}"
        place.mkdir(parents=True)
        environment = os.environ | {"OMP_NUM_THREADS": "1"} | surroundings
        command = [sys.executable, "-m", "onecycle", *_REAL, "--out", "run"]
        ended = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, errors="replace")
        if ended.returncode:
            tally.add(f"{surroundings}: {ended.stderr}")
            continue
        found = content(place / "run")
        if first is not None:
            wrong = difference(first, found)
            tally.add(wrong and f"{surroundings}: {wrong}")
        first = first or found
    return tally


def train(out: Path, name: str, threads: int, stop: int) -> None:
    """Train a variant; stopped after that step, where it is not 0, and resumed."""
    import torch

    begin()
    torch.set_num_threads(threads)
    training.FLUSH_SECONDS = 0.0
    pictures.finish = lambda *arguments, **options: None
    wanted = onecycle.recipe(
        "custom_resnet",
        **{"data.batch_size": 8, "augment.cutout": 4, "augment.crop_padding": 2, **VARIANTS[name]},
    )
    data = Dataset(small.images(28, 0), small.images(12, 1))  # the last batch is short
    if stop == 0:
        onecycle.train(wanted, data=data, out=out, device="cpu", observer=onecycle.Observer())
        return
    try:
        onecycle.train(wanted, data=data, out=out, device="cpu", observer=small.StopAt(stop))
    except Stopped:
        onecycle.resume(out, data=data, device="cpu", observer=onecycle.Observer())


def _train(out: Path, name: str, threads: int, stop: int = 0) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    child = Child(train, out, name, threads, stop, said=out.with_suffix(".said"))
    assert child.wait() == 0, child.said
