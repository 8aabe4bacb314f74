"""What carries out many trainings: the options, and the engine that they name."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UserError, suggestion

if TYPE_CHECKING:
    from ..studies import Engine

EngineOption = Annotated[str, typer.Option("--engine", help="local: here, one after the other; ray: over a cluster.")]
RayAddressOption = Annotated[
    str | None, typer.Option(help="Of a Ray cluster; else RAY_ADDRESS, else one is started on this machine.")
]
CpusOption = Annotated[
    int | None, typer.Option("--cpus-per-trial", help="Threads of each; short for --set resources.cpus=...")
]
GpusOption = Annotated[
    float | None, typer.Option("--gpus-per-trial", help="Share of a GPU for each; short for --set resources.gpus=...")
]
ENGINES = ("local", "ray")


def engine_of(name: str, ray_address: str | None, say: Callable[[str], None]) -> Engine:
    """The engine of that name; `say` is told what happens to it.

    Raises UserError where it is unknown, cannot be had, or takes no address and one is named.
    """
    if name not in ENGINES:
        raise UserError(f"--engine {name!r} is unknown; {suggestion(name, ENGINES)}")
    if name == "ray":
        _before_ray(ray_address)
        from ..launch.ray import RayEngine

        return RayEngine(ray_address, say=say)
    if ray_address is not None:
        raise UserError(f"--ray-address {ray_address} does not go with --engine local; --engine ray")
    from ..studies import LocalEngine

    return LocalEngine()


def resources_of(cpus: int | None, gpus: float | None) -> dict[str, Any]:
    """The changes of a recipe that the options stand for."""
    return {key: one for key, one in (("resources.cpus", cpus), ("resources.gpus", gpus)) if one is not None}


def _before_ray(address: str | None) -> None:
    """Set what Ray reads when it is imported: it is to be quiet, and to let in nobody where it is started here."""
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")  # its lines on lost workers, which would go to stdout
    if address is None and "RAY_ADDRESS" not in os.environ and "RAY_AUTH_MODE" not in os.environ:
        # Its ports are open to the network, and who gets through to one can run code.
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
