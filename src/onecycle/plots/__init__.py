"""Every drawing. matplotlib is imported in this package alone, and without its global state.

A figure shows itself in a notebook, where it is a cell's last value; `save` writes it to a file.
"""

from .augmentation import augmentation_grid, augmented
from .classes import class_accuracy, confusion, draw_class_accuracy, draw_confusion
from .curves import curves
from .gallery import draw_mistakes, gallery, misclassified
from .lr_range import lr_range
from .schedules import schedule
from .style import Figure, save

__all__ = [
    "Figure",
    "augmentation_grid",
    "augmented",
    "class_accuracy",
    "confusion",
    "curves",
    "draw_class_accuracy",
    "draw_confusion",
    "draw_mistakes",
    "gallery",
    "lr_range",
    "misclassified",
    "save",
    "schedule",
]
