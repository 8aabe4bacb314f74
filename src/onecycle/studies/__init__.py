"""Many trainings: over seeds, compared in pairs, and searched through."""

from .engine import Engine, LocalEngine, Resources
from .job import Job, train_job
from .seeds import Measured, Paired, SeedsNeeded, Trial, Trials, read_vary, trials
from .tuning import Search, SearchTrial, search

__all__ = [
    "Engine",
    "Job",
    "LocalEngine",
    "Measured",
    "Paired",
    "Resources",
    "Search",
    "SearchTrial",
    "SeedsNeeded",
    "Trial",
    "Trials",
    "read_vary",
    "search",
    "train_job",
    "trials",
]
