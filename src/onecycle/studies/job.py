"""One training among many: begun, gone on with, or found complete."""

from __future__ import annotations

import os
import shutil
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from ..api.resuming import resume
from ..api.training import begin
from ..data import Dataset, ImageSet
from ..errors import RatesRefused, TrainingFailed, lacks_memory
from ..files import disk_errors
from ..hardware import autocast, fast, resolve_device, reused_memory, synchronize, threads, to_channels_last
from ..observer import Observer
from ..optim import build_optimizer
from ..preparation import (
    Sets,
    build_loader,
    build_net,
    class_weights,
    copied,
    initialize,
    load_data,
    resolve,
    split,
    with_own,
)
from ..recipes import Recipe
from ..run import Run
from ..sealing import read_sealed_json, write_sealed_json

FOR_EACH_TRAINING = "for each training"  # why a net that was handed in is copied
FAILED = "failed.json"  # in the folder of a run whose numbers went wrong: begun again, they would do so again
_WARM_UP_STEPS = 3
_KEPT_SETS = 2  # of images, in memory: of two recipes that are compared
_loaded: OrderedDict[tuple[object, ...], Dataset | Sets] = OrderedDict()
_warm: set[str] = set()  # the recipes, but for their seeds, that this process has warmed up for


@dataclass(frozen=True)
class Job:
    """A training of `recipe` into `folder`; all that a process elsewhere needs to carry it out.

    `device` is as for `onecycle.train`, and so are `model` and `data`, which may be handed in from Python; the net is
    copied before it is trained.
    """

    recipe: Recipe
    folder: Path
    data_dir: Path | None
    device: str
    model: nn.Module | None = None
    data: Dataset | ImageSet | None = None


def train_job(job: Job, observer: Observer | None = None) -> Path:
    """Train what of the job is missing and return the folder of its run, which has neither pictures nor report.

    One that has begun goes on from its checkpoint; of one that is finished the checkpoints are removed. The first
    training of a process is preceded by a few steps of a copy, so that it takes no longer than those after it. Raises
    what a training raises; TrainingFailed also where memory is too small, where a range test finds no rates that fit,
    and, without training, where it was raised before.
    """
    watcher = observer or Observer()
    Run.remove_unbegun(job.folder)
    begun = job.folder.exists()
    if begun and Run.open(job.folder).finished:
        return _ended(job.folder)
    failed = job.folder / FAILED
    if failed.exists():
        raise TrainingFailed(str(read_sealed_json(failed).get("error", "failed")))
    with threads(job.recipe.resources.cpus):
        wanted, net, dataset = with_own(job.recipe, copied(job.model, FOR_EACH_TRAINING), job.data)
        sets = split(wanted, dataset or load_once(wanted, job.data_dir, watcher))
        device = resolve_device(job.device)
        try:
            _warm_up(wanted, net, sets, device)
            if begun:
                resume(
                    job.folder,
                    model=net,
                    data=job.data,
                    data_dir=job.data_dir,
                    device=job.device,
                    report=False,
                    observer=watcher,
                )
            else:
                begin(
                    wanted,
                    net,
                    sets,
                    data_dir=job.data_dir,
                    out=job.folder,
                    device=device,
                    observer=watcher,
                    report=False,
                )
        except TrainingFailed as error:
            write_sealed_json(failed, {"error": str(error)})
            raise
        except RatesRefused as error:  # before there is a folder
            raise TrainingFailed(error.problems[0]) from None
        except (RuntimeError, MemoryError) as error:
            if not lacks_memory(error):
                raise
            raise TrainingFailed("there is not enough memory for it") from None  # not kept: elsewhere there may be
    return _ended(job.folder)


def _ended(folder: Path) -> Path:
    """The folder of a run that has ended, without its checkpoints: of many runs they would fill the disk."""
    checkpoints = Run(folder).checkpoints.path
    with disk_errors(checkpoints):
        if checkpoints.exists():
            shutil.rmtree(checkpoints)
    return folder


def load_once(recipe: Recipe, data_dir: Path | None, observer: Observer) -> Dataset | Sets:
    """The images that a recipe names, as `load_data`; kept in this process until `forget_images`."""
    part = recipe.data
    key = (
        part.name,
        part.image_size,
        part.fit,
        part.damaged,
        part.split_seed,
        data_dir,
        os.environ.get("ONECYCLE_DATA"),
    )
    if key not in _loaded:
        while len(_loaded) >= _KEPT_SETS:
            _loaded.popitem(last=False)
        _loaded[key] = load_data(recipe, data_dir, observer=observer)
    return _loaded[key]


def forget_images() -> None:
    """Let go of the images that are kept; those on the disk may have changed since."""
    _loaded.clear()


def _warm_up(recipe: Recipe, net: nn.Module | None, sets: Sets, device: torch.device) -> None:
    """A few steps of a copy, once for each recipe: what a first step does but once is then done."""
    resolved = resolve(recipe, sets, device).evolve(seed=0)
    key = f"{device} {resolved.to_yaml()}"
    if key in _warm:
        return
    forked = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(forked), reused_memory(device):
        tried = copied(net, FOR_EACH_TRAINING) or build_net(resolved, len(sets.train.classes))
        to_channels_last(tried, device).train()
        loader = build_loader(resolved, sets.train, device, train=True)
        if resolved.init is None:
            initialize(tried, build_loader(resolved, sets.train, device, train=False))
        optimizer = build_optimizer(tried, resolved.optimizer)
        weights = class_weights(resolved, sets.train, device)
        for _, batch in zip(range(_WARM_UP_STEPS), loader.epoch(0), strict=False):
            with fast(resolved.precision, device):
                logits_nk = tried(batch.images_nchw)
            loss = F.cross_entropy(logits_nk.float(), batch.labels, weights)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            with autocast(resolved.precision, device):
                optimizer.step()
        synchronize(device)
    _warm.add(key)
