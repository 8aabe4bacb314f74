"""The C++ files here, compiled for this processor when they are first needed, and calls of their functions."""

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

# OpenMP's functions are left open, and found where PyTorch has loaded them, so that both share their threads: others
# would wait, spinning, on the processors that PyTorch's need.
_OPTIONS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-fPIC", "-c")
_WIDE = "-mprefer-vector-width=512"  # without it GCC takes but half of an AVX-512 vector
_SECONDS = 120  # the longest that a compiler may take


@functools.cache
def library(name: str) -> ctypes.CDLL | None:
    """loops.cpp or convolution.cpp, compiled; None where there is no C++ compiler, or what it makes cannot be loaded.

    The compiler is `c++`, or what the environment variable CXX names. Its file is kept in the user's cache folder,
    $XDG_CACHE_HOME/onecycle or ~/.cache/onecycle, by all that it depends on; where nothing can be written there it is
    made in a temporary folder each time.
    """
    with tempfile.TemporaryDirectory() as scratch:
        for folder in (cache_folder, lambda: Path(scratch)):
            with contextlib.suppress(OSError, UserError, ValueError, subprocess.SubprocessError):
                return ctypes.CDLL(str(_made(source(name), folder())))
    return None


def call(name: str, function: str, dtype: torch.dtype, *arguments: Tensor | int) -> None:
    """Run a library's function for values of a type, on as many threads as PyTorch does.

    Tensors go as the address of their first value, and must lie in memory as the function takes them.
    """
    values = [
        ctypes.c_void_p(one.data_ptr()) if isinstance(one, Tensor) else ctypes.c_int64(one)
        for one in (*arguments, torch.get_num_threads())
    ]
    _function(name, f"{function}_{str(dtype).removeprefix('torch.')}")(*values)


def source(name: str) -> Path:
    """The C++ file of a library."""
    return Path(__file__).with_name(f"{name}.cpp")


@functools.cache
def _function(name: str, function: str) -> Callable[..., None]:
    loaded = library(name)
    assert loaded is not None, f"{name}.cpp could not be compiled"
    address = ctypes.c_void_p.in_dll(loaded, function).value
    assert address is not None
    return ctypes.CFUNCTYPE(None)(address)


def _made(source: Path, folder: Path) -> Path:
    """The compiled file in a folder, compiled now unless it is there."""
    compiler = shlex.split(os.environ.get("CXX") or "c++")
    options = [*_OPTIONS, *([_WIDE] if "avx512f" in abilities() else [])]
    texts = [one.read_text(encoding="utf-8") for one in (source, *sorted(source.parent.glob("*.hpp")))]
    about = [texts, compiler, options, platform.machine(), cpu_words("model name")]
    digest = hashlib.sha256(repr([*about, sorted(abilities())]).encode()).hexdigest()
    made = folder / f"{source.stem}-{digest[:16]}.so"
    if not made.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            for arguments in ([*options, str(source), "-o", "made.o"], ["-shared", "made.o", "-o", made.name]):
                subprocess.run([*compiler, *arguments], cwd=scratch, check=True, capture_output=True, timeout=_SECONDS)
            Path(scratch, made.name).replace(made)  # at once, so that others find the whole of it or nothing
    return made
