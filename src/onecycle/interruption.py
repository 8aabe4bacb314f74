"""SIGINT and SIGTERM as questions that a loop answers when its state is whole."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from .errors import Stopped


class Stop:
    """Remembers a signal until the loop comes to a place where its state is whole."""

    signal_number: int | None = None

    def check(self) -> None:
        """Raise Stopped where a signal came."""
        if self.signal_number is not None:
            raise Stopped("stopped", self.signal_number)


@contextlib.contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """SIGINT and SIGTERM ask the loop to save and leave; a second one of the same kind acts as without us."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # Python delivers signals to the main thread alone
        return
    before = {int(number): signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, frame: FrameType | None) -> None:
        stop.signal_number = number
        # Not print: the signal may have come in the midst of one.
        os.write(2, b"\nonecycle: stopping after this step and saving; once more ends it at once, unsaved\n")
        signal.signal(number, before[number])

    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
