"""What processes that train one net together must have in common, and what none of them could do; a line each."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from .data import Loader
from .distributed import World
from .errors import UserError
from .hardware import source_digest
from .preparation import Sets, build_loader, fingerprints
from .recipes import Recipe, flatten
from .rehearsal import try_side

_SHOWN = 3  # differences in a line


def check_agreement(world: World, recipe: Recipe, sets: Sets, net: nn.Module | None) -> None:
    """Raise UserError, on all ranks alike, where one has another recipe, net, images or code than rank 0.

    The recipe is the one asked for; `net` is one that was handed in.
    """
    if world.size == 1:
        return
    mine = {
        **{f"recipe's {key}": value for key, value in flatten(recipe.model_dump(mode="json")).items()},
        **{f"images ({key.partition('_')[0]})": value for key, value in fingerprints(sets).items()},
        "net": None if net is None else [(name, list(one.shape)) for name, one in net.state_dict().items()],
        "code of onecycle": source_digest(),
        "torch": torch.__version__,
        "kind of device": world.device.type,
    }
    first, *others = world.all_gather(mine)
    for rank, found in enumerate(others, start=1):
        keys = [key for key in {**first, **found} if first.get(key) != found.get(key)]
        if keys:
            listed = ", ".join(f"{key}{_values(found.get(key), first.get(key))}" for key in keys[:_SHOWN])
            more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
            raise UserError(f"rank {rank} differs from rank 0 in the {listed}{more}; all processes need the same")


def check_shares(world: World, recipe: Recipe, sets: Sets, net: nn.Module) -> None:
    """Raise UserError where a batch cannot be split over the processes, or norms not be computed over all of it."""
    if world.size == 1:
        return
    size = recipe.data.batch_size
    if world.size > size:
        raise UserError(f"{world.size} processes are more than a batch has images; at most {size}, as data.batch_size")
    if recipe.distributed.sync_batchnorm and world.device.type != "cuda":
        raise UserError(
            f"distributed.sync_batchnorm: PyTorch's SyncBatchNorm needs CUDA, not {world.device}; false here"
        )
    if recipe.compile != "none":
        raise UserError(f"compile {recipe.compile} is for a training in one process, not {world.size}; none here")
    loader = build_loader(recipe, sets.train, torch.device("cpu"), train=True)
    alone = next((count for count in _batches(recipe, loader) if any(n == 1 for n in _parts(world, count))), None)
    if alone is not None:
        what = f"cannot train on one image, which is some process's part of a batch of {alone} over {world.size}"
        try_side(net, sets.train.image_size, what, recipe.precision, world.device, train=True)


def _batches(recipe: Recipe, loader: Loader) -> Iterator[int]:
    """How many images batches have."""
    yield recipe.data.batch_size
    for epoch in sorted({0, *(epoch for epoch, _ in recipe.data.hardest)}):
        rest = loader.images_in(epoch) % recipe.data.batch_size
        if rest and not recipe.data.drop_last:
            yield rest


def _parts(world: World, count: int) -> list[int]:
    return [len(part) for part in world.split(range(count))]


def _values(there: object, on_first: object) -> str:
    """Both values where they are short enough to be shown."""
    both = f" ({there} there, {on_first} on rank 0)"
    return both if len(both) < 100 else ""
