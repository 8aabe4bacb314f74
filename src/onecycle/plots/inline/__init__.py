"""Charts that are part of a page, as SVG: its font, its colours in the light and in the dark, values to read off."""

from .calibration import confidences, reliability
from .comparison import compared_curves, run_colour
from .curves import Marks, accuracy_curves, learning_rate, loss_curves
from .drawing import COLOURS, Canvas, Chart, Reading, canvas
from .lr_range import lr_range
from .trials import trials

__all__ = [
    "COLOURS",
    "Canvas",
    "Chart",
    "Marks",
    "Reading",
    "accuracy_curves",
    "canvas",
    "compared_curves",
    "confidences",
    "learning_rate",
    "loss_curves",
    "lr_range",
    "reliability",
    "run_colour",
    "trials",
]
