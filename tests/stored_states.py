"""States that are saved, loaded and compared bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from onecycle.checkpoint import load_state, save_state


def same(one: Any, other: Any) -> bool:
    """Equal in structure, types and every bit; a tuple comes back as a list."""
    if isinstance(one, Tensor):
        return (
            isinstance(other, Tensor)
            and one.dtype == other.dtype
            and one.shape == other.shape
            and bits(one) == bits(other)
        )
    if isinstance(one, dict):
        return isinstance(other, dict) and list(one) == list(other) and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return isinstance(other, list) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def bits(tensor: Tensor) -> bytes:
    return bytes(tensor.contiguous().flatten().view(torch.uint8).tolist())


def round_trip(path: Path, state: dict[str, Any]) -> dict[str, Any]:
    save_state(path, state)
    return load_state(path)
