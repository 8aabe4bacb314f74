"""How much one client, and all of them together, may ask for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

FAULT: Final = "a fault of the server's own; its terminal says which"
_MOST_CLIENTS: Final = 10_000


@dataclass(frozen=True)
class Limits:
    """What is served at most; what is beyond is refused with 413, 429 or 408."""

    upload_bytes: int = 20_000_000  # of an image's file
    per_second: float = 30.0  # predictions and maps a client may ask for, in the long run
    burst: int = 60  # of them at once, after a pause
    at_once: int = 16  # of them in work, of all clients together
    of_one: int = 12  # of those at once one client's, so that its slow uploads do not keep all others out
    streams: int = 32  # that a client holds open, of which a page has one or two
    connections: int = 256  # of all clients together
    body_seconds: float = 30.0  # in which what is sent has to be here


class Rates:
    """A bucket of `burst` tokens for each client, filled with `per_second`; each request takes one."""

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second, self._burst, self._clock = per_second, burst, clock
        self._buckets: dict[str, tuple[float, float]] = {}  # tokens, and when they were counted

    def wait_s(self, client: str) -> float:
        """0 where the request is taken, otherwise the seconds after which one would be."""
        now = self._clock()
        tokens, before = self._buckets.pop(client, (float(self._burst), now))
        tokens = min(self._burst, tokens + (now - before) * self._per_second)
        taken = tokens >= 1
        self._buckets[client] = (tokens - taken, now)  # at the end: the first is the one not heard of for longest
        if len(self._buckets) > _MOST_CLIENTS:
            del self._buckets[next(iter(self._buckets))]
        return 0.0 if taken else (1 - tokens) / self._per_second
