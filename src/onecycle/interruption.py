"""SIGINT and SIGTERM as questions that a loop answers when its state is whole."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from .errors import Stopped


class Terminated(BaseException):
    """Raised by SIGTERM outside a training loop, as KeyboardInterrupt is by SIGINT."""


def signal_of(interrupt: BaseException) -> signal.Signals:
    """The signal behind a Stopped, a Terminated or a KeyboardInterrupt."""
    if isinstance(interrupt, Stopped):
        return interrupt.signal_number
    return signal.SIGTERM if isinstance(interrupt, Terminated) else signal.SIGINT


class Stop:
    """Remembers a signal until the loop comes to a place where its state is whole."""

    signal_number: int | None = None

    def check(self) -> None:
        """Raise Stopped where a signal came."""
        if self.signal_number is not None:
            number, self.signal_number = self.signal_number, None
            raise Stopped("stopped", number)


@contextlib.contextmanager
def stop_on_signals(*, aloud: bool = True) -> Iterator[Stop]:
    """The first SIGINT or SIGTERM asks the loop to save and leave; a second one of the same kind has its usual effect.

    One that comes after the loop's last check is raised again at the end. `aloud`: print what is happening; of several
    processes one does.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # Python delivers signals to the main thread alone
        return
    before = {int(number): signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, frame: FrameType | None) -> None:
        stop.signal_number = number
        signal.signal(number, before[number])
        if aloud:
            with contextlib.suppress(OSError):  # nobody may be there to read it
                # Not print: the signal may have come in the midst of one.
                os.write(2, b"\nonecycle: stopping after this step and saving; once more ends it at once, unsaved\n")

    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if stop.signal_number is not None:
        signal.raise_signal(stop.signal_number)


@contextlib.contextmanager
def sigterm_raises() -> Iterator[None]:
    """SIGTERM raises Terminated, as SIGINT raises KeyboardInterrupt: what is open is closed, and a line can be said."""

    def terminate(number: int, frame: FrameType | None) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
