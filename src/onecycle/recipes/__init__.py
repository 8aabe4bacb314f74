"""Recipes: the value, how one is read and checked, and the shipped ones, a function each."""

from .checking import assignments, checked, read_yaml, recipe
from .schema import OWN, Component, Recipe, differences, flatten

__all__ = ["OWN", "Component", "Recipe", "assignments", "checked", "differences", "flatten", "read_yaml", "recipe"]
