"""The commands' tree, and the options that several of them have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import __version__
from ..torchrun import check_alone

if TYPE_CHECKING:
    from ..cross_validation import CrossValidation

app = typer.Typer(
    help="Train small image classifiers fast, and see what they learned.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
recipes_app = typer.Typer(help="List the shipped recipes, or show one.", rich_markup_mode=None)
models_app = typer.Typer(help="Look at the nets.", rich_markup_mode=None)
data_app = typer.Typer(help="Get, describe and look at data sets.", rich_markup_mode=None)

RecipeArgument = Annotated[str, typer.Argument(metavar="RECIPE", help="A shipped recipe's name or a YAML file.")]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, such as runs/demo.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key, such as data.batch_size=256. May be repeated."),
]
DataOption = Annotated[
    str | None,
    typer.Option("--data", help="Short for --set data.name=...: a data set's name, or the path of your own images."),
]
DataDirOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        help="Where the data set lies; else ONECYCLE_DATA, else the user's cache. Your own images: where they are now.",
    ),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON alone on stdout.")]


def print_cross_validation(found: CrossValidation, as_json: bool) -> None:
    """The result of all folds on stdout."""
    if as_json:
        typer.echo(json.dumps({"run": str(found.path), **found.to_dict()}, indent=2, allow_nan=False))
        return
    from ..progress import print_folds

    print_folds(found)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"onecycle {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[  # read by its callback
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Train small image classifiers fast, and see what they learned."""
    if context.invoked_subcommand not in (None, "train"):
        check_alone(f"onecycle {context.invoked_subcommand}")
