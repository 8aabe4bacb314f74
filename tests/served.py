"""A server in a process of its own, which notes every address that it would reach, and requests to it."""

from __future__ import annotations

import atexit
import functools
import http.client
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small import images, small_recipe

import onecycle
from onecycle import Dataset, ImageSet, Observer, Run

CLASSES = ("<b>cat</b>", "{{dog}} ${alert(1)} `", "猫 & 'emu'", "<img src=x onerror=alert(1)>")
needs_gradio = pytest.mark.skipif(find_spec("gradio") is None, reason="pip install -e '.[dev]'")
_NOTING = """
import sys
def note(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        address = arguments[1] if event in ("socket.connect", "socket.sendto") else arguments
        if str(address[0]) not in ("127.0.0.1", "::1", "localhost"):
            print("REACHED", event, address, file=sys.stderr, flush=True)
sys.addaudithook(note)
from onecycle import cli
cli.main(sys.argv[1:])
"""


@dataclass
class Server:
    """One that runs, the folder that it may write to, and its run."""

    process: subprocess.Popen[bytes]
    port: int
    said: Path
    temporary: Path
    run: Run
    test: ImageSet

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """One request on a connection of its own: status, headers, content."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, body, {key.replace("_", "-"): value for key, value in headers.items()})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, {key.lower(): value for key, value in answer.getheaders()}, content

    def predict(self, body: bytes, query: str = "", **headers: str) -> tuple[int, dict[str, Any]]:
        """What POST /predict answers."""
        status, _, content = self.ask("POST", f"/predict{query}", body, **headers)
        return status, json.loads(content)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(30)


@functools.cache
def folder() -> Path:
    """What is made for the tests of this process lies here."""
    made = Path(tempfile.mkdtemp(prefix="onecycle-served-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


@functools.cache
def trained() -> Run:
    """A run of a named net on an .npz file, whose classes have hostile names; most test images are wrong."""
    data = Dataset(images(80, 0), images(60, 1))
    arrays = {"x_train": data.train.images_nhwc, "y_train": data.train.labels}
    arrays |= {"x_test": data.test.images_nhwc, "y_test": data.test.labels, "classes": np.array(CLASSES)}
    np.savez(folder() / "images.npz", **arrays)
    changes = {"schedule.epochs": 1, "schedule.peak_epoch": 0.5, "data.name": str(folder() / "images.npz")}
    wanted = small_recipe(**{"model.name": "compact", "precision": "fp32", **changes})
    return onecycle.train(wanted, out=folder() / "run", observer=Observer(), device="cpu")


@functools.cache
def server() -> Server:
    """One for all tests of a process, which ends with it."""
    run = trained()
    test = ImageSet(images(60, 1).images_nhwc, images(60, 1).labels, CLASSES)
    temporary = folder() / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-W", "error", "-c", _NOTING, "serve", str(run.path), "--port", "0", "--rate", "10000"]
    said = folder() / "said.txt"
    with said.open("wb") as file:
        process = subprocess.Popen(
            [*command, "--max-mb", "0.5", "--device", "cpu"],
            stdout=file,
            stderr=file,
            env={
                "PATH": "/usr/bin:/bin",
                "HOME": str(folder()),
                "TMPDIR": str(temporary),
                "OMP_NUM_THREADS": "1",
                "GRADIO_VIBE_MODE": "1",  # what the user's environment says to Gradio must not count
                "GRADIO_ROOT_PATH": "https://elsewhere.example",
            },
        )
    atexit.register(_end, process)
    port = re.search(r" at http://127\.0\.0\.1:(\d+);", _wait_for(said, process))
    assert port is not None
    return Server(process, int(port[1]), said, temporary, run, test)


def _wait_for(said: Path, process: subprocess.Popen[bytes], seconds: float = 120.0) -> str:
    """What it says once it serves."""
    for _ in range(int(seconds / 0.05)):
        text = said.read_text()
        if "serving " in text:
            return text
        if process.poll() is not None:
            break
        time.sleep(0.05)
    pytest.fail(f"it does not serve: {said.read_text()}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
