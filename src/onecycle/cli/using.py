"""The commands that put a trained net to use: predict, export."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from ..errors import UserError
from .app import DataDirOption, DeviceOption, JsonOption, RunArgument, app


@app.command()
def predict(
    run: RunArgument,
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH", help="Image files, folders of them, - for a list on stdin.")
    ],
    top_k: Annotated[int | None, typer.Option(help="Classes to each image, at most 3 by default.")] = None,
    form: Annotated[str | None, typer.Option("--format", help="table, csv or json; by default table.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write to this file rather than to stdout.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images at a time; by default as in training.")] = None,
    tta: Annotated[str, typer.Option(help="Average over views of each image: none, flip or flip_shift.")] = "none",
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """What the net says of images: the most probable classes. Exit code 2 where a file could not be read."""
    from .. import api
    from ..files import atomic_path
    from ..outputs import check_output
    from ..prediction import read_list

    if as_json and form not in (None, "json"):
        raise UserError(f"--json does not go with --format {form}; one of them")
    if "" in paths:
        raise UserError("PATH '' is empty; an image file or a folder is needed")
    given = [one for path in paths for one in (read_list(sys.stdin.buffer) if path == "-" else [Path(path)])]
    with contextlib.ExitStack() as stack:
        file = None
        if out is not None:
            check_output(out, "predictions.csv")
            part = stack.enter_context(atomic_path(out))
            file = stack.enter_context(part.open("w", encoding="utf-8", errors="backslashreplace"))
        damaged = api.write_predictions(
            run,
            given,
            file,
            form="json" if as_json else form or "table",
            top_k=top_k,
            batch_size=batch_size,
            tta=tta,
            device=device,
        )
        counted = "1 file could" if len(damaged) == 1 else f"{len(damaged):,} files could"
        lines = [f"{path}: {reason}" for path, reason in damaged.items()]
        folders = any(os.path.isdir(path) for path in given)  # noqa: PTH112 - Path.is_dir raises
        if damaged and not folders and len(damaged) == len(set(given)):  # the file of an earlier time stays
            raise UserError(*lines, f"{counted} not be read")
    if out is not None:
        print(f"wrote {out}", file=sys.stderr)
    if damaged:
        raise UserError(*lines, f"{counted} not be read; what could be is predicted")


@app.command(short_help="Write a file that works without onecycle, and try it.")
def export(
    run: RunArgument,
    form: Annotated[str, typer.Option("--format", help="onnx, pt2 or safetensors.")] = "onnx",
    int8: Annotated[
        bool, typer.Option("--int8", help="Quantise the ONNX to 8 bits, calibrated on training images.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="The file; by default RUN/export/model.onnx and the like.")] = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the net as a file that works without onecycle, try it on the test images, and write MODEL_CARD.md."""
    from .. import api

    found = api.export(run, form=form, int8=int8, out=out, data_dir=data_dir)
    if as_json:
        typer.echo(json.dumps({"run": str(run), **found.to_dict()}, indent=2, allow_nan=False))
        return
    typer.echo(found.in_words())
