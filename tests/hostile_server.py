"""A web server that behaves, or misbehaves, as the first part of an address says: /cuts/small.tar.gz cuts.

A name may have a number: /cuts-1000/ cuts after a thousand bytes. Several names joined with "," are taken in turn, a
request each, the last for all that follow.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    server: Server
    amount: int  # the number that the behaviour has

    def do_GET(self) -> None:
        script = self.path.split("/")[1]
        names = script.split(",")
        turn = self.server.turns[self.path]
        self.server.turns[self.path] += 1
        name, _, amount = names[min(turn, len(names) - 1)].partition("-")
        self.amount = int(amount or len(self.content) // 4)
        self.server.requests.append((name, self.headers.get("Range")))
        getattr(self, name)()

    def log_message(self, format: str, *args: object) -> None:
        pass

    @property
    def content(self) -> bytes:
        return self.server.content

    def start(self) -> int:
        asked = self.headers.get("Range")
        return int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0

    def answer(self, content: bytes, status: int = 200, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        if length != -1:
            self.send_header("Content-Length", str(len(content) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def part(self, start: int, end: int | None = None, content: bytes | None = None) -> None:
        """Bytes `start` to `end`, announced as all from `start` on."""
        whole = self.content if content is None else content
        if start == 0:
            self.answer(whole[:end], length=len(whole))
        else:
            place = f"bytes {start}-{len(whole) - 1}/{len(whole)}"
            self.answer(whole[start:end], 206, max(len(whole) - start, 0), Content_Range=place)

    def dripped(self, content: bytes, pause_s: float, step: int = 1) -> None:
        for start in range(0, len(content), step):
            if self.server.closing.wait(pause_s):
                return
            self.wfile.write(content[start : start + step])

    # --- servers that give the file

    def good(self) -> None:
        self.part(self.start())

    def slow(self) -> None:
        self.server.closing.wait(0.3)
        self.part(self.start())

    def slices(self) -> None:
        """All in a fifth of a second, so that there is time to be killed in."""
        self.part(self.start(), self.start())
        self.dripped(self.content[self.start() :], 0.005, 1 + len(self.content) // 40)

    def without_range(self) -> None:
        self.answer(self.content)

    def without_length(self) -> None:
        self.answer(self.content, length=-1)

    def chunked(self) -> None:
        self.chunks(self.content)
        self.wfile.write(b"0\r\n\r\n")

    def moved(self) -> None:
        self.answer(b"", 301, Location="/good/here")

    def wrong_range(self) -> None:
        if self.start():
            size = len(self.content)
            self.answer(self.content[5:], 206, Content_Range=f"bytes 5-{size - 1}/{size}")
        else:
            self.answer(self.content)

    def no_such_range(self) -> None:
        if self.start():
            self.answer(b"", 416, Content_Range=f"bytes */{len(self.content)}")
        else:
            self.answer(self.content)

    # --- servers that give a part of it

    def cuts(self) -> None:
        self.part(self.start(), self.start() + self.amount)

    def resets(self) -> None:
        self.cuts()
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # no goodbye

    def stalls(self) -> None:
        self.part(self.start(), len(self.content) // 2)
        self.server.closing.wait(10)

    def drips(self) -> None:
        self.answer(b"", length=len(self.content))
        self.dripped(self.content, 0.02)

    def chunks_cut(self) -> None:
        self.chunks(self.content[: self.amount])
        self.wfile.write(b"ffff\r\nshort")

    # --- servers that give something else

    def silent(self) -> None:
        self.server.closing.wait(10)

    def hangs_up(self) -> None:
        self.close_connection = True

    def drips_headers(self) -> None:
        self.dripped(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 2000, 0.02)

    def unasked_part(self) -> None:
        size = len(self.content)
        self.answer(self.content[5:], 206, Content_Range=f"bytes 5-{size - 1}/{size}")

    def refuses_all_ranges(self) -> None:
        self.answer(b"", 416)

    def missing(self) -> None:
        self.answer(b"<html>no", 404)

    def broken(self) -> None:
        self.answer(b"<html>sorry", 500)

    def nothing(self) -> None:
        self.answer(b"", 204)

    def no_http(self) -> None:
        self.wfile.write(b"220 ftp ready\r\n")

    def garbage(self) -> None:
        """Noise in place of headers, the same for the same number."""
        seed = self.amount
        noise = bytes((seed := (seed * 1103515245 + 12345) % 2**31) >> 16 & 0xFF for _ in range(600))
        first = (
            b"",
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: ",
            b"HTTP/1.1 206 \r\nContent-Range: bytes ",
        )
        self.wfile.write(first[self.amount % 4] + noise)

    def headers_without_end(self) -> None:
        with suppress(OSError):
            self.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"X-Header: x\r\n" * 100_000)

    def line_without_end(self) -> None:
        with suppress(OSError):
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Header: " + b"x" * 1_000_000)

    def lies_about_length(self) -> None:
        self.answer(self.content[self.start() :], 206 if self.start() else 200, length=10**15)

    def negative_length(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "-5")
        self.end_headers()
        self.wfile.write(self.content)

    def chunks_of_nonsense(self) -> None:
        self.chunks(b"")
        self.wfile.write(b"-5\r\nabc\r\nzz\r\n")

    def loops(self) -> None:
        self.answer(b"", 302, Location=f"/loops/{len(self.server.requests)}")

    def to_nonsense(self) -> None:
        self.answer(
            b"", 302, Location=("http://[", "http://a b/", "//", "http://x:y/", "\\\\evil", "?" * 900)[self.amount % 6]
        )

    def to_file(self) -> None:
        self.answer(b"", 302, Location="file:///etc/passwd")

    def to_ftp(self) -> None:
        self.answer(b"", 302, Location="ftp://example.org/a")

    def other(self) -> None:
        self.part(self.start(), content=self.content[:-1] + b"x")

    def changed(self) -> None:
        """A new version of the file, cut off, so that the next request resumes what was another's beginning."""
        self.part(self.start(), self.start() + self.amount, content=self.content[::-1])

    def login(self) -> None:
        self.answer(b"<html>please log in</html>")

    def long(self) -> None:
        self.answer(self.content + b"more")

    def endless(self) -> None:
        self.answer(b"", length=-1)
        while not self.server.closing.is_set():
            try:
                self.wfile.write(bytes(65536))
            except OSError:
                return
            self.server.sent += 65536

    def chunks(self, content: bytes) -> None:
        self.protocol_version = "HTTP/1.1"
        self.close_connection = True
        self.answer(b"", length=-1, Transfer_Encoding="chunked")
        for start in range(0, len(content), 5000):
            chunk = content[start : start + 5000]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))


class Server(ThreadingHTTPServer):
    """Listens on a free port of this machine; `requests` are the behaviours asked for, with their ranges."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.requests: list[tuple[str, str | None]] = []
        self.turns: Counter[str] = Counter()
        self.closing = threading.Event()
        self.sent = 0

    def url(self, behaviour: str, name: str = "small.tar.gz") -> str:
        return f"http://127.0.0.1:{self.server_port}/{behaviour}/{name}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: clients that hang up are part of the tests."""


@contextmanager
def serving(content: bytes) -> Iterator[Server]:
    """A server in a thread of this process, until the block ends."""
    with Server(content) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()
