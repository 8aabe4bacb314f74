"""Hyper-parameter search on a held-out part of the training images, by Optuna."""

from .result import Search, SearchTrial
from .searching import search

__all__ = ["Search", "SearchTrial", "search"]
