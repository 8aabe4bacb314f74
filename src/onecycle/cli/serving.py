"""The command that serves a trained net."""

from __future__ import annotations

from typing import Annotated

import typer

from .app import DataDirOption, DeviceOption, RunArgument, app


@app.command(short_help="A page on this machine: drop an image, see the answer.")
def serve(
    run: RunArgument,
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 is all networks.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 is any that is free.")] = 7860,
    rate: Annotated[float, typer.Option(min=0.01, max=1e6, help="Requests a second that one client may make.")] = 30.0,
    max_mb: Annotated[float, typer.Option(min=0.001, max=1000, help="Megabytes that an image's file may have.")] = 20.0,
    data_dir: DataDirOption = None,
    device: DeviceOption = "auto",
) -> None:
    """A page on this machine: drop an image, see the answer and why; JSON for programs. Needs the extra serve."""
    from ..serving import Limits, serve

    limits = Limits(upload_bytes=round(max_mb * 1e6), per_second=rate, burst=max(1, round(2 * rate)))

    def say(line: str) -> None:
        typer.echo(f"{line}; Ctrl-C ends it")

    serve(run, host=host, port=port, device=device, data_dir=data_dir, limits=limits, say=say)
