"""Predict once: a set's logits in float32, from which every metric is read.

Tensors where a net is at work; NumPy arrays where a run's stored logits are read: logits_nk is float [n, classes],
labels int64 [n].
"""

from .calibration import Calibration
from .condensing import most_confused, with_others
from .counting import Labels, Logits, class_accuracy, confusion_matrix, probabilities
from .evaluating import evaluate, evaluate_run
from .misclassified import Mistakes, mistakes
from .predicting import Forward, accuracy, cross_entropy, least_sure, predict_logits, predict_unsure, with_tta
from .result import ClassResult, ConfusedPair, Evaluation, Interval
from .words import percent

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
    "evaluate_run",
    "least_sure",
    "mistakes",
    "most_confused",
    "percent",
    "predict_logits",
    "predict_unsure",
    "probabilities",
    "with_others",
    "with_tta",
]
