"""Predict once: a set's logits in float32, from which every metric is read.

Tensors where a net is at work; NumPy arrays where a run's stored logits are read: logits_nk is float [n, classes],
labels int64 [n].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from .data import Loader

Forward = Callable[[Tensor], Tensor]
Logits = NDArray[np.float32]
Labels = NDArray[np.int64]


def predict_logits(
    net: nn.Module, loader: Loader, *, tta: str = "none", on_batch: Callable[[], None] = lambda: None
) -> Tensor:
    """Float32 logits [n, classes] on the CPU, in the set's order, without augmentation.

    `tta` is "none", "flip" or "flip_shift", see `with_tta`. `on_batch` is called after each batch; what it raises ends
    the evaluation. The net is left in the mode in which it came.
    """
    training = net.training
    forward = with_tta(net, tta)
    net.eval()
    try:
        with torch.inference_mode():
            logits = []
            for batch in loader.in_order():
                logits.append(forward(batch.images_nchw).float())
                on_batch()
            return torch.cat(logits).cpu()
    finally:
        net.train(training)


def accuracy(logits_nk: Tensor, labels: Tensor) -> float:
    """The fraction of rows whose largest logit is the label's."""
    return (logits_nk.argmax(1) == labels).double().mean().item()


def cross_entropy(logits_nk: Tensor, labels: Tensor) -> float:
    """Mean cross-entropy in nats, without label smoothing."""
    return F.cross_entropy(logits_nk.double(), labels).item()


def with_tta(forward: Forward, tta: str) -> Forward:
    """Average the logits over views of the images.

    "flip": the image and its mirror. "flip_shift": these, and both shifted by one pixel up-left and down-right with
    reflected edges, the unshifted ones weighing half; as airbench does, https://arxiv.org/abs/2404.00498.
    """

    def mirrored(images: Tensor) -> Tensor:
        return (forward(images) + forward(images.flip(3))) / 2

    def shifted(images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        padded = F.pad(images, (1, 1, 1, 1), mode="reflect").contiguous(memory_format=torch.channels_last)
        corners = [padded[:, :, :height, :width], padded[:, :, 2:, 2:]]
        return mirrored(images) / 2 + (mirrored(corners[0]) + mirrored(corners[1])) / 4

    return {"none": forward, "flip": mirrored, "flip_shift": shifted}[tta]


@dataclass(frozen=True)
class Mistakes:
    """Misclassified images, the most confident mistake first; an array [m] each.

    `index` is an image's place in the set; `true` and `predicted` are classes, and the probabilities those of the two.
    """

    index: Labels
    true: Labels
    predicted: Labels
    true_probability: NDArray[np.float64]
    predicted_probability: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.index)


def probabilities(logits_nk: Logits) -> NDArray[np.float64]:
    """The softmax of each row, in float64."""
    shifted = logits_nk.astype(np.float64) - logits_nk.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def confusion_matrix(logits_nk: Logits, labels: Labels) -> NDArray[np.int64]:
    """Counts [true class, predicted class]: row sums are the images of a class, the diagonal what is right."""
    classes = logits_nk.shape[1]
    pairs = labels * classes + logits_nk.argmax(axis=1)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def class_accuracy(confusion: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Images of each class [classes], and the fraction of them that is right; NaN where there are none."""
    counts = confusion.sum(axis=1)
    right = confusion.diagonal().astype(np.float64)
    return counts, np.divide(right, counts, out=np.full(len(counts), np.nan), where=counts > 0)


def mistakes(logits_nk: Logits, labels: Labels) -> Mistakes:
    """The images whose largest logit is not the label's, by falling probability of the wrong answer."""
    predicted = logits_nk.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    chances = probabilities(logits_nk[wrong])
    rows = np.arange(len(wrong))
    of_predicted, of_true = chances[rows, predicted[wrong]], chances[rows, labels[wrong]]
    order = np.argsort(-of_predicted, kind="stable")
    index = wrong[order]
    return Mistakes(index, labels[index], predicted[index], of_true[order], of_predicted[order])
