"""The reference of the command line, from the commands themselves: what --help says, as tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer.main

from onecycle.cli import app


def reference() -> str:
    """A part for each command, in the order of the help page."""
    root = typer.main.get_command(app)
    return "\n".join(line for name, command in _commands("onecycle", root) for line in _part(name, command))


def _commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Every command that can be called, with its whole name."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
    for word, one in (inner or {}).items():
        yield from _commands(f"{name} {word}", one)


def _part(name: str, command: Any) -> list[str]:
    context = command.make_context(name, [], resilient_parsing=True)
    rows = []
    for parameter in command.get_params(context):
        shown, said = parameter.get_help_record(context) or ("", "")
        if shown and shown != "--help":
            rows.append(f"| `{_whole(shown)}` | {_safe(said)} |")
    usage = " ".join(command.collect_usage_pieces(context))
    return [
        f"## {name}",
        "",
        _safe(command.help or ""),
        "",
        f"    {name} {usage}",
        "",
        "| argument or option | |",
        "|---|---|",
        *rows,
        "",
    ]


def _whole(shown: str) -> str:
    return " ".join(shown.split())


def _safe(text: str) -> str:
    """For a cell of a Markdown table."""
    for sign in "\\|*_[]<>":
        text = text.replace(sign, f"\\{sign}" if sign not in "<>" else {"<": "&lt;", ">": "&gt;"}[sign])
    return " ".join(text.split())
