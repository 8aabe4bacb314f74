"""Random numbers that depend on nothing but (seed, epoch, purpose): NumPy's counter-based Philox."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

Purpose = Literal[
    "order", "crop", "flip", "cutout", "cutout_choice", "split", "net", "affine", "affine_choice", "folds", "tone"
]
# By its place in the list: what is new goes to the end, so that what was there keeps its numbers.
_STREAMS: dict[str, int] = {name: number for number, name in enumerate(get_args(Purpose))}


def generator(seed: int, epoch: int, purpose: Purpose) -> np.random.Generator:
    """The generator of one purpose in one epoch. Seeds are 0 to 2**63 - 1, epochs 0 to 2**32 - 1."""
    return np.random.Generator(np.random.Philox(key=[seed, epoch << 8 | _STREAMS[purpose]]))


def step_seed(seed: int, step: int, rank: int = 0) -> int:
    """The seed of what a net draws by itself (dropout) at one step on one rank."""
    return int(np.random.SeedSequence([seed, step, rank, _STREAMS["net"]]).generate_state(1, np.uint64)[0] >> 1)
