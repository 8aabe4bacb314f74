"""onecycle trains small image classifiers fast, and shows what they learned.

The names below are loaded when they are first used: importing the package loads neither torch nor pydantic.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import data, evaluation, explanation, lr_range, models, plots
    from .api import (
        CrossValidation,
        Explanation,
        FoldsExplanation,
        Run,
        compare,
        cross_validate,
        describe_data,
        evaluate,
        explain,
        export,
        fetch,
        find_lr,
        load,
        predict,
        preview,
        report,
        resume,
        resume_folds,
        summarize_net,
        train,
    )
    from .comparison import Comparison
    from .data import Dataset, ImageSet
    from .errors import OnecycleError, Stopped, TrainingFailed, UserError
    from .evaluation import Evaluation
    from .exporting import Export
    from .layers import FastLayers
    from .observer import Observer, Observers, Progress
    from .prediction import Predictions
    from .progress import NotebookObserver, TerminalObserver
    from .recipes import Recipe, recipe
    from .registry import names, register
    from .studies import Search, Trials, search, trials

__version__ = "0.1.0"

_HOME_OF = {
    "Comparison": "comparison",
    "CrossValidation": "api",
    "Dataset": "data",
    "Evaluation": "evaluation",
    "Explanation": "api",
    "FastLayers": "layers",
    "FoldsExplanation": "api",
    "Export": "exporting",
    "ImageSet": "data",
    "NotebookObserver": "progress",
    "Observer": "observer",
    "Observers": "observer",
    "OnecycleError": "errors",
    "Predictions": "prediction",
    "Progress": "observer",
    "Recipe": "recipes",
    "Run": "api",
    "Search": "studies",
    "Stopped": "errors",
    "TerminalObserver": "progress",
    "TrainingFailed": "errors",
    "Trials": "studies",
    "UserError": "errors",
    "compare": "api",
    "cross_validate": "api",
    "describe_data": "api",
    "evaluate": "api",
    "explain": "api",
    "export": "api",
    "fetch": "api",
    "find_lr": "api",
    "load": "api",
    "names": "registry",
    "predict": "api",
    "preview": "api",
    "recipe": "recipes",
    "register": "registry",
    "report": "api",
    "resume": "api",
    "resume_folds": "api",
    "search": "studies",
    "summarize_net": "api",
    "train": "api",
    "trials": "studies",
}
_MODULES = ("data", "evaluation", "explanation", "lr_range", "models", "plots")
__all__ = [
    "Comparison",
    "CrossValidation",
    "Dataset",
    "Evaluation",
    "Explanation",
    "Export",
    "FastLayers",
    "FoldsExplanation",
    "ImageSet",
    "NotebookObserver",
    "Observer",
    "Observers",
    "OnecycleError",
    "Predictions",
    "Progress",
    "Recipe",
    "Run",
    "Search",
    "Stopped",
    "TerminalObserver",
    "TrainingFailed",
    "Trials",
    "UserError",
    "compare",
    "cross_validate",
    "data",
    "describe_data",
    "evaluate",
    "evaluation",
    "explain",
    "explanation",
    "export",
    "fetch",
    "find_lr",
    "load",
    "lr_range",
    "models",
    "names",
    "plots",
    "predict",
    "preview",
    "recipe",
    "register",
    "report",
    "resume",
    "resume_folds",
    "search",
    "summarize_net",
    "train",
    "trials",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name in _HOME_OF:
        return getattr(importlib.import_module(f".{_HOME_OF[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
