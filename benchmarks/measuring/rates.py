"""What a device multiplies matrices with: the rate that a training is held against."""

from __future__ import annotations

import statistics
from typing import Any

import torch

from onecycle.hardware import AUTOCAST_DTYPES, synchronize

from .clocks import timed


def matrix_gflops(
    device: torch.device, precision: str, *, side: int = 4096, products: int = 4, warmup: int = 2
) -> list[float]:
    """GFLOP/s of single products of two square matrices."""
    dtype = AUTOCAST_DTYPES.get(precision, torch.float32)
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(left)

    def product() -> Any:
        torch.matmul(left, right, out=out)
        synchronize(device)

    return [2 * side**3 / seconds / 1e9 for seconds in timed(product, products, warmup)]


def matrix_rate(device: torch.device, precision: str, *, quick: bool = False) -> float:
    """Median GFLOP/s, on sides that fill the device: 4096 on a CPU, 8192 on a GPU; quickly, 128."""
    if device.type == "cuda":
        samples = matrix_gflops(device, precision, side=128 if quick else 8192, products=20, warmup=10)
    else:
        samples = matrix_gflops(device, precision, side=128 if quick else 4096)
    return statistics.median(samples)
