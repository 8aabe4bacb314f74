"""A recipe over many seeds, or several recipes over the same seeds: how far the results lie apart, and what differs."""

from .measured import Measured, Paired, SeedsNeeded, Trial
from .results import Trials
from .running import trials
from .variants import read_vary

__all__ = ["Measured", "Paired", "SeedsNeeded", "Trial", "Trials", "read_vary", "trials"]
