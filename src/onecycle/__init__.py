"""onecycle trains small image classifiers fast, and shows what they learned.

The names below are loaded when they are first used: importing the package loads neither torch nor pydantic.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import data, models
    from .api import load, preview, resume, train
    from .data import Dataset, ImageSet
    from .errors import OnecycleError, Stopped, TrainingFailed, UserError
    from .observer import Observer, Progress
    from .progress import TerminalObserver
    from .recipes import Recipe, recipe
    from .run import Run

__version__ = "0.1.0"

_HOME_OF = {
    "Dataset": "data",
    "ImageSet": "data",
    "Observer": "observer",
    "OnecycleError": "errors",
    "Progress": "observer",
    "Recipe": "recipes",
    "Run": "run",
    "Stopped": "errors",
    "TerminalObserver": "progress",
    "TrainingFailed": "errors",
    "UserError": "errors",
    "load": "api",
    "preview": "api",
    "recipe": "recipes",
    "resume": "api",
    "train": "api",
}
_MODULES = ("data", "models")
__all__ = [
    "Dataset",
    "ImageSet",
    "Observer",
    "OnecycleError",
    "Progress",
    "Recipe",
    "Run",
    "Stopped",
    "TerminalObserver",
    "TrainingFailed",
    "UserError",
    "data",
    "load",
    "models",
    "preview",
    "recipe",
    "resume",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name in _HOME_OF:
        return getattr(importlib.import_module(f".{_HOME_OF[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
