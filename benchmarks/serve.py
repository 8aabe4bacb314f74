"""How fast `onecycle serve` answers: 1,000 requests of an image, 8 at a time, over HTTP on this machine.

    python benchmarks/serve.py [RUN] [--quick] [--out DIR]

Nothing else should be running. RUN is a finished run; without one a custom ResNet is trained for a step on random
images, which is as fast. The server has a process of its own, the clients are threads here, and each keeps its
connection. A time is from the first byte sent to the last one received; a row is the median over the rounds, which
follow one that is left out. Any answer but 200 ends it. The table is kept as benchmarks/results/serve_HARDWARE.csv.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import io
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from measuring.arguments import RESULTS
from measuring.arguments import run as run_command
from measuring.images import random_images
from measuring.session import begin, end
from measuring.settings import CPU, Samples
from measuring.table import Row, rendered, results
from PIL import Image
from predict import PHOTO, resized, trained_run
from predict import QUICK as QUICK_RUN
from predict import Settings as RunSettings

import onecycle
from onecycle.hardware import device_name

SHARES = {"p50": 50, "p95": 95, "p99": 99, "max": 100}
KINDS = {"png": "PNG of the net's size", "jpeg": f"JPEG of {PHOTO[0]} x {PHOTO[1]} pixels"}
ROWS = tuple(
    Row(f"{kind}_{name}", f"{what}, {name}", "requests/s" if name == "rate" else "ms")
    for kind, what in KINDS.items()
    for name in ("rate", *SHARES)
)


@dataclass(frozen=True)
class Settings:
    """How much is measured."""

    requests: int = 1000
    at_a_time: int = 8
    rounds: int = 3


QUICK = Settings(requests=40, rounds=1)


def main() -> None:
    """Measure what is asked for, print it, keep it."""
    parser = argparse.ArgumentParser(description="Measure how fast a run is served on this machine.")
    parser.add_argument("run", nargs="?", type=Path, metavar="RUN", help="a finished run; else one is made")
    parser.add_argument("--quick", action="store_true", help="everything tiny, to see that it works")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to keep CSV and JSON (benchmarks/results)")
    run_command(parser, measure)


def measure(arguments: argparse.Namespace) -> None:
    """Measure, print, keep."""
    settings = QUICK if arguments.quick else Settings()
    console, load = begin()
    samples: Samples = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        of = QUICK_RUN if arguments.quick else RunSettings()
        run = trained_run(of, Path(folder)) if arguments.run is None else onecycle.load(arguments.run)
        bodies = {kind: body(kind, run.recipe.data.image_size) for kind in KINDS}
        with served(run.path) as port:
            for turn in range(settings.rounds + 1):
                for kind, content in bodies.items():
                    found = load_test(port, content, settings)
                    if turn:  # the first is the warm-up
                        for name, value in found.items():
                            samples[f"{kind}_{name}"].append([value])
        what = run.recipe.model.name
    table = results(samples, ROWS)
    title = f"{what}, {settings.requests:,} requests, {settings.at_a_time} at a time; {device_name(CPU)}"
    console.print(rendered(table, title, ROWS))
    record = {"net": what, "load_average_before": load, "settings": asdict(settings), "samples": samples}
    end(console, "serve", arguments.out or (None if arguments.quick else RESULTS), table, record)


@contextlib.contextmanager
def served(run: Path) -> Iterator[int]:
    """The port of a server, without a limit of requests a second. Raises UserError where it does not start."""
    command = [sys.executable, "-m", "onecycle", "serve", str(run), "--port", "0", "--rate", "1000000"]
    with subprocess.Popen([*command, "--device", "cpu"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            told = re.search(r":(\d+);", process.stdout.readline())
            if told is None:
                raise onecycle.UserError("the server did not start; its error is above")
            yield int(told[1])
        finally:
            process.send_signal(signal.SIGTERM)


def load_test(port: int, content: bytes, settings: Settings) -> dict[str, float]:
    """Requests a second, and percentiles of the milliseconds that one takes. Raises UserError on any error."""
    mine = threading.local()

    def ask(_: int) -> float:
        if not hasattr(mine, "connection"):
            mine.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        begin = time.perf_counter()
        mine.connection.request("POST", "/predict", content)
        answer = mine.connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise onecycle.UserError(f"the server answered {answer.status}: {said[:200]!r}")
        return 1000 * (time.perf_counter() - begin)

    with ThreadPoolExecutor(settings.at_a_time) as pool:
        begin = time.perf_counter()
        times_ms = list(pool.map(ask, range(settings.requests)))
        seconds = time.perf_counter() - begin
    percentiles = {name: float(np.percentile(times_ms, share)) for name, share in SHARES.items()}
    return {"rate": settings.requests / seconds, **percentiles}


def body(kind: str, side: int) -> bytes:
    """The content of an image file."""
    file = io.BytesIO()
    size = (side, side) if kind == "png" else PHOTO
    Image.fromarray(resized(random_images(1).images_nhwc[0], size)).save(file, kind)
    return file.getvalue()


if __name__ == "__main__":
    main()
