"""What a net looks at, and which labels are likely wrong: class activation maps, saliency, confident learning."""

from .grad_cam import METHODS, class_activation
from .label_errors import LabelErrors, find_label_errors
from .layers import default_layer, map_layers
from .mistaken import Activations, Saliency, explain, saliency
from .saliency import integrated_gradients
from .selection import check_count, chosen_in_words, first, select

__all__ = [
    "METHODS",
    "Activations",
    "LabelErrors",
    "Saliency",
    "check_count",
    "chosen_in_words",
    "class_activation",
    "default_layer",
    "explain",
    "find_label_errors",
    "first",
    "integrated_gradients",
    "map_layers",
    "saliency",
    "select",
]
