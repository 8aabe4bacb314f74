"""The training that is killed, and what must be equal at its end."""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path
from typing import Any

import numpy as np
import small
from torch import nn

from onecycle import Dataset, Run, cli, files, lr_range, registry, training
from onecycle.api import pictures
from onecycle.api import training as api_training
from onecycle.checkpoint import load_state
from onecycle.plots import style
from onecycle.sealing import check_sealed_text, read_sealed_json
from torture.children import begin
from torture.operations import Operations


def settings(*changes: str) -> list[str]:
    """Changes to a recipe as the words of a command line."""
    return [word for change in changes for word in ("--set", change)]


TRAIN = [
    *("train", "custom_resnet", "--device", "cpu"),
    *settings("data.name=quarters", "data.batch_size=60", "data.val_fraction=0.2", "augment.flip=none"),
    *settings("model={name: tiny}", "precision=fp32", "ema.decay=0.5", "checkpoint.every_seconds=0.000001"),
    *settings("schedule.epochs=2", "schedule.peak_epoch=1", "schedule.lr_min=find", "schedule.lr_max=find"),
]
_ALL_PICTURES = pictures._pictures


def tiny(num_classes: int) -> nn.Module:
    """A net of a few hundred weights."""
    assert num_classes == 4
    return small.net()


def quarters(*, data_dir: Path | None = None, image_size: int = 32) -> Dataset:
    """Sixty images to test and two hundred to train."""
    return small.dataset()


def command(
    run: Path,
    arguments: list[str],
    *,
    drawn: bool = False,
    unsafe: bool = False,
    die_at: int | None = None,
    inside: bool = False,
) -> None:
    """Run the command line with the small net and images, watched in what it does to the folder `run`.

    Rows are written step by step, the range test is short, pictures are few and coarse, or where not `drawn` none. With
    `unsafe` files are written in place. `die_at` and `inside` are those of `Operations`, whose log is run.operations.
    """
    registry.register("model", "tiny", "torture.subject:tiny")
    registry.register("data", "quarters", "torture.subject:quarters")
    training.FLUSH_SECONDS = 0.0
    lr_range.find = functools.partial(lr_range.find, sweeps=1, steps=20)
    style._FILE_DPI = 20  # type: ignore[misc]
    pictures._pictures = _few
    if not drawn:
        api_training.draw = lambda run, found: None
        pictures.finish = lambda *arguments, **options: None
    if unsafe:
        files.atomic_path = contextlib.nullcontext  # type: ignore[assignment]
    Operations(run, run.with_suffix(".operations"), die_at, inside=inside)
    begin()
    cli.main(arguments)


def content(folder: Path) -> dict[str, Any]:
    """What must be equal, bit for bit, of two runs that ended: all but times, and what resuming notes."""
    run = Run.open(folder)
    summary = {key: value for key, value in run.summary.items() if key not in small.TIMES}
    predictions = run.predictions()
    return {
        "summary": {**summary, "test": _timeless(summary["test"])},
        "metrics": [_timeless(row) for row in run.metrics()],
        "steps": [_timeless(row) for row in run.steps()],
        "predictions": {name: (str(one.dtype), one.shape, one.tobytes()) for name, one in predictions.items()},
        "weights": {name: value.numpy().tobytes() for name, value in run.weights().items()},
        **{
            name: (folder / name).read_bytes()
            for name in ("recipe.yaml", "model.json", "lr_range.json", "model.safetensors", "best.safetensors")
            if (folder / name).exists()
        },
    }


def difference(one: dict[str, Any], other: dict[str, Any]) -> str | None:
    """The names of what is not equal; None where all is."""
    differing = [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]
    return f"not equal: {', '.join(differing)}" if differing else None


def half_written(folder: Path) -> str | None:
    """The first file that has its final name and is not whole. CSV files may lack their end; they are read without."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")):
        try:
            if path.suffix == ".json":
                read_sealed_json(path)
            elif path.name == "recipe.yaml":
                check_sealed_text(path)
            elif path.parent.name == "checkpoints":
                load_state(path)
            elif path.suffix == ".safetensors":
                small.load_file(path)
            elif path.suffix == ".npz":
                with np.load(path) as file:
                    _ = [file[name] for name in file]
            elif path.suffix == ".png":
                assert path.read_bytes().endswith(b"IEND\xaeB`\x82")
            elif path.suffix == ".html":
                assert path.read_text().rstrip().endswith("</html>")
        except Exception as error:
            return f"{path.name} is not whole: {error}"
    return None


def _few(*arguments: Any) -> dict[str, Any]:
    """Three of the pictures: all are written alike."""
    found = _ALL_PICTURES(*arguments)
    return {name: found[name] for name in ("lr_range", "curves", "schedule") if name in found}


def _timeless(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in small.TIMES}
