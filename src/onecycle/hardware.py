"""What this machine trains with: device, precision, and a description of it for the record."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import itertools
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, get_args

import torch
from torch import nn

from .errors import UserError, suggestion
from .layers import FastLayers, matrix_units, native
from .processor import abilities, cpu_words
from .recipes.schema import Precision

AUTOCAST_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_PASSWORD = re.compile(r"(://[^/@\s:]*:)[^/@\s]+(?=@)")  # in a URL, as that of a database
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4  # malloc.h


def resolve_device(name: str) -> torch.device:
    """The device for "auto" (CUDA where there is one, else the CPU) or a name such as "cpu" or "cuda:1".

    Raises UserError where it is unknown or not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"--device {name!r} is unknown; allowed: auto, cpu, cuda, cuda:N") from None
    if device.type == "cpu" and device.index is None:
        return device
    if device.type == "cuda" and (device.index or 0) < torch.cuda.device_count():
        return device
    present = ", ".join(["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))])
    raise UserError(f"--device {name!r} is not on this machine; here: {present}")


def resolve_precision(precision: str, device: torch.device) -> str:
    """What "auto" stands for: bf16 where the processor multiplies bfloat16 in hardware, fp32 otherwise.

    Raises UserError where it is unknown, or the device cannot do what is asked for.
    """
    known = get_args(Precision)
    if precision not in known:
        raise UserError(f"precision {precision!r} is unknown; {suggestion(precision, known)}")
    if precision == "fp16" and device.type != "cuda":
        raise UserError(f"precision fp16 needs a CUDA device, not {device}; auto, bf16 or fp32 here")
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if abilities() & {"avx512_bf16", "amx_bf16", "bf16"} else "fp32"


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The context in which PyTorch computes in a resolved precision."""
    dtype = AUTOCAST_DTYPES.get(precision)
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)


@contextlib.contextmanager
def fast(precision: str, device: torch.device) -> Iterator[None]:
    """The context in which a net computes in a resolved precision the fastest way there is on the device."""
    with autocast(precision, device), FastLayers() if device.type == "cpu" else contextlib.nullcontext():
        yield


def to_channels_last(net: nn.Module, device: torch.device | None = None) -> nn.Module:
    """Move a net, in place, to the device, and the channels of its filters, and of all with four dimensions, last.

    `net.to(memory_format=...)` would not take a net that has a parameter of five dimensions.
    """
    net.to(device=device)
    for one in itertools.chain(net.parameters(), net.buffers()):
        if one.ndim == 4:
            one.data = one.data.contiguous(memory_format=torch.channels_last)
    return net


def device_name(device: torch.device) -> str:
    """The device as its maker calls it, and how much of it is used.

    A processor whose vectors end at AVX2 says so: makers give the same name to some that go on to AVX-512 and bfloat16,
    and train several times as fast.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    vectors = " (AVX2)" if torch.backends.cpu.get_cpu_capability() == "AVX2" else ""
    number = torch.get_num_threads()
    return f"{_processor()}{vectors}, {number} thread{'' if number == 1 else 's'}"


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what was asked of it, so that a host clock read next is right."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seed_generators(number: int) -> None:
    """Seed what is drawn on the processor, and on the GPUs where they are in use.

    torch.manual_seed also leaves a note with every kind of accelerator that is not in use, and the stack with each: in
    the steps of a small net that takes a good part of the time.
    """
    torch.default_generator.manual_seed(number)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(number)


@contextlib.contextmanager
def threads(number: int | None) -> Iterator[None]:
    """Within, torch computes with so many threads of the processor; with those that it has where that is None."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if number is None else number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def reused_memory(device: torch.device) -> Iterator[None]:
    """While this is open, memory that the process frees stays its own and is given out again.

    Left to itself, glibc returns every large tensor to the system and gets a new one, page by page, which is a good
    part of a step's time. Does nothing on a GPU, whose allocator in PyTorch works this way, nor without glibc.
    """
    libc = ctypes.CDLL(None) if device.type == "cpu" and platform.libc_ver()[0] == "glibc" else None
    if libc is None:
        yield
        return
    libc.mallopt(_M_MMAP_MAX, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, -1)
    try:
        yield
    finally:
        # What glibc's own adaptation of these settings comes to at most.
        libc.mallopt(_M_MMAP_MAX, 65_536)
        libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        libc.mallopt(_M_TRIM_THRESHOLD, 64 << 20)
        libc.malloc_trim(0)


@functools.cache
def source_digest() -> str:
    """The SHA-256 of all sources of this package, by which processes know that they run the same code."""
    digest, package = hashlib.sha256(), Path(__file__).parent
    for path in sorted([*package.rglob("*.py"), *package.rglob("*.[ch]pp")]):
        digest.update(f"{path.relative_to(package)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def environment(device: torch.device) -> dict[str, Any]:
    """Versions, device, threads, git commit and command line, for a run's environment.json."""
    return {
        "onecycle": _version("onecycle"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": _version("numpy"),
        "platform": platform.platform(),
        "device": str(device),
        "device_name": device_name(device),
        "threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
        "native_loops": device.type == "cpu" and native.library("loops") is not None,
        "matrix_units": device.type == "cpu" and matrix_units.is_available(),
        "git_commit": _git_commit(),
        "argv": [_PASSWORD.sub(r"\1***", word) for word in sys.argv],
    }


def _processor() -> str:
    return " ".join(cpu_words("model name")) or platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """The commit of the checkout that onecycle runs from, with + where it has changes; None where it is none."""
    folder = Path(__file__).parent
    try:
        described = subprocess.run(
            ["git", "-C", folder, "describe", "--always", "--dirty=+", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
        # A package installed below somebody else's checkout is not of that checkout.
        tracked = subprocess.run(
            ["git", "-C", folder, "ls-files", "--error-unmatch", "__init__.py"], capture_output=True, timeout=5
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip() if tracked.returncode == 0 else None
