"""The nets: each maps normalised images [n, 3, h, w] to logits [n, classes]."""

from .compact import compact
from .custom_resnet import custom_resnet

__all__ = ["compact", "custom_resnet"]
