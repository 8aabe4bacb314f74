"""Every drawing. matplotlib is imported in this package alone, and without its global state.

A figure shows itself in a notebook, where it is a cell's last value; `save` writes it to a file.
"""

from .augmentation import augmentation_grid, augmented
from .calibration import reliability
from .classes import class_accuracy, confusion, draw_class_accuracy, draw_confusion
from .comparison import comparison_curves
from .curves import curves
from .explanations import grad_cam_sheet, saliency_sheet
from .gallery import draw_mistakes, gallery, misclassified
from .label_errors import label_errors
from .lr_range import lr_range
from .overlay import overlay
from .schedules import schedule
from .search import search_history, search_slices
from .sheet import Line
from .style import Figure, save, title_of
from .trials import Strip, trials

__all__ = [
    "Figure",
    "Line",
    "Strip",
    "augmentation_grid",
    "augmented",
    "class_accuracy",
    "comparison_curves",
    "confusion",
    "curves",
    "draw_class_accuracy",
    "draw_confusion",
    "draw_mistakes",
    "gallery",
    "grad_cam_sheet",
    "label_errors",
    "lr_range",
    "misclassified",
    "overlay",
    "reliability",
    "saliency_sheet",
    "save",
    "schedule",
    "search_history",
    "search_slices",
    "title_of",
    "trials",
]
