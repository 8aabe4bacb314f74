"""What a process holds, and the settings that all of it shares: to be the same before and after."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import gc
import hashlib
import locale
import logging
import os
import platform
import random
import resource
import signal
import sys
import tempfile
import threading
import warnings
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

Holdings = dict[str, Any]


def holdings() -> Holdings:
    """Everything by its name, each as a value that can be compared."""
    gc.collect()
    alive = [one for one in gc.get_objects() if _is_of_interest(type(one))]
    nets = [one for one in alive if isinstance(one, nn.Module)]
    return {
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "threads of the system": len(list(Path("/proc/self/task").iterdir())),
        "open files": _open_files(),
        "children": _children(),
        "temporary files": sorted(path.name for path in Path(tempfile.gettempdir()).iterdir()),
        "figures": len(alive) - len(nets),
        "layers": len(nets),
        "hooks": sum(len(hooks) for net in nets for key, hooks in vars(net).items() if key.endswith("_hooks")),
        "pyplot": "matplotlib.pyplot" in sys.modules,
        "matplotlib's settings": repr(list(dict.items(matplotlib.rcParams))),
        "signal handlers": {number: signal.getsignal(number) for number in sorted(signal.valid_signals())},
        "functions at exit": atexit._ncallbacks(),
        "random states": _digest(random.getstate(), np.random.get_state(), torch.get_rng_state().numpy().tobytes()),
        "torch": (
            torch.get_default_dtype(),
            torch.get_num_threads(),
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.are_deterministic_algorithms_enabled(),
            torch.get_float32_matmul_precision(),
            torch.is_autocast_enabled("cpu"),
        ),
        "warning filters": repr(warnings.filters),
        "locale": locale.setlocale(locale.LC_ALL),
        "folder": Path.cwd(),
        "environment": dict(os.environ),
        "mask of new files": _umask(),
        "import path": list(sys.path),
        "hooks of the interpreter": (sys.excepthook, sys.unraisablehook, threading.excepthook, sys.displayhook),
        "streams": (sys.stdout, sys.stderr),
        "logging": (logging.root.level, logging.root.manager.disable, list(logging.root.handlers)),
        "timers": [signal.getitimer(kind) for kind in (signal.ITIMER_REAL, signal.ITIMER_PROF)],
        "limits": [resource.getrlimit(kind) for kind in (resource.RLIMIT_AS, resource.RLIMIT_NOFILE)],
    }


def changed(before: Holdings, after: Holdings) -> str | None:
    """What differs, by its name; None where nothing does."""
    found = [f"{key}: {before[key]!r} -> {after[key]!r}"[:300] for key in before if before[key] != after[key]]
    return "; ".join(found) or None


def resident_bytes() -> int:
    """The process's memory after what is free has gone back to the system, where glibc can give it back."""
    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@functools.cache  # there are few types, and hundreds of thousands of objects
def _is_of_interest(kind: type) -> bool:
    return issubclass(kind, (Figure, nn.Module))


def _open_files() -> list[str]:
    """What each descriptor is of; that of the listing itself has gone by the time it is asked for."""
    return sorted(name for path in list(Path("/proc/self/fd").iterdir()) if (name := _link(path)))


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except FileNotFoundError:
        return ""


def _children() -> list[str]:
    """The names of the processes that this one has begun and that have not ended, or were not waited for."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            name, _, rest = stat.read_text().rpartition(")")
            if int(rest.split()[1]) == os.getpid():
                found.append(name)
    return sorted(found)


def _digest(*states: Any) -> str:
    return hashlib.sha256(repr(states).encode()).hexdigest()


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
