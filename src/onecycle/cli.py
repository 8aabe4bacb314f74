"""The command line: what is asked for is handed to `onecycle.api`. Whatever is slow to import waits for its command."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from .errors import OnecycleError, UserError, suggestion

if TYPE_CHECKING:
    from .run import Run

app = typer.Typer(
    help="Train small image classifiers fast, and see what they learned.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
recipes_app = typer.Typer(help="List the shipped recipes, or show one.", rich_markup_mode=None)
models_app = typer.Typer(help="Look at the nets.", rich_markup_mode=None)
data_app = typer.Typer(help="Get, describe and look at data sets.", rich_markup_mode=None)
app.add_typer(recipes_app, name="recipes")
app.add_typer(models_app, name="models")
app.add_typer(data_app, name="data")

RecipeArgument = Annotated[str, typer.Argument(metavar="RECIPE", help="A shipped recipe's name or a YAML file.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key, such as schedule.epochs=3.")
]
DataDirOption = Annotated[
    Path | None, typer.Option("--data-dir", help="Where the data set lies; else ONECYCLE_DATA, else the user's cache.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON alone on stdout.")]


@app.callback()
def _root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Train small image classifiers fast, and see what they learned."""


@app.command()
def train(
    recipe: Annotated[
        str | None, typer.Argument(metavar="[RECIPE]", help="A shipped recipe's name or a YAML file.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Short for --set data.name=...")] = None,
    data_dir: DataDirOption = None,
    changes: SetOption = None,
    seed: Annotated[int | None, typer.Option(help="Short for --set seed=...")] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; it must not exist.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    resume: Annotated[Path | None, typer.Option(help="Go on with the training in this run's folder.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Train a recipe, or go on with a run that was stopped."""
    from .recipes import assignments
    from .recipes import recipe as read

    asked = assignments(changes or [])
    asked |= {key: value for key, value in (("data.name", data), ("seed", seed)) if value is not None}
    if recipe is None and resume is None:
        raise UserError("train needs either a RECIPE or --resume RUN, such as: onecycle train custom_resnet")
    if resume is not None and out is not None:
        raise UserError("--out does not go with --resume; a resumed run stays in its folder")
    from . import api

    if resume is not None:
        run = api.resume(resume, name=recipe, changes=asked, data_dir=data_dir, device=device)
    else:
        run = api.train(read(str(recipe), **asked), data_dir=data_dir, out=out, device=device)
    _report_end(run, as_json)


@app.command("find-lr")
def find_lr(
    recipe: RecipeArgument,
    data: Annotated[str | None, typer.Option(help="Short for --set data.name=...")] = None,
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
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Find lr_min and lr_max by a learning-rate range test."""
    from .recipes import assignments
    from .recipes import recipe as read

    asked = assignments(changes or [])
    asked |= {key: value for key, value in (("data.name", data), ("seed", seed)) if value is not None}
    wanted = read(recipe, **asked)
    from . import api
    from .run import Run

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
    from .progress import print_lr_range

    print_lr_range(found, folder)


@recipes_app.callback(invoke_without_command=True)
def recipes(context: typer.Context) -> None:
    """List the shipped recipes."""
    if context.invoked_subcommand is not None:
        return
    from . import registry

    for name in registry.names("recipe"):
        document = (registry.load("recipe", name).__doc__ or "").strip()
        typer.echo(f"{name}\n    " + "\n    ".join(line.strip() for line in document.splitlines()) + "\n")


@recipes_app.command("show")
def recipes_show(recipe: RecipeArgument, changes: SetOption = None) -> None:
    """Print a recipe as YAML, every default filled in."""
    from .recipes import assignments
    from .recipes import recipe as read

    typer.echo(read(recipe, **assignments(changes or [])).to_yaml(), nl=False)


@models_app.callback(invoke_without_command=True)
@data_app.callback(invoke_without_command=True)
def group(context: typer.Context) -> None:
    """Print what there is where no command is named."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@models_app.command("summary")
def models_summary(
    net: Annotated[str, typer.Argument(metavar="NET", help="A registered net, such as custom_resnet.")],
    image_size: Annotated[int, typer.Option(min=32, help="Height and width in pixels.")] = 32,
    num_classes: Annotated[int, typer.Option(min=2, help="Classes.")] = 10,
    batch_size: Annotated[int, typer.Option(min=1, help="Images in the batch.")] = 1,
) -> None:
    """Print a net's layers: kind, output shape, parameters, multiply-adds."""
    from . import api
    from .models.summary import render

    summary = api.summarize_net(net, num_classes=num_classes, image_size=image_size, batch_size=batch_size)
    typer.echo(render(summary))


@data_app.command("fetch")
def data_fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="cifar10.")],
    data_dir: DataDirOption = None,
    mirror: Annotated[
        list[str] | None, typer.Option(help="An address to try first; also ONECYCLE_MIRROR. May be repeated.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds without a byte before the next address.")] = 30.0,
) -> None:
    """Download and verify a data set; goes on where an earlier try was cut off."""
    from . import api

    path = api.fetch(name, data_dir=data_dir, mirrors=mirror or [], timeout_s=timeout)
    typer.echo(f"{path}: whole and verified; train with: onecycle train custom_resnet --data-dir {path.parent}")


@data_app.command("info")
def data_info(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A registered data set.")] = "cifar10",
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Counts, classes and channel statistics."""
    from . import api, registry

    if name not in registry.names("data"):
        raise UserError(f"data set {name!r} is unknown; {suggestion(name, registry.names('data'))}")
    dataset = registry.load("data", name)(data_dir=data_dir, image_size=32)
    parts = {"train": api.describe_data(dataset.train), "test": api.describe_data(dataset.test)}
    if as_json:
        typer.echo(json.dumps({"name": name, **parts}, indent=2))
        return
    from .progress import print_data_info

    print_data_info(name, parts)


@data_app.command("preview")
def data_preview(
    recipe: RecipeArgument,
    out: Annotated[Path, typer.Option(help="The picture's file.")] = Path("preview.png"),
    samples: Annotated[int, typer.Option(min=1, max=100, help="Images; one a class in turn.")] = 10,
    epochs: Annotated[int, typer.Option(min=1, max=24, help="Augmentations of each.")] = 8,
    data_dir: DataDirOption = None,
    changes: SetOption = None,
) -> None:
    """Draw samples beside several augmentations of each."""
    from . import api
    from .recipes import assignments
    from .recipes import recipe as read

    wanted = read(recipe, **assignments(changes or []))
    path = api.preview(wanted, out=out, samples=samples, epochs=epochs, data_dir=data_dir)
    typer.echo(f"wrote {path}")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave with the exit code of the contract: errors are lines on stderr, no traceback."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    asked = [one for one in given if one != "--debug"] or ["--help"]
    try:
        code = app(asked, prog_name="onecycle", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except BaseException as error:
        if isinstance(error, SystemExit):
            raise
        message, code = _explained(error)
        if "--debug" in given:
            traceback.print_exc()
        for line in message.splitlines():
            print(f"onecycle: error: {line}", file=sys.stderr)
    sys.exit(code if isinstance(code, int) else 0)


def _explained(error: BaseException) -> tuple[str, int]:
    """What to say of an error, and the exit code: 2 for the user's or the machine's side, 1 for a fault of ours."""
    if isinstance(error, OnecycleError):
        return str(error), error.exit_code
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return "interrupted; a run that has a checkpoint goes on with --resume", 130
    usage = getattr(error, "format_message", None)  # the command line itself was wrong: an option, a value
    if usage is not None:
        return " ".join(usage().split()), 2
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}", 2
    if isinstance(error, MemoryError) or "allocate memory" in str(error) or "out of memory" in str(error):
        return "there is not enough memory for this; a smaller data.batch_size or image needs less", 2
    return f"a fault of onecycle's own, {type(error).__name__}: {error}; --debug shows where", 1


def _report_end(run: Run, as_json: bool) -> None:
    summary = run.summary
    if as_json:
        typer.echo(json.dumps({"run": str(run.path), **summary}, indent=2))
        return
    from .progress import print_end

    print_end(run, summary)
