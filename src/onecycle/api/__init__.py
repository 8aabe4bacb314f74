"""The public verbs on one run, a function a command, composed from the floors below."""

from .data import describe_data, fetch, load_sets, preview, summarize_net
from .explanation import Explanation
from .exporting import export
from .finding import find_lr
from .folds import CrossValidation, cross_validate, resume_folds
from .folds_explanation import FoldsExplanation
from .inspection import compare, evaluate, explain, report, watch
from .prediction import predict, write_predictions
from .resuming import resume
from .runs import Run, load
from .training import train

__all__ = [
    "CrossValidation",
    "Explanation",
    "FoldsExplanation",
    "Run",
    "compare",
    "cross_validate",
    "describe_data",
    "evaluate",
    "explain",
    "export",
    "fetch",
    "find_lr",
    "load",
    "load_sets",
    "predict",
    "preview",
    "report",
    "resume",
    "resume_folds",
    "summarize_net",
    "train",
    "watch",
    "write_predictions",
]
