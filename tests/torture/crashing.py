"""Cases that show that a worker notices what it is there for."""

from __future__ import annotations

import os
import signal
from pathlib import Path


def crash_first(folder: Path, seed: int, number: int) -> str | None:
    """The first ends its process, the second prints behind Python's back, the third fails, the fourth holds."""
    if number == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 1:
        os.write(2, b"hello\n")
    return "it does not hold" if number == 2 else None
