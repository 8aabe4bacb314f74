"""The commands that show what there is: recipes, nets, data sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..errors import UserError, suggestion
from .app import DataDirOption, DataOption, JsonOption, RecipeArgument, SetOption, data_app, models_app, recipes_app


@recipes_app.callback(invoke_without_command=True)
def recipes(context: typer.Context) -> None:
    """List the shipped recipes."""
    if context.invoked_subcommand is not None:
        return
    from .. import registry

    for name in registry.names("recipe"):
        document = (registry.load("recipe", name).__doc__ or "").strip()
        typer.echo(f"{name}\n    " + "\n    ".join(line.strip() for line in document.splitlines()) + "\n")


@recipes_app.command("show")
def recipes_show(recipe: RecipeArgument, changes: SetOption = None) -> None:
    """Print a recipe as YAML, every default filled in."""
    from ..recipes import assignments
    from ..recipes import recipe as read

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
    image_size: Annotated[int, typer.Option(min=8, max=65_536, help="Height and width in pixels.")] = 32,
    num_classes: Annotated[int, typer.Option(min=2, max=1_000_000, help="Classes.")] = 10,
    batch_size: Annotated[int, typer.Option(min=1, max=1_000_000, help="Images in the batch.")] = 1,
) -> None:
    """Print a net's layers: kind, output shape, parameters, multiply-adds."""
    from .. import api
    from ..models.summary import render

    summary = api.summarize_net(net, num_classes=num_classes, image_size=image_size, batch_size=batch_size)
    typer.echo(render(summary))


@data_app.command("fetch")
def data_fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="cifar10 or cifar100.")],
    data_dir: Annotated[
        Path | None, typer.Option(help="The folder to put it in; else ONECYCLE_DATA, else the user's cache.")
    ] = None,
    mirror: Annotated[
        list[str] | None,
        typer.Option(metavar="ADDRESS", help="An address to try first; also ONECYCLE_MIRROR. May be repeated."),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, max=9999, help="Seconds without a byte until the next address.")
    ] = 30.0,
) -> None:
    """Download and verify a data set; goes on where an earlier try was cut off."""
    from .. import api

    path = api.fetch(name, data_dir=data_dir, mirrors=mirror or [], timeout_s=timeout)
    train = f"onecycle train custom_resnet --data {name} --data-dir {path.parent}"
    typer.echo(f"{path}: whole and verified; train with: {train}")


@data_app.command("info")
def data_info(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A registered data set, or the path of your own images.")
    ] = "cifar10",
    data_dir: DataDirOption = None,
    changes: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Counts, classes and channel statistics."""
    from .. import api, registry
    from ..recipes import assignments, images_path

    if name not in registry.names("data") and images_path(name) is None:
        hint = f"{suggestion(name, registry.names('data'))}; your own images have a path, such as ./photos"
        raise UserError(f"data set {name!r} is unknown; {hint}")
    sets = api.load_sets(name, data_dir=data_dir, **assignments(changes or []))
    named = {"train": sets.train, "val": sets.val, "test": sets.test}
    parts = {part: api.describe_data(images) for part, images in named.items() if images is not None}
    if as_json:
        typer.echo(json.dumps({"name": name, **parts}, indent=2))
        return
    from ..progress import print_data_info

    print_data_info(name, parts)


@data_app.command("preview")
def data_preview(
    recipe: RecipeArgument,
    out: Annotated[Path, typer.Option(help="The picture's file.")] = Path("preview.png"),
    samples: Annotated[int, typer.Option(min=1, max=100, help="Images; one a class in turn.")] = 10,
    epochs: Annotated[int, typer.Option(min=1, max=24, help="Augmentations of each.")] = 8,
    data: DataOption = None,
    data_dir: DataDirOption = None,
    changes: SetOption = None,
) -> None:
    """Draw samples beside several augmentations of each."""
    from .. import api
    from ..recipes import assignments
    from ..recipes import recipe as read

    asked = assignments(changes or []) | ({} if data is None else {"data.name": data})
    wanted = read(recipe, **asked)
    path = api.preview(wanted, out=out, samples=samples, epochs=epochs, data_dir=data_dir)
    typer.echo(f"wrote {path}")
