"""What can only be seen in a process of its own: peak memory, and the time to start."""

from __future__ import annotations

import multiprocessing
import re
import resource
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from onecycle.data import Dataset

from .clocks import timed
from .settings import Samples, Settings
from .training import our_steps


def measure_memory(settings: Settings, images: Dataset, samples: Samples) -> None:
    """A few steps of training in a fresh process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        samples["memory"].append([pool.submit(peak_mib_of_training, settings, images).result()])


def peak_mib_of_training(settings: Settings, images: Dataset) -> float:
    """Train here, and say how much memory this process held at most."""
    our_steps(settings, images, settings.net(), steps=2, warmup=0)
    try:
        # Not ru_maxrss, which on Linux begins with what the parent held when it started this process.
        found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
        assert found
        return int(found[1]) / 2**10
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def measure_startup(settings: Settings, images: Dataset, samples: Samples) -> None:
    """`onecycle --help` as a command, and the import statement alone; the first start of each fills the caches."""
    command = shutil.which("onecycle", path=str(Path(sys.executable).parent))
    words = [command] if command else [sys.executable, "-m", "onecycle"]
    samples["startup_help"].append(timed(lambda: _output([*words, "--help"]), settings.starts, warmup=1))
    statement = "import time; begin = time.perf_counter(); import onecycle; print(time.perf_counter() - begin)"
    starts = [float(_output([sys.executable, "-c", statement])) for _ in range(settings.starts + 1)]
    samples["startup_import"].append(starts[1:])


def _output(words: list[str]) -> str:
    return subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout
