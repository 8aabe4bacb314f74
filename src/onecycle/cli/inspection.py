"""The commands that look at runs: evaluate, explain, report, compare."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Annotated

import typer

from ..errors import Stopped, UserError
from .app import DataDirOption, DeviceOption, JsonOption, RunArgument, app, print_cross_validation


@app.command(short_help="Accuracy with its interval, every class, confusions.")
def evaluate(
    context: typer.Context,
    run: RunArgument,
    data: Annotated[
        str | None, typer.Option(help="Another data set, by name or path, with the same classes; the net is run on it.")
    ] = None,
    data_dir: DataDirOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Accuracy with its interval, every class, what is taken for what, calibration; of a run or of all its folds."""
    from .. import api
    from ..cross_validation import is_cross_validation

    if is_cross_validation(run):
        _check_for_folds(context, run, "data", "data_dir", "device")
        print_cross_validation(api.CrossValidation.load(run), as_json)
        return
    for name in ("data_dir", "device") if data is None else ():
        if _given(context, name):
            said = "without it the predictions that the run has stored are looked at"
            raise UserError(f"--{name.replace('_', '-')} goes with --data; {said}")
    found = api.evaluate(run, data=data, data_dir=data_dir, device=device)
    if as_json:
        typer.echo(json.dumps({"run": str(run), "data": data, **found.to_dict()}, indent=2, allow_nan=False))
        return
    from ..progress import print_evaluation

    print_evaluation(f"{run}" + (f" on {data}" if data else ""), found)


@app.command(short_help="The surest mistakes, what the net looked at, label errors.")
def explain(
    context: typer.Context,
    run: RunArgument,
    count: Annotated[int, typer.Option(help="Mistakes shown, the most confident first; of folds, label errors.")] = 20,
    true: Annotated[str | None, typer.Option(help="Only images of this class.")] = None,
    predicted: Annotated[str | None, typer.Option(help="Only images taken for this class.")] = None,
    layer: Annotated[str | None, typer.Option(help="Of Grad-CAM; by default the one that the net names.")] = None,
    method: Annotated[str, typer.Option(help="grad_cam or grad_cam++.")] = "grad_cam",
    opacity: Annotated[float, typer.Option(help="Of the maps over the images, 0 to 1.")] = 0.5,
    saliency: Annotated[
        bool, typer.Option("--saliency", help="Integrated gradients too; needs the extra explain.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="The pictures' folder; by default RUN/plots.")] = None,
    data_dir: DataDirOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """The most confident mistakes, what the net looked at, and likely label errors, as pictures and a table.

    Of the folder of a cross-validation: the training images whose label is likely wrong.
    """
    from .. import api
    from ..cross_validation import is_cross_validation

    if is_cross_validation(run):
        _check_for_folds(context, run, "true", "predicted", "layer", "method", "opacity", "saliency", "device")
        _explain_folds(run, count, out, data_dir, as_json)
        return
    found = api.explain(
        run,
        count=count,
        true=true,
        predicted=predicted,
        layer=layer,
        method=method,
        saliency=saliency,
        data_dir=data_dir,
        device=device,
    )
    written = found.save(out, opacity=opacity)
    if as_json:
        pictures = [str(path) for path in written]
        typer.echo(json.dumps({"run": str(run), **found.to_dict(), "pictures": pictures}, indent=2, allow_nan=False))
        return
    from ..progress import print_explanation

    print_explanation(found.to_dict(), written)


def _check_for_folds(context: typer.Context, run: Path, *names: str) -> None:
    """Raise UserError where one of these options was given, which are for the net of one run."""
    for name in names:
        if _given(context, name):
            option = f"--{name.replace('_', '-')}"
            raise UserError(f"{run}: {option} goes with one run; name one of the folds, such as {run}/fold1")


def _given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _explain_folds(run: Path, count: int, out: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Likely label errors of the training images."""
    from .. import api
    from ..explanation import check_count

    check_count(count)
    found = api.CrossValidation.load(run).explain(data_dir=data_dir)
    written = found.save(out, count=count)
    if as_json:
        pictures = [str(path) for path in written]
        typer.echo(json.dumps({"run": str(run), **found.to_dict(), "pictures": pictures}, indent=2, allow_nan=False))
        return
    from ..progress import print_folds_explanation

    print_folds_explanation(found.to_dict(), written, count)


@app.command()
def report(
    run: RunArgument,
    watch: Annotated[bool, typer.Option("--watch", help="Keep the page fresh while the run goes on.")] = False,
    out: Annotated[Path | None, typer.Option(help="The page's file; by default RUN/report.html.")] = None,
    data_dir: DataDirOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Write the report: one HTML file that needs nothing else."""
    from .. import api

    if watch:
        try:
            for path in api.watch(run, out=out, data_dir=data_dir, device=device):
                typer.echo(f"wrote {path}")
        except KeyboardInterrupt:
            raise Stopped(f"{run}: no longer watched; its page stays as it was last written", signal.SIGINT) from None
        return
    typer.echo(f"wrote {api.report(run, out=out, data_dir=data_dir, device=device)}")


@app.command(short_help="Runs side by side: is the difference more than chance?")
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN ...", help="Two runs or more; the first is the base.")],
    out: Annotated[Path | None, typer.Option(help="Write a page there too, such as comparison.html.")] = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """What differs in the recipes, and whether the accuracies differ by more than chance."""
    from .. import api

    found = api.compare(*runs, out=out, data_dir=data_dir)
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=2, allow_nan=False))
        return
    from ..progress import print_comparison

    print_comparison(found)
    if out is not None:
        typer.echo(f"wrote {out}")
