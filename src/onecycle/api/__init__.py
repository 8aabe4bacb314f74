"""The public verbs on one run, a function a command, composed from the floors below."""

from .data import describe_data, fetch, preview, summarize_net
from .explanation import Explanation
from .inspection import compare, evaluate, explain, report, watch
from .runs import Run, load
from .training import find_lr, resume, train

__all__ = [
    "Explanation",
    "Run",
    "compare",
    "describe_data",
    "evaluate",
    "explain",
    "fetch",
    "find_lr",
    "load",
    "preview",
    "report",
    "resume",
    "summarize_net",
    "train",
    "watch",
]
