"""A training in one process or several, as torchrun starts them, that works a block of steps when it is told to."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import socket
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import onecycle
from onecycle.data import ImageSet
from onecycle.models import custom_resnet

from .compact_net import compact_net


@dataclass(frozen=True)
class Work:
    """What is trained: a batch over all processes, and how many steps are a block."""

    images: ImageSet
    batch: int
    steps: int
    small_net: bool = False  # the compact net in place of the custom ResNet


class TrainingTogether:
    """`onecycle.train` in so many fresh processes with so many threads each, stopped before its first step."""

    def __init__(self, work: Work, *, processes: int, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        pipes = [context.Pipe() for _ in range(processes)]
        self._connections = [ours for ours, _ in pipes]
        port = _free_port()
        self._processes = [
            context.Process(target=_train, args=(theirs, work, rank, processes, threads, port), daemon=True)
            for rank, (_, theirs) in enumerate(pipes)
        ]
        for process in self._processes:
            process.start()
        for _, theirs in pipes:
            theirs.close()
        self._wait()

    def work(self) -> float:
        """Seconds of a block of steps, by the process that took longest."""
        for connection in self._connections:
            connection.send(True)
        return self._wait()

    def end(self) -> None:
        """Stop the processes; they have to be between two blocks."""
        for process in self._processes:
            process.kill()
            process.join()

    def _wait(self) -> float:
        try:
            return float(max(connection.recv() for connection in self._connections))
        except EOFError:
            self.end()
            raise onecycle.UserError("a training ended before its time; its last lines say why") from None


def _train(connection: Connection, work: Work, rank: int, processes: int, threads: int, port: int) -> None:
    torch.set_num_threads(threads)
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    os.environ |= {key: str(value) for key, value in {**place, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items()}
    net = compact_net() if work.small_net else custom_resnet(10)
    done, begin = 0, 0.0

    def take_turns(net: nn.Module, _: tuple[Tensor, ...]) -> None:
        """Before each step's forward pass; a function, as those of a net that is copied are copied with it."""
        nonlocal done, begin
        if net.training and done % work.steps == 0:
            connection.send(time.perf_counter() - begin)
            connection.recv()
            begin = time.perf_counter()
        done += net.training

    net.register_forward_pre_hook(take_turns)
    changes: dict[str, Any] = {
        "data.batch_size": work.batch,
        "schedule.epochs": 100,
        "schedule.lr_min": 0.0001,
        "schedule.lr_max": 0.001,
        "evaluate_every": 0,
        "checkpoint.every_seconds": 10**6,  # as a checkpoint is not what is measured
    }
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(EOFError):  # whoever told it to work is gone
        given: dict[str, Any] = {"device": "cpu", "observer": onecycle.Observer(), "out": Path(folder) / "run"}
        onecycle.train("custom_resnet", model=net, data=work.images, **given, **changes)


def _free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        port: int = asked.getsockname()[1]
        return port
