"""What a net looks at, and which labels it has reason to doubt: class activation maps, saliency, label errors."""

from .grad_cam import METHODS, class_activation
from .label_errors import LabelErrors, find_label_errors
from .layers import default_layer
from .mistaken import Activations, Saliency, explain, saliency
from .saliency import integrated_gradients
from .selection import MOST_IMAGES, first, select

__all__ = [
    "METHODS",
    "MOST_IMAGES",
    "Activations",
    "LabelErrors",
    "Saliency",
    "class_activation",
    "default_layer",
    "explain",
    "find_label_errors",
    "first",
    "integrated_gradients",
    "saliency",
    "select",
]
