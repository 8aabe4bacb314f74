"""A model of training on many GPUs: what is measured, what is assumed, and the arithmetic between them.

A step takes the longest of the GPU's arithmetic, the host's calls and the reading of images, and what of the all-reduce
cannot hide behind the backward pass. Fewer, larger batches need more epochs beyond the critical batch size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

US = 1e-6
GB = 1e9


@dataclass(frozen=True)
class Network:
    """Between nodes: bytes/s that an all-reduce moves in and out of a node, what a ring's bus bandwidth is there."""

    name: str
    bandwidth: float


@dataclass(frozen=True)
class Cluster:
    """Nodes of GPUs; every figure is assumed, and scale_on_paper.py says from where."""

    network: Network
    peak: float = 312e12  # FLOP/s of bfloat16 a GPU, dense
    share: float = 0.35  # of it that the net reaches
    per_node: int = 8
    in_node: float = 230 * GB  # bus bandwidth between the GPUs of a node, bytes/s
    hop_in_node: float = 3.4 * US
    hop_between: float = 9.6 * US
    tree_hop: float = 28 * US
    host_step: float = 2e-3  # seconds that Python and PyTorch need to issue a step, however small
    disk: float = 3 * GB  # bytes/s of images that a node reads
    memory: float = 80 * GB  # of a GPU
    start: float = 30.0  # seconds until the first step: imports, CUDA, communicators

    def all_reduce(self, gpus: int, size: float) -> float:
        """Seconds to sum `size` bytes over all GPUs: by a ring or by trees, whichever is faster, as NCCL chooses.

        Ring: 2 (N - 1) / N x bytes / bandwidth, and 2 (N - 1) hops, of which two a node go between nodes. Trees: the
        same bytes; as many hops as a chain in the node and a tree over the nodes are deep, there and back.
        """
        if gpus == 1:
            return 0.0
        nodes = math.ceil(gpus / self.per_node)
        slowest = self.in_node if nodes == 1 else min(self.in_node, self.network.bandwidth)
        moving = 2 * (gpus - 1) / gpus * size / slowest
        hops, between = 2 * (gpus - 1), 2 * nodes if nodes > 1 else 0
        ring = (hops - between) * self.hop_in_node + between * self.hop_between
        tree = 2 * (min(gpus, self.per_node) - 1 + math.log2(nodes)) * self.tree_hop
        return moving + min(ring, tree)


@dataclass(frozen=True)
class Net:
    """What a step costs: `flop` an image for forward and backward, the bytes of all gradients.

    The gradients come in two parts: when the first is there, `hidden` of a step's arithmetic is still to come, behind
    which it can be added up; the share `last` of the bytes is there at the end alone.
    """

    flop: float
    gradient_bytes: float
    hidden: float
    last: float


@dataclass(frozen=True)
class Task:
    """A training: `epochs` at a batch of `batch` reach what is wanted; `critical` is the critical batch size."""

    name: str
    images: int
    image_bytes: int
    net: Net
    epochs: float
    batch: int
    critical: float
    plan_seconds: float = 0.0  # to draw an epoch's plan
    read_seconds: float = 0.0  # to read all images before the first step, for their fingerprint and their mean

    def epochs_at(self, batch: int) -> float:
        """Epochs to the same loss with another batch: E is proportional to 1 + B / critical (McCandlish et al.)."""
        return self.epochs * (1 + batch / self.critical) / (1 + self.batch / self.critical)


@dataclass(frozen=True)
class Plan:
    """A training of a task on so many GPUs with a global batch; times in seconds."""

    task: Task
    cluster: Cluster
    gpus: int
    batch: int

    @property
    def own(self) -> int:
        """Images of the batch on the GPU that has most."""
        return math.ceil(self.batch / self.gpus)

    @property
    def arithmetic(self) -> float:
        """Forward and backward of these images."""
        return self.own * self.task.net.flop / (self.cluster.peak * self.cluster.share)

    @property
    def reading(self) -> float:
        """Fetching them from the node's disk, where the set does not fit in half of a GPU's memory."""
        task, cluster = self.task, self.cluster
        if task.images * task.image_bytes <= cluster.memory / 2:
            return 0.0
        return self.own * task.image_bytes / (cluster.disk / min(self.gpus, cluster.per_node))

    @property
    def exposed(self) -> float:
        """What of the all-reduce the step waits for."""
        net = self.task.net
        last = self.cluster.all_reduce(self.gpus, net.last * net.gradient_bytes)
        first = self.cluster.all_reduce(self.gpus, (1 - net.last) * net.gradient_bytes)
        return max(0.0, first - net.hidden * self.arithmetic) + last

    @property
    def step(self) -> float:
        """Seconds a step."""
        return max(self.arithmetic, self.reading, self.cluster.host_step) + self.exposed

    @property
    def training(self) -> float:
        """The epochs, each with its plan."""
        epochs = self.task.epochs_at(self.batch)
        return epochs * (self.task.plan_seconds + self.task.images / self.batch * self.step)

    @property
    def seconds(self) -> float:
        """All of it, from the start of the processes."""
        return self.cluster.start + self.task.read_seconds + self.training

    @property
    def gpu_hours(self) -> float:
        """What it costs."""
        return self.gpus * self.seconds / 3600

    @property
    def rate(self) -> float:
        """Images/s of the steps."""
        return self.batch / self.step


def best(task: Task, cluster: Cluster, gpus: int) -> Plan:
    """The batch, of powers of two, with which so many GPUs are done first."""
    return min((Plan(task, cluster, gpus, batch) for batch in _batches(task, gpus)), key=lambda plan: plan.seconds)


def efficiency(plan: Plan) -> float:
    """GPU-hours of a single GPU with its own best batch over those of the plan."""
    return best(plan.task, plan.cluster, 1).gpu_hours / plan.gpu_hours


def efficiency_of_epochs(plan: Plan) -> float:
    """The same of the epochs alone, without what comes before the first step."""
    return best(plan.task, plan.cluster, 1).training / (plan.gpus * plan.training)


def pays_until(
    task: Task, cluster: Cluster, measure: Callable[[Plan], float], least: float = 0.5, most: int = 512
) -> int:
    """The most GPUs, of 1, 2, 4, ..., for which that efficiency is at least `least`."""
    counts = [1 << power for power in range(most.bit_length())]
    return max(gpus for gpus in counts if measure(best(task, cluster, gpus)) >= least)


def _batches(task: Task, gpus: int) -> Iterator[int]:
    """From the task's own batch, or an image a GPU, to four times the critical size: five times the epochs."""
    batch = max(task.batch, 2 ** math.ceil(math.log2(gpus)))
    while batch <= max(4 * task.critical, gpus, task.batch):
        yield batch
        batch *= 2
