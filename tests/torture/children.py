"""Processes that are there to be killed: forked in milliseconds, with all that a training needs imported.

They come from a server that has one thread, so that pytest may have several. A child begins with the modules of
`PRELOADED`, one torch thread, and its output in a file.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

PRELOADED = ["onecycle.api", "onecycle.cli", "torture.warm", "torture.subject"]
_TESTS = Path(__file__).parents[1]
PATIENCE_SECONDS = 240.0  # until a child that does not end is a loss; a busy machine is slow
_POLL_SECONDS = 0.0005
_BEGAN: list[Path] = []  # in a child, the file that says that it has begun


class Child:
    """A process that runs `function(*arguments, **options)`, which calls `begin`; what it says goes to `said`."""

    def __init__(self, function: Callable[..., None], *arguments: Any, said: Path, **options: Any) -> None:
        said.parent.mkdir(parents=True, exist_ok=True)
        self._said, self._began = said, said.with_suffix(".began")
        self._began.unlink(missing_ok=True)
        self._process: ForkServerProcess = _context().Process(
            target=_run, args=(function, arguments, options, said, self._began), daemon=True
        )
        self._process.start()
        self.pid = self._process.pid or 0
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self._began.exists() and self._process.exitcode is None and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        self.began = time.perf_counter()

    def signal(self, number: int, after_seconds: float) -> bool:
        """Send a signal so long after the child began; whether it had not ended by then."""
        self._process.join(max(self.began + after_seconds - time.perf_counter(), 0))
        running = self._process.exitcode is None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)
        return running

    def wait(self) -> int:
        """The exit code, negative where a signal ended it."""
        self._process.join(PATIENCE_SECONDS)
        if self._process.exitcode is None:
            self._process.kill()
            raise TimeoutError(f"a child has not ended: {self.said}")
        code = self._process.exitcode
        self._process.close()
        return code

    @property
    def said(self) -> str:
        """What it wrote to stdout and stderr."""
        return self._said.read_text(errors="replace") if self._said.exists() else ""


def begin() -> None:
    """Called in a child once it is ready for whatever comes; `Child` waits for it, and its time counts from here."""
    _BEGAN[0].touch()


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    before = os.environ.get("PYTHONPATH")
    # A server of Python 3.11 is told of sys.path only after it has imported what is to be there already.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_TESTS), before]))
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    return context


def _run(
    function: Callable[..., None], arguments: tuple[Any, ...], options: dict[str, Any], said: Path, began: Path
) -> None:
    import torch

    torch.set_num_threads(1)
    descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number in (1, 2):
        os.dup2(descriptor, number)
    os.close(descriptor)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    _BEGAN.append(began)
    function(*arguments, **options)
