"""No command opens a socket; the long version gives each a process of its own: `python -m torture sockets`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from torture.no_network import KERNEL_FORBIDS
from torture.sockets import Command, commands, every_command_is_here, run

from onecycle.exporting import onnx_file

# Slow to draw or to export; in the long version, as is what draws at the end of a training.
SLOW = {
    "data preview",
    "find-lr",
    "train --tensorboard",
    "explain",
    "report",
    "compare",
    "predict",
    "search",
    "trials",
    "Lightning",
    "exported ONNX in use",
}
UNDRAWN = """
from onecycle.api import pictures, resuming
pictures.finish = lambda *arguments: None
resuming.make_report = lambda run, **options: run.path / "report.html"
"""
FETCH = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')"
LIBC = "import ctypes; ctypes.CDLL(None).socket(2, 1, 0)"
CHILD = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import socket; socket.socket()'], check=True)"


def test_every_command_is_tried() -> None:
    every_command_is_here().check()


def test_no_command_opens_a_socket(tmp_path: Path) -> None:
    quick = [one for one in commands() if one.name not in SLOW and not one.name.startswith("export")]
    for tally in run([Command("without pictures", ["python", UNDRAWN]), *quick], tmp_path):
        tally.check()


def test_a_script_that_connects_is_caught(tmp_path: Path) -> None:
    (tally,) = run([Command("connects", ["python", FETCH])], tmp_path)
    with pytest.raises(AssertionError, match=r"it tried .*urllib.Request"):
        tally.check()


@pytest.mark.skipif(not KERNEL_FORBIDS, reason="seccomp filters are for Linux on x86-64 and AArch64 here")
@pytest.mark.parametrize("code", [LIBC, CHILD])
def test_what_python_does_not_see_is_caught(tmp_path: Path, code: str) -> None:
    (tally,) = run([Command("goes round Python", ["python", code])], tmp_path)
    with pytest.raises(AssertionError, match=r"-31|SIGSYS"):
        tally.check()


def test_onnxruntime_is_told_not_to_call_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    monkeypatch.setattr(onnx_file, "quiet", lambda: pytest.fail("it is imported before it is told"))
    with pytest.raises(pytest.fail.Exception):
        onnx_file.check_extra()
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
