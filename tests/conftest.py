"""What every test stands on."""

from __future__ import annotations

import functools
import gc
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from onecycle import hardware
from onecycle.api import pictures, resuming

# The nets of the tests are too small for two threads: they would wait for each other more than they work.
torch.set_num_threads(1)

# What a shell starts in the background ignores SIGINT, and so would the processes that tests send it to.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """What is imported by now stays: to look through all of it for garbage again and again takes a while of each."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _without_waiting() -> Iterator[None]:
    """What a training waits for, dozens of times, and no test in this process needs: the disk, and git.

    That a process syncs, and when, is seen where a test puts another function in the place of `os.fsync`; the processes
    that tests start do sync.
    """
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda descriptor: None)
        patched.setattr(hardware, "_git_commit", functools.cache(hardware._git_commit))
        yield


@pytest.fixture(scope="session", autouse=True)
def _without_real_images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where CIFAR-10 lies on this machine is told to the tests of it alone, which ask when they are imported.

    The runs of many others say that they are of CIFAR-10: to find that its images are not theirs would take seconds.
    """
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("ONECYCLE_DATA", str(tmp_path_factory.mktemp("no-data")))
        yield


@pytest.fixture
def drawn() -> None:
    """Asked for by tests of runs whose pictures and report matter; see `_draw_where_asked`."""


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """torch.compile traces and does no more, as it takes its time; the options of each call."""
    original, calls = torch.compile, []

    def compile_by_tracing(forward: Any, *, mode: str, dynamic: bool) -> Any:
        calls.append({"mode": mode, "dynamic": dynamic})
        return original(forward, backend="eager", dynamic=dynamic)

    monkeypatch.setattr(torch, "compile", compile_by_tracing)
    return calls


_FINISH, _MAKE_REPORT = pictures.finish, resuming.make_report


@pytest.fixture(scope="session", autouse=True)
def _undrawn() -> Iterator[None]:
    """Drawing takes longer than training the small nets of the tests, those of fixtures for many tests among them."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pictures, "finish", lambda *arguments, **options: None)
        patched.setattr(resuming, "make_report", lambda run, **options: run.path / "report.html")
        yield


@pytest.fixture(autouse=True)
def _draw_where_asked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "drawn" in request.fixturenames:
        monkeypatch.setattr(pictures, "finish", _FINISH)
        monkeypatch.setattr(resuming, "make_report", _MAKE_REPORT)
