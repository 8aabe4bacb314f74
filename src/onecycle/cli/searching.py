"""The command that searches for a better recipe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .app import DataDirOption, DataOption, DeviceOption, JsonOption, RecipeArgument, SetOption, app
from .engines import CpusOption, EngineOption, GpusOption, RayAddressOption, engine_of, resources_of


@app.command(short_help="Search for a better recipe with Optuna, on held-out images.")
def search(
    recipe: RecipeArgument,
    space: Annotated[
        Path, typer.Option(metavar="FILE", help="What varies: a YAML file of recipe keys with lists or ranges.")
    ],
    trials: Annotated[int | None, typer.Option(help="How many in all; by default 20, or the whole of a grid.")] = None,
    timeout: Annotated[
        float | None, typer.Option(metavar="MINUTES", help="After so many, no further trial is begun.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder; where it holds this search, it goes on there.")] = None,
    sampler: Annotated[str, typer.Option(help="tpe, random, grid or gp.")] = "tpe",
    pruner: Annotated[str, typer.Option(help="median, hyperband or none.")] = "median",
    storage: Annotated[
        str | None, typer.Option(metavar="URL", help="A database for the trials; by default search.db in the folder.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes on this machine, which share its threads.")] = 1,
    data: DataOption = None,
    data_dir: DataDirOption = None,
    changes: SetOption = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the sampler and of every trial; short for --set seed=...")
    ] = None,
    device: DeviceOption = "auto",
    cpus_per_trial: CpusOption = None,
    gpus_per_trial: GpusOption = None,
    engine: EngineOption = "local",
    ray_address: RayAddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search for a better recipe with Optuna, measured on a held-out part of the training images."""
    from ..recipes import assignments

    asked = assignments(changes or []) | resources_of(cpus_per_trial, gpus_per_trial)
    asked |= {key: value for key, value in (("data.name", data), ("seed", seed)) if value is not None}
    from .. import studies
    from ..progress import default_observer

    watcher = default_observer()
    found = studies.search(
        recipe,
        space=space,
        trials=trials,
        timeout=timeout,
        out=out,
        sampler=sampler,
        pruner=pruner,
        storage=storage,
        workers=workers,
        engine=engine_of(engine, ray_address, watcher.on_message),
        observer=watcher,
        data_dir=data_dir,
        device=device,
        **asked,
    )
    if as_json:
        typer.echo(json.dumps({"folder": str(found.path), **found.to_dict()}, indent=2, allow_nan=False))
        return
    from ..studies.tuning.printing import print_search

    print_search(found)
