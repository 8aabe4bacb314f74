"""What the processor says of itself."""

from __future__ import annotations

import functools
from pathlib import Path


@functools.cache
def abilities() -> frozenset[str]:
    """The instructions that it has, as Linux names them, such as amx_tile; none where it is not told."""
    return frozenset([*cpu_words("flags"), *cpu_words("Features")])


def cpu_words(key: str) -> list[str]:
    """The words behind the first line of a key in /proc/cpuinfo; none where there is no such file."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return next((line.partition(":")[2].split() for line in lines if line.partition(":")[0].strip() == key), [])
