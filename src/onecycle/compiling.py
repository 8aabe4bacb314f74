"""A net compiled by PyTorch, before the first step, so that no step of the training waits for it."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from .errors import UserError
from .hardware import autocast, synchronize

_GRAPHS = ("reduce-overhead", "max-autotune")  # the modes of torch.compile that record CUDA graphs
_MOST_SHAPES = 256  # of batches to one net, over all trainings of this process; PyTorch's own 8 would be too few
_RUNS_UNTIL_RECORDED = 3  # PyTorch warms up in the first run, records in the second and plays from the third on


def check_mode(mode: str, device: torch.device) -> None:
    """Raise UserError where `mode` does nothing on the device that another one would not do."""
    if mode == "reduce-overhead" and device.type != "cuda":
        raise UserError(f"compile reduce-overhead records CUDA graphs, which {device} has not; default or none here")


class CompiledNet:
    """A net's forward and backward pass in training, compiled by torch.compile in one of its modes.

    Weights and buffers stay those of `net` itself, which is not changed. What was compiled serves all nets of its kind
    in the same process. https://docs.pytorch.org/docs/stable/generated/torch.compile.html
    """

    def __init__(self, net: nn.Module, mode: str) -> None:
        self._net, self._mode = net, mode

        def forward(images_nchw: Tensor) -> Tensor:  # not the net, which torch.compile wraps into one that has hooks
            logits_nk: Tensor = net(images_nchw)
            return logits_nk

        with _quiet():
            self._forward = torch.compile(forward, mode=mode, dynamic=False)

    def __call__(self, images_nchw: Tensor) -> Tensor:
        """The logits [b, classes]; until the next call, as a graph writes where it wrote before."""
        return self._forward(images_nchw)

    def warm_up(self, batches: Sequence[Tensor], precision: str) -> float:
        """Compile for each of these images_nchw; the seconds that took. The net is in training mode after it.

        Buffers and random states stay as they are, gradients are none.

        Raises UserError where that does not work here, as without a C++ compiler.
        """
        if not batches:
            return 0.0
        began = time.perf_counter()
        self._net.train()
        device = batches[0].device
        runs = _RUNS_UNTIL_RECORDED if device.type == "cuda" and self._mode in _GRAPHS else 1
        buffers = {name: buffer.clone() for name, buffer in self._net.named_buffers()}
        try:
            with (
                _quiet(),
                torch.random.fork_rng([device] if device.type == "cuda" else []),
                torch._dynamo.config.patch(recompile_limit=_MOST_SHAPES, fail_on_recompile_limit_hit=True),
            ):
                for images_nchw in batches:
                    for _ in range(runs):
                        self._net.zero_grad(set_to_none=True)  # a graph's gradients lie where its next run writes
                        with autocast(precision, device):
                            logits_nk = self(images_nchw)
                        logits_nk.float().sum().backward()
        except RuntimeError as error:
            inner = getattr(error, "inner_exception", error)  # without PyTorch's advice to its developers
            what = next(iter(str(inner).strip().splitlines()), type(inner).__name__)
            raise UserError(f"compile {self._mode} does not work here ({what}); compile none trains without") from None
        finally:
            now = dict(self._net.named_buffers())
            for name, before in buffers.items():
                now[name].copy_(before)
            for parameter in self._net.parameters():
                parameter.grad = None
        synchronize(device)
        return time.perf_counter() - began


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what PyTorch's compiler says of its own parts that are to be replaced."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
