"""The command that trains over many seeds: trials."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import TrainingFailed
from .app import DataDirOption, DataOption, DeviceOption, JsonOption, RecipeArgument, SetOption, app
from .engines import CpusOption, EngineOption, GpusOption, RayAddressOption, engine_of, resources_of

if TYPE_CHECKING:
    from ..studies import Trials


@app.command(short_help="Train over many seeds; compare recipes over equal seeds.")
def trials(
    recipe: RecipeArgument,
    seeds: Annotated[int, typer.Option(help="How many: seeds 0, 1, 2, ...")],
    against: Annotated[
        str | None, typer.Option(metavar="RECIPE", help="Another recipe, over equal seeds, to compare with.")
    ] = None,
    vary: Annotated[
        str | None,
        typer.Option(metavar="KEY=A,B,C", help="Instead: one key with several values; the first is the base."),
    ] = None,
    data: DataOption = None,
    data_dir: DataDirOption = None,
    changes: SetOption = None,
    out: Annotated[
        Path | None, typer.Option(help="The folder; where it holds these trials, what is missing is trained.")
    ] = None,
    device: DeviceOption = "auto",
    cpus_per_trial: CpusOption = None,
    gpus_per_trial: GpusOption = None,
    engine: EngineOption = "local",
    ray_address: RayAddressOption = None,
    difference: Annotated[
        float | None, typer.Option(help="Points of accuracy: how many seeds would show such a difference.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train a recipe over many seeds: mean, spread and interval; or compare recipes over equal seeds."""
    from ..recipes import assignments

    asked = assignments(changes or []) | resources_of(cpus_per_trial, gpus_per_trial)
    asked |= {} if data is None else {"data.name": data}
    from .. import studies
    from ..progress import default_observer

    watcher = default_observer()
    key_and_values = None if vary is None else dict([studies.read_vary(vary)])
    found = studies.trials(
        recipe,
        seeds=seeds,
        against=against,
        vary=key_and_values,
        data_dir=data_dir,
        out=out,
        device=device,
        engine=engine_of(engine, ray_address, watcher.on_message),
        observer=watcher,
        difference=difference,
        **asked,
    )
    if as_json:
        typer.echo(json.dumps({"folder": str(found.path), **found.to_dict()}, indent=2, allow_nan=False))
    else:
        from ..studies.seeds.printing import print_trials

        print_trials(found)
    _end(found)


def _end(found: Trials) -> None:
    """Raise TrainingFailed where a trial failed; all others are there."""
    if not found.failed:
        return
    first = found.failed[0]
    which = f"{first.variant}, seed {first.seed}" if len(found.variants) > 1 else f"seed {first.seed}"
    raise TrainingFailed(f"{len(found.failed)} of {len(found.trials)} trials failed, first {which}: {first.error}")
