"""What stands before the page and the endpoints, and lets through what they need and nothing else.

Gradio has many routes: files of the host, proxies, uploads, settings. A page of ours needs eight, and only scalars in
what it sends, so no route that opens a file or an address is ever reached. What is refused is answered as JSON.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, Final

from ..errors import one_line
from .limits import FAULT, Limits, Rates

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

JOIN: Final = "/gradio_api/queue/join"
STREAM: Final = "/gradio_api/queue/data"
_METHODS: Final = {
    "/": ("GET", "HEAD"),
    "/health": ("GET", "HEAD"),
    "/predict": ("POST",),
    "/favicon.ico": ("GET", "HEAD"),
    "/theme.css": ("GET", "HEAD"),
    JOIN: ("POST",),
    STREAM: ("GET",),
}
_SESSION: Final = re.compile(r"[a-z0-9]{1,32}")
_HEARTBEAT: Final = re.compile(r"/gradio_api/heartbeat/[a-z0-9]{1,32}")  # tells when a page is closed
_SESSION_QUERY: Final = re.compile(rb"session_hash=[a-z0-9]{1,32}")
_PASSED_ON: Final = (b"host", b"accept", b"accept-encoding", b"content-type", b"if-none-match", b"if-modified-since")
_STATIC: Final = re.compile(r"/(assets|static)(/[A-Za-z0-9_\-][A-Za-z0-9_.\-]*)+")
_BODY_BESIDE_IMAGE: Final = 100_000  # bytes of a page's message but for the image
_DRAINED: Final = 8  # times the limit that are read and thrown away, so that the client comes to read the answer
_POLICY: Final = (
    "default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; manifest-src 'self'; "
    "base-uri 'self'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class Refused(Exception):
    """A request that gets no more than a status and a sentence."""

    def __init__(self, status: int, why: str, **headers: str) -> None:
        super().__init__(why)
        self.status, self.why, self.headers = status, why, headers


class Guard:
    """An ASGI application around `app`; `is_ours` says of a Host header whether it names this server.

    What it checks, in this order: the Host (a stranger's name that is pointed here would make the stranger's page one
    of the same origin: DNS rebinding); the Origin (any page could send images from its visitor's browser); path and
    method; the rate; the number at once; the size and time of what is sent.
    """

    def __init__(self, app: App, *, is_ours: Callable[[str], bool], limits: Limits) -> None:
        self._app, self._is_ours, self._limits = app, is_ours, limits
        self._rates = Rates(limits.per_second, limits.burst)
        self._in_work: Counter[str] = Counter()  # by client, as are the streams
        self._streams: Counter[str] = Counter()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request, or pass the server's start and end on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # websockets: nothing here speaks them
            await send({"type": "websocket.close", "code": 1008})
            return
        begun = False

        async def send_guarded(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                own = {name for name, _ in _HEADERS}
                message["headers"] = [*((k, v) for k, v in message["headers"] if k.lower() not in own), *_HEADERS]
            await send(message)

        try:
            await self._checked(scope, receive, send_guarded)
        except Refused as refused:
            if not begun:
                await _answer(send_guarded, refused.status, {"error": refused.why}, refused.headers)
        except asyncio.CancelledError:  # by uvicorn, which ends and waits no longer; unanswered it would say 500
            if not begun:
                await _answer(send_guarded, 503, {"error": "the server was stopped before this was done"}, {})
            raise
        except Exception as error:
            print(f"onecycle: error: {one_line(f'{type(error).__name__}: {error}')}", file=sys.stderr)
            if not begun:
                await _answer(send_guarded, 500, {"error": FAULT}, {})

    async def _checked(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        headers = _headers_of(scope)
        path, method = scope["path"], scope["method"]
        _check_origin(headers, self._is_ours)
        _check_route(path, method)
        client = (scope.get("client") or ("", 0))[0]
        scope = _reduced(scope)
        if path == STREAM or _HEARTBEAT.fullmatch(path):
            await self._stream(client, scope, receive, send)
        elif method == "POST":
            await self._work(client, scope, headers, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _stream(self, client: str, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if self._streams[client] >= self._limits.streams:
            raise Refused(
                429,
                f"{self._limits.streams} connections are open from this address; close a page",
                **{"retry-after": "5"},
            )
        with _counted(self._streams, client):
            await self._app(scope, receive, send)

    async def _work(
        self, client: str, scope: MutableMapping[str, Any], headers: dict[str, str], receive: Receive, send: Send
    ) -> None:
        wait_s = self._rates.wait_s(client)
        if wait_s:
            later = {"retry-after": str(math.ceil(wait_s))}
            raise Refused(429, f"more than {self._limits.per_second:g} requests a second; slow down", **later)
        again = {"retry-after": "1"}
        if self._in_work.total() >= self._limits.at_once:
            raise Refused(429, f"{self._limits.at_once} requests are in work; try again", **again)
        if self._in_work[client] >= self._limits.of_one:
            raise Refused(429, f"{self._limits.of_one} requests from this address are in work; try again", **again)
        with _counted(self._in_work, client):
            body = await self._body(scope["path"], headers, receive)
            if scope["path"] == JOIN:
                body = plain_message(body)
            sized = [*scope["headers"], (b"content-length", str(len(body)).encode())]
            await self._app({**scope, "headers": sized}, _replayed(body, receive), send)

    async def _body(self, path: str, headers: dict[str, str], receive: Receive) -> bytes:
        """What is sent, in full. Raises Refused where it is too much, too slow, packed, or cut off."""
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise Refused(415, "the body is packed; send it as it is")
        most = self._limits.upload_bytes
        if path == JOIN:  # in base64, with the settings beside it
            most = most * 4 // 3 + _BODY_BESIDE_IMAGE
        too_large = Refused(413, f"more than {self._limits.upload_bytes:,} bytes; send a smaller file")
        told = headers.get("content-length", "")
        if told.isdecimal() and int(told) > most and "expect" in headers:
            raise too_large
        parts, size = [], 0
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                more = True
                while more and size <= _DRAINED * most:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Refused(400, "the connection was closed")
                    size += len(message.get("body", b""))
                    if size <= most:
                        parts.append(message.get("body", b""))
                    else:
                        parts.clear()
                    more = message.get("more_body", False)
        except TimeoutError:
            raise Refused(408, f"the body was not here after {self._limits.body_seconds:g} seconds") from None
        if size > most:
            raise too_large
        return b"".join(parts)


def plain_message(body: bytes) -> bytes:
    """A page's message with nothing but what a call needs: scalars for the components, and numbers that say which call.

    Files and addresses, which Gradio would open, come as objects; our components take none. Raises Refused where
    there is one, or something is no message at all.
    """
    try:
        message = json.loads(body)
        data, session = message["data"], message["session_hash"]
        calls = {key: message.get(key) for key in ("fn_index", "trigger_id")}
        plain = isinstance(data, list) and all(isinstance(one, str | int | float | None) for one in data)
        numbers = all(isinstance(value, int | None) for value in calls.values())
        if not (plain and numbers and isinstance(session, str) and _SESSION.fullmatch(session)):
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Refused(400, "the message is none of this page's") from None
    return json.dumps({"data": data, "session_hash": session, "event_data": None, **calls}).encode()


@contextmanager
def _counted(counts: Counter[str], client: str) -> Iterator[None]:
    """Count one more of a client, as long as it is in work; a client that has none is not kept."""
    counts[client] += 1
    try:
        yield
    finally:
        counts[client] -= 1
        if not counts[client]:
            del counts[client]


def _check_origin(headers: dict[str, str], is_ours: Callable[[str], bool]) -> None:
    host = headers.get("host", "")
    if not is_ours(host):
        raise Refused(421, "the Host is not this server's; use the address that it printed")
    origin = headers.get("origin")
    if origin is not None and origin.lower() != f"http://{host}".lower():
        raise Refused(403, "the request comes from a page of another origin")
    foreign = origin is None and headers.get("sec-fetch-site") in ("cross-site", "same-site")
    navigation = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    if foreign and not navigation:  # a link that leads here may be followed
        raise Refused(403, "the request comes from a page of another origin")


def _check_route(path: str, method: str) -> None:
    allowed: Collection[str] = _METHODS.get(path, ())
    if _STATIC.fullmatch(path):
        allowed = ("GET", "HEAD")
    elif _HEARTBEAT.fullmatch(path):
        allowed = ("GET",)
    if not allowed:
        raise Refused(404, "there is nothing here; the page is /, for programs there are POST /predict and GET /health")
    if method not in allowed:
        raise Refused(405, f"{' or '.join(allowed)} is needed here", allow=", ".join(allowed))


def _headers_of(scope: MutableMapping[str, Any]) -> dict[str, str]:
    """By their names in small letters. Raises Refused where one that is decided by is there twice."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key = name.decode("latin-1").lower()
        if key in ("host", "origin", "content-length") and key in found:
            raise Refused(400, f"the header {key} is there twice")
        found[key] = value.decode("latin-1")
    return found


def _reduced(scope: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The request with what the application behind needs of its headers and query.

    X-Forwarded-Host and the like would change the addresses in the page, deep_link would open a file of that name.
    """
    path, query = scope["path"], scope["query_string"]
    if path == STREAM and not _SESSION_QUERY.fullmatch(query):
        raise Refused(400, "the session is none of this page's")
    headers = [(name, value) for name, value in scope["headers"] if name.lower() in _PASSED_ON]
    return {**scope, "headers": headers, "query_string": query if path in (STREAM, "/predict") else b""}


def _replayed(body: bytes, receive: Receive) -> Receive:
    """What an application receives: the body, then whatever the connection says."""
    given = False

    async def receive_again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


async def _answer(send: Send, status: int, content: dict[str, Any], headers: dict[str, str]) -> None:
    body = json.dumps(content).encode()
    own = [(key.encode(), value.encode()) for key, value in headers.items()]
    kind = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*kind, *own]})
    await send({"type": "http.response.body", "body": body})
