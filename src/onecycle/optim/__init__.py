"""Optimisers and their parameter groups. The learning rate is not an option here: the schedule sets it every step."""

from .averaging import averaged_net, ema_multi_avg_fn
from .groups import restore, set_lr, set_momentum
from .muon import Muon, muon, orthogonalized
from .usual import adam, adamw, sgd

__all__ = [
    "Muon",
    "adam",
    "adamw",
    "averaged_net",
    "ema_multi_avg_fn",
    "muon",
    "orthogonalized",
    "restore",
    "set_lr",
    "set_momentum",
    "sgd",
]
