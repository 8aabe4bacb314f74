"""Recipes: the value, how one is read and checked, and the shipped ones, a function each."""

from .checking import checked, recipe
from .places import absolute, holds_image_files, images_path
from .reading import assignments, read_yaml
from .schema import LEAST_SIDE, MOST_SIDE, OWN, Component, Recipe, differences, flatten

__all__ = [
    "LEAST_SIDE",
    "MOST_SIDE",
    "OWN",
    "Component",
    "Recipe",
    "absolute",
    "assignments",
    "checked",
    "differences",
    "flatten",
    "holds_image_files",
    "images_path",
    "read_yaml",
    "recipe",
]
