"""What is going on and what came of it, on terminals, in files and in notebooks."""

from . import notebook
from .bars import download_progress
from .comparison import print_comparison
from .evaluation import print_evaluation
from .explanation import print_explanation, print_folds_explanation
from .folds import print_folds
from .notebook import NotebookObserver
from .numbers import duration
from .printing import print_data_info, print_end, print_lr_range
from .terminal import TerminalObserver

__all__ = [
    "NotebookObserver",
    "TerminalObserver",
    "default_observer",
    "download_progress",
    "duration",
    "print_comparison",
    "print_data_info",
    "print_end",
    "print_evaluation",
    "print_explanation",
    "print_folds",
    "print_folds_explanation",
    "print_lr_range",
]


def default_observer() -> NotebookObserver | TerminalObserver:
    """The observer of a training where none is named: the notebook's in a notebook, else the terminal's."""
    return NotebookObserver() if notebook.is_here() else TerminalObserver()
