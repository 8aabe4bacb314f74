"""Optimisers and their parameter groups. The learning rate is not an option here: the schedule sets it every step."""

from .averaging import averaged_net, ema_multi_avg_fn
from .groups import build_optimizer, keep_ratios, keeps_tensors, restore, set_lr, set_momentum, trained_parameters
from .muon import Muon, muon, orthogonalized
from .usual import adam, adamw, sgd

__all__ = [
    "Muon",
    "adam",
    "adamw",
    "averaged_net",
    "build_optimizer",
    "ema_multi_avg_fn",
    "keep_ratios",
    "keeps_tensors",
    "muon",
    "orthogonalized",
    "restore",
    "set_lr",
    "set_momentum",
    "sgd",
    "trained_parameters",
]
