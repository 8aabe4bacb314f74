"""Run an application until a signal comes."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import uvicorn

from ..errors import Stopped
from .guard import App
from .limits import Limits

_GRACE_S = 2  # for what is in work when the signal comes; open pages would hold the server for ever


def run_until_stopped(
    app: App, listening: socket.socket, limits: Limits, what: str, started: Callable[[], None]
) -> None:
    """Serve `what` on a socket that listens; `started` is called once requests are answered.

    SIGINT and SIGTERM end it after what is in work is done, or two seconds, a second signal at once. Raises Stopped
    then, which is exit code 130 or 143.
    """
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)  # what goes wrong is answered and said by the guard
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        ws="none",
        lifespan="on",
        server_header=False,
        proxy_headers=False,  # who sends them could take any address
        limit_concurrency=limits.connections,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=_GRACE_S,
    )
    server = _Server(config, started)
    with listening:
        server.run(sockets=[listening])
    if server.signal_number is not None:
        raise Stopped(f"{what}: no longer served", server.signal_number)


class _Server(uvicorn.Server):  # type: ignore[misc]  # uvicorn is an extra
    """Says when it has started, and which signal ended it, which uvicorn would raise anew."""

    def __init__(self, config: Any, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._say_started = started
        self.signal_number: int | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's."""
        await super().startup(sockets)
        if self.started:
            self._say_started()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM set flags, and are as they were afterwards."""

        def stop(number: int, frame: FrameType | None) -> None:
            self.force_exit = self.signal_number is not None
            self.signal_number, self.should_exit = number, True

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
