"""Predict once: a set's logits in float32, from which every metric is read.

Tensors where a net is at work; NumPy arrays where a run's stored logits are read: logits_nk is float [n, classes],
labels int64 [n].
"""

from .calibration import Calibration
from .counting import Labels, Logits, class_accuracy, confusion_matrix, probabilities
from .evaluating import evaluate
from .misclassified import Mistakes, mistakes
from .predicting import Forward, accuracy, cross_entropy, predict_logits, with_tta
from .result import ClassResult, ConfusedPair, Evaluation, Interval

__all__ = [
    "Calibration",
    "ClassResult",
    "ConfusedPair",
    "Evaluation",
    "Forward",
    "Interval",
    "Labels",
    "Logits",
    "Mistakes",
    "accuracy",
    "class_accuracy",
    "confusion_matrix",
    "cross_entropy",
    "evaluate",
    "mistakes",
    "predict_logits",
    "probabilities",
    "with_tta",
]
