"""The commands that train."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UserError
from ..torchrun import check_alone, is_first
from .app import (
    DataDirOption,
    DataOption,
    DeviceOption,
    JsonOption,
    RecipeArgument,
    SetOption,
    app,
    print_cross_validation,
)

if TYPE_CHECKING:
    from ..api import CrossValidation
    from ..observer import Observer
    from ..run import Run


@app.command()
def train(
    recipe: Annotated[
        str | None, typer.Argument(metavar="RECIPE", help="A shipped recipe's name or a YAML file.")
    ] = None,
    data: DataOption = None,
    data_dir: DataDirOption = None,
    changes: SetOption = None,
    seed: Annotated[int | None, typer.Option(help="Short for --set seed=...")] = None,
    init: Annotated[
        Path | None, typer.Option(help="Begin with the weights of this run; short for --set init=...")
    ] = None,
    folds: Annotated[
        int | None, typer.Option(help="Cross-validate: train so many times, each time without one fold of the images.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; it must not exist.")] = None,
    device: DeviceOption = "auto",
    resume: Annotated[
        Path | None, typer.Option(help="Go on with the training, or the cross-validation, in this folder.")
    ] = None,
    report: Annotated[
        bool, typer.Option("--report/--no-report", help="Draw pictures and write the report at the end.")
    ] = True,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write for TensorBoard too; needs the extra tensorboard.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a recipe, or go on with a run that was stopped."""
    from ..recipes import assignments
    from ..recipes import recipe as read

    asked = assignments(changes or [])
    start = None if init is None else str(init)
    asked |= {key: value for key, value in (("data.name", data), ("seed", seed), ("init", start)) if value is not None}
    if recipe is None and resume is None:
        raise UserError("train needs either a RECIPE or --resume RUN, such as: onecycle train custom_resnet")
    if resume is not None and out is not None:
        raise UserError("--out does not go with --resume; a resumed run stays in its folder")
    if resume is not None and folds is not None:
        raise UserError("--folds does not go with --resume; a cross-validation keeps its folds")
    from .. import api
    from ..cross_validation import is_cross_validation

    observer = _with_tensorboard() if tensorboard else None
    if folds is not None or (resume is not None and is_cross_validation(resume)):
        check_alone("a cross-validation")
    if resume is not None and is_cross_validation(resume):
        if recipe is not None or asked:
            raise UserError(f"{resume}: a cross-validation goes on as it began; leave the recipe and its changes out")
        found = api.resume_folds(resume, data_dir=data_dir, device=device, report=report, observer=observer)
        _end_folds(found, as_json, tensorboard)
        return
    if folds is not None:
        wanted = read(str(recipe), **asked)
        found = api.cross_validate(
            wanted, folds=folds, data_dir=data_dir, out=out, device=device, report=report, observer=observer
        )
        _end_folds(found, as_json, tensorboard)
        return
    if resume is not None:
        run = api.resume(
            resume, name=recipe, changes=asked, data_dir=data_dir, device=device, report=report, observer=observer
        )
    else:
        wanted = read(str(recipe), **asked)
        run = api.train(wanted, data_dir=data_dir, out=out, device=device, report=report, observer=observer)
    if not is_first():
        return
    _report_end(run, as_json)
    if tensorboard:
        from ..launch.tensorboard import write_pictures

        write_pictures(run)


@app.command("find-lr")
def find_lr(
    recipe: RecipeArgument,
    data: DataOption = None,
    data_dir: DataDirOption = None,
    changes: SetOption = None,
    seed: Annotated[int | None, typer.Option(help="Short for --set seed=...; of the first sweep.")] = None,
    sweeps: Annotated[int, typer.Option(help="Sweeps, each with a seed and a range of its own.")] = 3,
    steps: Annotated[int, typer.Option(help="Steps of a sweep.")] = 100,
    lr_start: Annotated[
        float | None, typer.Option(help="The lowest rate; by default one that suits the optimizer.")
    ] = None,
    lr_end: Annotated[float | None, typer.Option(help="The highest rate.")] = None,
    rule: Annotated[str, typer.Option(help="Of lr_max: minimum, slowing, minimum/10, steepest or valley.")] = "minimum",
    rule_min: Annotated[str, typer.Option(help="Of lr_min: onset.")] = "onset",
    out: Annotated[Path | None, typer.Option(help="The folder for the result; it must not exist.")] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Find lr_min and lr_max by a learning-rate range test."""
    from ..recipes import assignments
    from ..recipes import recipe as read

    asked = assignments(changes or [])
    asked |= {key: value for key, value in (("data.name", data), ("seed", seed)) if value is not None}
    wanted = read(recipe, **asked)
    from .. import api
    from ..run import Run

    folder = out or Run.new_path(f"{wanted.name}_find-lr")
    found = api.find_lr(
        wanted,
        data_dir=data_dir,
        out=folder,
        device=device,
        sweeps=sweeps,
        steps=steps,
        lr_start=lr_start,
        lr_end=lr_end,
        rule=rule,
        rule_min=rule_min,
    )
    if as_json:
        typer.echo(json.dumps({"run": str(folder), **found.to_dict()}, indent=2))
        return
    from ..progress import print_lr_range

    print_lr_range(found, folder, data_dir)


def _report_end(run: Run, as_json: bool) -> None:
    summary = run.summary
    if as_json:
        typer.echo(json.dumps({"run": str(run.path), **summary}, indent=2))
        return
    from ..progress import print_end

    print_end(run, summary)


def _end_folds(found: CrossValidation, as_json: bool, tensorboard: bool) -> None:
    print_cross_validation(found, as_json)
    if tensorboard:
        from ..launch.tensorboard import write_pictures

        for run in found.runs:
            write_pictures(run)


def _with_tensorboard() -> Observer:
    """The usual progress, and TensorBoard's."""
    from ..launch.tensorboard import TensorBoardObserver
    from ..observer import Observers
    from ..progress import default_observer

    return Observers(default_observer(), TensorBoardObserver())
