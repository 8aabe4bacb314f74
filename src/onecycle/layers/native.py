"""kernels.cpp, compiled for this processor when it is first needed, and its functions as they are called from here."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shlex
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ..errors import UserError
from ..files import cache_folder
from ..processor import abilities, cpu_words

_SOURCE = Path(__file__).with_name("kernels.cpp")
# OpenMP's functions are left open, and found where PyTorch has loaded them, so that both share their threads: others
# would wait, spinning, on the processors that PyTorch's need.
_OPTIONS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-fPIC", "-c")
_WIDE = "-mprefer-vector-width=512"  # without it GCC takes but half of an AVX-512 vector
_SECONDS = 120  # the longest that a compiler may take


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled file, made if need be; None where there is no C++ compiler, or what it makes cannot be loaded.

    The compiler is `c++`, or what the environment variable CXX names. Its file is kept in the user's cache folder,
    $XDG_CACHE_HOME/onecycle or ~/.cache/onecycle, by all that it depends on; where nothing can be written there it is
    made in a temporary folder each time.
    """
    with tempfile.TemporaryDirectory() as scratch:
        for folder in (cache_folder, lambda: Path(scratch)):
            with contextlib.suppress(OSError, UserError, ValueError, subprocess.SubprocessError):
                return ctypes.CDLL(str(_made(folder())))
    return None


def call(name: str, dtype: torch.dtype, *arguments: Tensor | int) -> None:
    """Run a function of kernels.cpp for values of a type, on as many threads as PyTorch does.

    Tensors go as the address of their first value, and must lie in memory as the function takes them.
    """
    values = [
        ctypes.c_void_p(one.data_ptr()) if isinstance(one, Tensor) else ctypes.c_int64(one)
        for one in (*arguments, torch.get_num_threads())
    ]
    _function(f"{name}_{str(dtype).removeprefix('torch.')}")(*values)


@functools.cache
def _function(name: str) -> Callable[..., None]:
    loaded = library()
    assert loaded is not None, "kernels.cpp could not be compiled"
    address = ctypes.c_void_p.in_dll(loaded, name).value
    assert address is not None
    return ctypes.CFUNCTYPE(None)(address)


def _made(folder: Path) -> Path:
    """The compiled file in a folder, compiled now unless it is there."""
    compiler = shlex.split(os.environ.get("CXX") or "c++")
    options = [*_OPTIONS, *([_WIDE] if "avx512f" in abilities() else [])]
    about = [_SOURCE.read_text(encoding="utf-8"), compiler, options, platform.machine(), cpu_words("model name")]
    digest = hashlib.sha256(repr([*about, sorted(abilities())]).encode()).hexdigest()
    made = folder / f"kernels-{digest[:16]}.so"
    if not made.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            for arguments in ([*options, str(_SOURCE), "-o", "kernels.o"], ["-shared", "kernels.o", "-o", made.name]):
                subprocess.run([*compiler, *arguments], cwd=scratch, check=True, capture_output=True, timeout=_SECONDS)
            Path(scratch, made.name).replace(made)  # at once, so that others find the whole of it or nothing
    return made
