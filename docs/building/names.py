"""The reference of a package: its own words, then every name that it makes public, for mkdocstrings to fill in."""

from __future__ import annotations

import importlib
import re

MARK = re.compile(r"<!-- names of (onecycle(?:\.\w+)+) -->")


def filled(mark: re.Match[str]) -> str:
    """In the place of the mark: classes, then functions, then constants, by their names."""
    package = mark[1]
    public = sorted(importlib.import_module(package).__all__, key=lambda name: (_kind(name), name.lower()))
    words = f"::: {package}\n    options: {{members: false, show_root_heading: false}}\n"
    shown = "    options: {show_if_no_docstring: true}\n"
    return "\n".join([words, *(f"::: {_place(package, name)}\n{shown if name.isupper() else ''}" for name in public)])


def _kind(name: str) -> int:
    return 2 if name.isupper() else 0 if name[0].isupper() else 1


def _place(package: str, name: str) -> str:
    """Where it is defined, if a module has its name: that is what mkdocstrings would take it for."""
    try:
        importlib.import_module(f"{package}.{name}")
    except ModuleNotFoundError:
        return f"{package}.{name}"
    return f"{getattr(importlib.import_module(package), name).__module__}.{name}"
