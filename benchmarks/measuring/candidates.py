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

# Two epochs on small images, 20,000 of them: minutes. The recipe had such batches, logits and holes, and this rate for
# what is no filter.
_GLIMPSE: Changes = {
    "evaluate_every": 0,
    "model.logit_scale": 1.0,
    "augment.cutout": 8,
    "data.batch_size": 512,
    "optimizer.adamw_lr": 0.01,
    "data.train_limit": 20_000,
    "augment.resize": [[0, 24]],
    "schedule.epochs": 2,
    "schedule.knots": [[0, 0.2], [2, 0.0]],
}

# As long as the recipe, in batches of 1,024.
_TWELVE_EPOCHS: Changes = {
    "data.train_limit": None,
    "data.batch_size": 1024,
    "augment.resize": [[0, 24], [6, 32]],
    "schedule.epochs": 12,
    "schedule.knots": [[0, 0.24], [12, 0.0]],
}
_TWELVE_LARGER: Changes = {**_TWELVE_EPOCHS, "augment.resize": [[0, 24], [4, 32]]}
_TWELVE_SLOWER: Changes = {
    **_TWELVE_LARGER,
    "schedule.knots": [[0, 0.12], [12, 0.0]],
    "optimizer.adamw_lr": 0.02,
}
_SMALL_LOGITS: Changes = {"model.logit_scale": 0.0625, "optimizer.adamw_lr": 0.16}
_LARGER_HOLE: Changes = {"augment.cutout": 12}

# A quarter of the epochs of the recipe as it came to be: a minute and a half, for what makes it learn faster.
_THREE_EPOCHS: Changes = {
    **_TWELVE_SLOWER,
    **_SMALL_LOGITS,
    **_LARGER_HOLE,
    "augment.resize": [[0, 24], [2, 32]],
    "schedule.epochs": 3,
    "schedule.knots": [[0, 0.12], [3, 0.0]],
}
_THREE_FASTER: Changes = {**_THREE_EPOCHS, "schedule.knots": [[0, 0.2], [3, 0.0]], "optimizer.adamw_lr": 0.1}

# The recipe before batches of 1,024: what its candidates change.
_THIRTEEN_EPOCHS: Changes = {
    "data.batch_size": 512,
    "data.hardest": [[3, 0.85], [4, 0.75], [5, 0.7], [6, 0.65], [10, 0.6]],
    "augment.resize": [[0, 20], [4, 24], [7, 28], [10, 32]],
    "schedule.epochs": 13,
    "schedule.knots": [[0, 0.2], [13, 0.0]],
    "loss.label_smoothing": 0.2,
}

# Three quarters of the arithmetic.
_NINE_EPOCHS: Changes = {
    "schedule.epochs": 9,
    "schedule.knots": [[0, 0.2], [9, 0.0]],
    "data.hardest": [[3, 0.85], [4, 0.75], [5, 0.7], [6, 0.65], [7, 0.6]],
    "augment.resize": [[0, 20], [4, 24], [6, 28], [7, 32]],
}

# More of the epochs; 16 take a fifth more of the arithmetic.
_FIFTEEN_EPOCHS: Changes = {
    "schedule.epochs": 15,
    "schedule.knots": [[0, 0.2], [15, 0.0]],
    "data.hardest": [[3, 0.85], [4, 0.75], [5, 0.7], [6, 0.65], [12, 0.6]],
    "augment.resize": [[0, 20], [5, 24], [9, 28], [12, 32]],
}
_SIXTEEN_EPOCHS: Changes = {
    "schedule.epochs": 16,
    "schedule.knots": [[0, 0.2], [16, 0.0]],
    "data.hardest": [[3, 0.85], [4, 0.75], [5, 0.7], [6, 0.65], [13, 0.6]],
    "augment.resize": [[0, 20], [5, 24], [9, 28], [13, 32]],
}
_EIGHTEEN_EPOCHS: Changes = {
    "schedule.epochs": 18,
    "schedule.knots": [[0, 0.2], [18, 0.0]],
    "data.hardest": [[3, 0.85], [4, 0.75], [5, 0.7], [6, 0.65], [14, 0.6]],
    "augment.resize": [[0, 20], [6, 24], [10, 28], [14, 32]],
}

# All images in every epoch: about as much arithmetic as 13 and 18 epochs of the hardest.
_WHOLE9: Changes = {
    "schedule.epochs": 9,
    "schedule.knots": [[0, 0.2], [9, 0.0]],
    "data.hardest": [],
    "augment.resize": [[0, 20], [3, 24], [5, 28], [7, 32]],
}
_WHOLE12: Changes = {
    "schedule.epochs": 12,
    "schedule.knots": [[0, 0.2], [12, 0.0]],
    "data.hardest": [],
    "augment.resize": [[0, 20], [4, 24], [7, 28], [9, 32]],
}


def _batches_of_1024(epochs: Changes) -> Changes:
    """The same epochs with half as many steps, from the rate that airbench94_muon begins with at 2,000."""
    return {**epochs, "data.batch_size": 1024, "schedule.knots": [[0, 0.24], [epochs["schedule.epochs"], 0.0]]}


def _rate(lr: float, changes: Changes) -> Changes:
    """The same with another rate for the filters, and that of fast94 for all else."""
    knots = [[0, lr], [changes["schedule.epochs"], 0.0]]
    return {**changes, "schedule.knots": knots, "optimizer.adamw_lr": round(0.08 * 0.24 / lr, 3)}


_SMOOTHING: Changes = {"loss.label_smoothing": 0.1}
_PADDING: Changes = {"augment.crop_padding": 3}
_SMALL_FOR_LONGER: Changes = {"augment.resize": [[0, 20], [8, 24], [12, 28], [15, 32]]}
_MOMENTUM: Changes = {"optimizer.momentum": 0.8}
_THIRTEEN_1024 = _rate(0.2, {**_batches_of_1024(_THIRTEEN_EPOCHS), **_PADDING})
_EIGHTEEN_1024 = _batches_of_1024(_EIGHTEEN_EPOCHS)

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
            "twelve": _TWELVE_EPOCHS,
            "twelve_larger_lr0.12": _TWELVE_SLOWER,
            "whole_size": {**_TWELVE_SLOWER, "augment.resize": []},
            "cutout12": {**_TWELVE_SLOWER, **_LARGER_HOLE},
            "adamw_lr0.008": {**_TWELVE_SLOWER, "optimizer.adamw_lr": 0.008},
            "logit_scale": {**_TWELVE_SLOWER, **_SMALL_LOGITS},
            "logit_scale_cutout12": {**_TWELVE_SLOWER, **_SMALL_LOGITS, **_LARGER_HOLE},
            "logit_scale_cutout12_lr0.2": {
                **_TWELVE_SLOWER,
                **_SMALL_LOGITS,
                **_LARGER_HOLE,
                "optimizer.adamw_lr": 0.1,
                "schedule.knots": [[0, 0.2], [12, 0.0]],
            },
            "three": _THREE_EPOCHS,
            "three_lr0.2": _THREE_FASTER,
            "three_lr0.3": {**_THREE_FASTER, "schedule.knots": [[0, 0.3], [3, 0.0]], "optimizer.adamw_lr": 0.067},
            "three_lr0.2_momentum0.85": {**_THREE_FASTER, "optimizer.momentum": 0.85},
            "three_lr0.2_logits0.02": {**_THREE_FASTER, "model.logit_scale": 0.02},
        },
    ),
    "fast94": Tuning(
        _THIRTEEN_EPOCHS,
        {
            "base": {},
            "all_at_the_end": {"data.hardest": [[3, 0.85], [4, 0.7], [6, 0.55], [10, 0.5], [12, 1.0]]},
            "padding4": {"augment.crop_padding": 4},
            "nine_epochs": _NINE_EPOCHS,
            "wide_end": {"model.widths": [64, 256, 384]},
            "wider": {**_NINE_EPOCHS, "model.widths": [64, 256, 384]},
            "sixteen_epochs": _SIXTEEN_EPOCHS,
            "whole9": _WHOLE9,
            "whole12": _WHOLE12,
            "eighteen": _EIGHTEEN_EPOCHS,
            "eighteen_mp": {**_EIGHTEEN_EPOCHS, **_MOMENTUM, **_PADDING},
            "eighteen_bm": {**_EIGHTEEN_1024, **_MOMENTUM},
            "eighteen_bp": {**_EIGHTEEN_1024, **_PADDING},
            "eighteen_bp_s1": {**_EIGHTEEN_1024, **_PADDING, "seed": 1},
            "eighteen_bl": {**_EIGHTEEN_1024, **_SMOOTHING},
            "eighteen_bl_s1": {**_EIGHTEEN_1024, **_SMOOTHING, "seed": 1},
            "eighteen_bl_s2": {**_EIGHTEEN_1024, **_SMOOTHING, "seed": 2},
            "eighteen_bl_small": {**_EIGHTEEN_1024, **_SMOOTHING, **_SMALL_FOR_LONGER},
            "eighteen_bigp": {**_EIGHTEEN_1024, **_PADDING, "data.batch_size": 1536},
            "sixteen_bl": {**_batches_of_1024(_SIXTEEN_EPOCHS), **_SMOOTHING},
            "sixteen_bl_s1": {**_batches_of_1024(_SIXTEEN_EPOCHS), **_SMOOTHING, "seed": 1},
            "sixteen_bl_s2": {**_batches_of_1024(_SIXTEEN_EPOCHS), **_SMOOTHING, "seed": 2},
            "thirteen_bl": {**_batches_of_1024(_THIRTEEN_EPOCHS), **_SMOOTHING},
            "eighteen_bl_lr0.14": _rate(0.14, {**_EIGHTEEN_1024, **_SMOOTHING}),
            "thirteen_bl_lr0.16": _rate(0.16, {**_batches_of_1024(_THIRTEEN_EPOCHS), **_SMOOTHING}),
            "thirteen_bl_lr0.12": _rate(0.12, {**_batches_of_1024(_THIRTEEN_EPOCHS), **_SMOOTHING}),
            "fifteen_bp_lr0.18": _rate(0.18, {**_batches_of_1024(_FIFTEEN_EPOCHS), **_PADDING}),
            "thirteen_bp_lr0.2": _THIRTEEN_1024,
            "thirteen_bp_lr0.2_s1": {**_THIRTEEN_1024, "seed": 1},
            "thirteen_bp_lr0.2_s2": {**_THIRTEEN_1024, "seed": 2},
            "thirteen_bp_lr0.16": _rate(0.16, {**_batches_of_1024(_THIRTEEN_EPOCHS), **_PADDING}),
            "smoothing0.1": {"loss.label_smoothing": 0.1},
            "batch256": {"data.batch_size": 256, "schedule.knots": [[0, 0.14], [13, 0.0]]},
        },
    ),
}
