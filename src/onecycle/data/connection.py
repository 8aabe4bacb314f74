"""HTTP connections that end where next to nothing comes: a timeout alone is kept off by a byte now and then."""

from __future__ import annotations

import http.client
import io
import socket
import time
import urllib.request
from typing import Any, Final

LEAST_BYTES_PER_SECOND: Final = 1000


class TooSlow(OSError):
    """The server brings fewer bytes than LEAST_BYTES_PER_SECOND."""


def build_opener(
    *handlers: urllib.request.BaseHandler | type[urllib.request.BaseHandler],
) -> urllib.request.OpenerDirector:
    """urllib's opener, whose answers raise TooSlow, headers included, where too little came in a timeout's time."""
    return urllib.request.build_opener(_Http, _Https, *handlers)


class _Paced(io.RawIOBase):
    """What a socket brings, counted in windows of its timeout, of a second at least."""

    def __init__(self, raw: io.RawIOBase, window_s: float) -> None:
        self._raw, self._window_s = raw, max(window_s, 1.0)
        self._began, self._came = time.monotonic(), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        count: int | None = self._raw.readinto(buffer)
        self._came += count or 0
        elapsed_s = time.monotonic() - self._began
        if elapsed_s > self._window_s:
            if count and self._came < LEAST_BYTES_PER_SECOND * elapsed_s:
                raise TooSlow(f"slower than {LEAST_BYTES_PER_SECOND} bytes/s")
            self._began, self._came = time.monotonic(), 0
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.fp = io.BufferedReader(_Paced(self.fp.detach(), sock.gettimeout() or 0.0))


class _PacedHandler(urllib.request.AbstractHTTPHandler):
    def do_open(self, http_class: Any, req: urllib.request.Request, **options: Any) -> http.client.HTTPResponse:
        """Open as urllib does, with a response that is paced."""

        def connection(host: str, **more: Any) -> http.client.HTTPConnection:
            made: http.client.HTTPConnection = http_class(host, **more)
            made.response_class = _Response
            return made

        return super().do_open(connection, req, **options)


class _Http(_PacedHandler, urllib.request.HTTPHandler):
    pass


class _Https(_PacedHandler, urllib.request.HTTPSHandler):
    pass
