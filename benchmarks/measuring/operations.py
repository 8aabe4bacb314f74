"""Where the time of a training step goes: every operation that PyTorch runs in it, by what it is for.

Each operation's own time, without that of what it calls, goes to one group; with the time between operations the
groups add up to the step.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.flop_counter import FlopCounterMode

from onecycle.data import Batch
from onecycle.hardware import reused_memory, synchronize

from .steps import Steps

AUGMENTATION, LOSS, OPTIMIZER = "augmentation", "loss", "optimiser"
COPIES, OTHER = "copies, conversions, fills", "other operations"
REST = "between operations"  # Python; on a GPU, the time in which it waits for the host
_FORWARD, _BACKWARD = "forward", "backward"
_PARTS = {f"onecycle: {part}": part for part in (AUGMENTATION, _FORWARD, LOSS, _BACKWARD, OPTIMIZER)}
_WHOLE_PARTS = (AUGMENTATION, LOSS, OPTIMIZER)  # whose operations are of that group, whatever they are
# Elsewhere the first operation with one of these words in its name decides, from the innermost outwards.
_WORDS = (
    (COPIES, r"copy|clone|contiguous|aten::to$|ToCopy|fill_|zero_|zeros|ones_like"),
    ("convolution", r"conv(olution|\d)"),
    ("normalisation", r"(batch|group|layer)_?norm|_BatchNorm"),
    ("activation", r"gelu|silu|relu|threshold"),
    ("pooling", r"pool"),
    ("linear layer", r"linear|addmm|aten::mm|MmBackward"),
    (LOSS, r"loss|softmax"),
    (OPTIMIZER, r"^Optimizer\."),
)
_OURS = ("_WinogradConvolution", "_Convolution")  # convolutions made of many operations
_BOTH_WAYS = ("convolution", "normalisation", "activation", "pooling", "linear layer")
GROUPS = (
    *(f"{kind}, {way}" for kind in _BOTH_WAYS for way in (_FORWARD, _BACKWARD)),
    *(COPIES, LOSS, OPTIMIZER, AUGMENTATION, OTHER, REST),
)


@dataclass(frozen=True)
class Operation:
    """All calls of an operation within a group, for a step: how many, and milliseconds without what they call."""

    group: str
    name: str
    calls: float
    ms: float


@dataclass(frozen=True)
class Profile:
    """Milliseconds of a step under the profiler and without it, what they are made of, GFLOP of a step by group."""

    ms: float
    plain_ms: float
    operations: tuple[Operation, ...]
    gflop: dict[str, float]

    def by_group(self) -> dict[str, float]:
        """Milliseconds a step, which add up to `ms`."""
        return {group: sum(one.ms for one in self.operations if one.group == group) for group in GROUPS}


def profile_steps(steps: Steps, count: int, warmup: int) -> Profile:
    """Profile so many steps, after a warm-up and as many without the profiler."""
    plain = steps.seconds(count, warmup)
    cuda = steps.device.type == "cuda"
    batches = steps.batches()
    with reused_memory(steps.device):
        _step(steps, batches)  # gets the memory again that the steps above gave back
        synchronize(steps.device)
        with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]) as found:
            begin = time.perf_counter()
            for _ in range(count):
                _step(steps, batches)
            synchronize(steps.device)
            ms = 1000 * (time.perf_counter() - begin) / count
    operations = _operations(found.events() or [], count, cuda=cuda)
    between = Operation(REST, "", 1.0, ms - sum(one.ms for one in operations))
    return Profile(ms, 1000 * sum(plain) / count, (*operations, between), _gflop(steps, next(batches)))


def _step(steps: Steps, batches: Iterator[Batch]) -> None:
    """A step with its parts told apart."""
    augmentation, forward, loss, backward, optimizer = (record_function(name) for name in _PARTS)
    with augmentation:
        batch = next(batches)
    with forward:
        logits_nk = steps.forward(batch)
    with loss:
        found = steps.loss(logits_nk, batch)
    with backward:
        steps.backward(found)
    with optimizer:
        steps.update()


def _operations(events: Iterable[Any], count: int, *, cuda: bool) -> list[Operation]:
    """The profiler's events on the host, longest first; on a GPU with the time that it took for them."""
    calls: dict[tuple[str, str], int] = defaultdict(int)
    microseconds: dict[tuple[str, str], float] = defaultdict(float)
    for event in events:
        if event.device_type.name != "CPU" or event.name in _PARTS:
            continue  # the parts' own time is Python's, and so between operations
        key = _group(list(_names(event))), event.name
        calls[key] += 1
        microseconds[key] += event.self_device_time_total if cuda else event.self_cpu_time_total
    found = [Operation(*key, calls[key] / count, microseconds[key] / count / 1000) for key in calls]
    return sorted(found, key=lambda one: -one.ms)


def _names(event: Any) -> Iterator[str]:
    """Its name, its caller's, and so on outwards."""
    while event is not None:
        yield event.name
        event = event.cpu_parent


def _group(names: list[str]) -> str:
    """The group of an operation, by the names of it and its callers from the innermost outwards."""
    part = next((_PARTS[name] for name in names if name in _PARTS), "")
    if part in _WHOLE_PARTS:
        return part
    whole = [name for name in names if name.startswith(_OURS)]  # whatever is done in it
    kinds = (kind for name in whole or names for kind, words in _WORDS if re.search(words, name, re.IGNORECASE))
    kind = next(kinds, OTHER)
    # On a GPU the backward pass runs on a thread of its own, outside of our part.
    backward = part == _BACKWARD or any(name.startswith("autograd::") for name in names)
    return f"{kind}, {_BACKWARD if backward else _FORWARD}" if kind in _BOTH_WAYS else kind


def _gflop(steps: Steps, batch: Batch) -> dict[str, float]:
    """By definition, of a step's convolutions, each way, and of all else that multiplies matrices in the optimiser."""
    steps.fast_layers = False
    with FlopCounterMode(display=False) as counter:
        steps.backward(steps.loss(steps.forward(batch), batch))
    counts = {str(name): number for name, number in counter.get_flop_counts()["Global"].items()}
    with FlopCounterMode(display=False) as of_update:
        steps.update()
    return {
        f"convolution, {_FORWARD}": counts.get("aten.convolution", 0) / 1e9,
        f"convolution, {_BACKWARD}": counts.get("aten.convolution_backward", 0) / 1e9,
        OPTIMIZER: of_update.get_total_flops() / 1e9,
    }
