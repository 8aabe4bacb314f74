"""Learning-rate range test: `sweep`, then `choose`; `find` does both for a recipe; drawing is `plots.lr_range`.

A sweep trains a copy of the net for a few steps while the learning rate rises exponentially, and notes the loss.
Everything is read off over log10 of the rate, smoothed over a width in decades, so that the choice depends neither on
how many steps a sweep has nor on where it begins.

Source: Smith, "Cyclical Learning Rates for Training Neural Networks", section 3.3, https://arxiv.org/abs/1506.01186.
"""

from .choice import RULE, RULE_MIN, RULES, RULES_MIN, LrRange, choose
from .descent import Descent, descent
from .search import SWEEPS, default_range, find
from .sweeps import STEPS, Sweep, check_range, has_diverged, sweep

__all__ = [
    "RULE",
    "RULES",
    "RULES_MIN",
    "RULE_MIN",
    "STEPS",
    "SWEEPS",
    "Descent",
    "LrRange",
    "Sweep",
    "check_range",
    "choose",
    "default_range",
    "descent",
    "find",
    "has_diverged",
    "sweep",
]
