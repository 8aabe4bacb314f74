"""What was tried for a recipe: changes to a base, by name. Candidates that no table has have not been run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Changes = dict[str, Any]


@dataclass(frozen=True)
class Tuning:
    """The changes that make the base of a recipe, and those of each candidate on top of them."""

    base: Changes
    candidates: dict[str, Changes]


# 5 of the 24 epochs, with the peak at the same share of them.
_CUSTOM_RESNET: Changes = {
    "evaluate_every": 0,
    "augment.padding": "reflect",
    "augment.flip": "alternating",
    "optimizer.name": "adamw",
    "optimizer.decay_norms_and_biases": False,
    "optimizer.weight_decay": 0.05,
    "schedule.epochs": 5,
    "schedule.peak_epoch": 1.04,
    "schedule.lr_max": 5e-3,
    "schedule.lr_min": 5e-6,
    "loss.label_smoothing": 0.1,
}

# Two epochs on small images, 20,000 of them: minutes.
_GLIMPSE: Changes = {
    "evaluate_every": 0,
    "data.train_limit": 20_000,
    "augment.resize": [[0, 24]],
    "schedule.epochs": 2,
    "schedule.knots": [[0, 0.2], [2, 0.0]],
}

# Three quarters of the arithmetic.
_NINE_EPOCHS: Changes = {
    "schedule.epochs": 9,
    "schedule.knots": [[0, 0.2], [9, 0.0]],
    "data.hardest": [[3, 0.85], [4, 0.75], [5, 0.7], [6, 0.65], [7, 0.6]],
    "augment.resize": [[0, 20], [4, 24], [6, 28], [7, 32]],
}

# A quarter more of the epochs, at a fifth more of the arithmetic.
_SIXTEEN_EPOCHS: Changes = {
    "schedule.epochs": 16,
    "schedule.knots": [[0, 0.2], [16, 0.0]],
    "data.hardest": [[3, 0.85], [4, 0.75], [5, 0.7], [6, 0.65], [13, 0.6]],
    "augment.resize": [[0, 20], [5, 24], [9, 28], [13, 32]],
}

# All images in every epoch: about as much arithmetic in fewer epochs.
_WHOLE_EPOCHS: Changes = {
    "schedule.epochs": 9,
    "schedule.knots": [[0, 0.2], [9, 0.0]],
    "data.hardest": [],
    "augment.resize": [[0, 20], [3, 24], [5, 28], [7, 32]],
}

TUNINGS = {
    "custom_resnet": Tuning(
        _CUSTOM_RESNET,
        {
            "base": {},
            "wd0.2": {"optimizer.weight_decay": 0.2},
            "wd0.4": {"optimizer.weight_decay": 0.4},
            "lr1e-2": {"optimizer.weight_decay": 0.1, "schedule.lr_max": 1e-2, "schedule.lr_min": 1e-5},
            "smoothing0.2": {"optimizer.weight_decay": 0.2, "loss.label_smoothing": 0.2},
            "bn_momentum": {"optimizer.weight_decay": 0.2, "model.norm_momentum": 0.4},
            # What the range test chose for the recipe: docs/lr-range.md.
            "lr_found": {"optimizer.weight_decay": 0.2, "schedule.lr_max": 0.0024, "schedule.lr_min": 1.2e-5},
            "zeros": {"optimizer.weight_decay": 0.2, "augment.padding": "zeros", "augment.flip": "random"},
        },
    ),
    "custom_resnet_fast": Tuning(
        _GLIMPSE,
        {
            "base": {},
            "adamw_lr0.025": {"optimizer.adamw_lr": 0.025},
            "lr0.1": {"schedule.knots": [[0, 0.1], [2, 0.0]], "optimizer.adamw_lr": 0.02},
        },
    ),
    "fast94": Tuning(
        {},
        {
            "base": {},
            "all_at_the_end": {"data.hardest": [[3, 0.85], [4, 0.7], [6, 0.55], [10, 0.5], [12, 1.0]]},
            "padding4": {"augment.crop_padding": 4},
            "nine_epochs": _NINE_EPOCHS,
            "wide_end": {"model.widths": [64, 256, 384]},
            "wider": {**_NINE_EPOCHS, "model.widths": [64, 256, 384]},
            "sixteen_epochs": _SIXTEEN_EPOCHS,
            "whole_epochs": _WHOLE_EPOCHS,
            "smoothing0.1": {"loss.label_smoothing": 0.1},
            "batch256": {"data.batch_size": 256, "schedule.knots": [[0, 0.14], [13, 0.0]]},
        },
    ),
}
