"""What stands before the page: limits and refusals, with an application that only says what reached it; signals."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from served import needs_gradio

from onecycle.serving import Limits
from onecycle.serving.guard import JOIN, STREAM, Guard
from onecycle.serving.limits import Rates

Answer = tuple[int, dict[str, str], bytes]
OURS = [(b"host", b"ours")]
WAIT = asyncio.sleep


class Reached:
    """An application that keeps what reached it, and answers once `go` is set."""

    def __init__(self, fail: Exception | None = None) -> None:
        self.scopes: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []
        self.fail, self.go = fail, asyncio.Event()
        self.go.set()

    async def __call__(self, scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Any) -> None:
        self.scopes.append(scope)
        if scope["method"] == "POST":
            self.bodies.append((await receive())["body"])
        await self.go.wait()
        if self.fail:
            raise self.fail
        await send({"type": "http.response.start", "status": 200, "headers": [(b"X-Frame-Options", b"ALLOWALL")]})
        await send({"type": "http.response.body", "body": b"fine"})


async def ask(
    guard: Guard,
    method: str = "POST",
    path: str = "/predict",
    body: tuple[bytes, ...] = (b"x",),
    headers: list[tuple[bytes, bytes]] = OURS,
    client: str = "1.2.3.4",
    query: bytes = b"",
    pause_s: float = 0.0,
) -> Answer:
    """One request; `body` comes in so many parts, with a pause before each."""
    sent: list[dict[str, Any]] = []

    async def parts() -> AsyncIterator[dict[str, Any]]:
        for number, part in enumerate(body, 1):
            await WAIT(pause_s)
            yield {"type": "http.request", "body": part, "more_body": number < len(body)}

    stream = parts()
    scope = {"type": "http", "method": method, "path": path, "headers": headers, "client": (client, 1)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await guard(scope | {"query_string": query}, stream.__anext__, send)
    found = {key.decode().lower(): value.decode() for key, value in sent[0]["headers"]}
    return sent[0]["status"], found, sent[1]["body"]


def guarded(app: Reached, **limits: Any) -> Guard:
    return Guard(app, is_ours=lambda host: host == "ours", limits=Limits(**limits))


def test_a_request_that_is_right_passes_without_headers_that_mislead() -> None:
    async def check() -> None:
        app = Reached()
        misleading = [(b"x-forwarded-host", b"evil"), (b"cookie", b"x"), (b"content-length", b"2"), (b"range", b"x")]
        status, headers, content = await ask(guarded(app), headers=[*OURS, *misleading], body=(b"a", b"b"))
        assert (status, content, app.bodies) == (200, b"fine", [b"ab"])
        assert app.scopes[0]["headers"] == [*OURS, (b"content-length", b"2")]
        assert headers["x-frame-options"] == "DENY"
        await ask(guarded(app), "GET", "/", headers=[*OURS, (b"origin", b"http://ours")], query=b"deep_link=x")
        assert app.scopes[1]["query_string"] == b""

    asyncio.run(check())


@pytest.mark.parametrize(
    ("status", "asked"),
    [
        (421, {"headers": []}),
        (421, {"headers": [(b"host", b"evil")]}),
        (400, {"headers": [*OURS, *OURS]}),
        (403, {"headers": [*OURS, (b"origin", b"https://ours")]}),
        (403, {"headers": [*OURS, (b"sec-fetch-site", b"cross-site"), (b"sec-fetch-mode", b"cors")]}),
        (404, {"method": "GET", "path": "/static/../x"}),
        (404, {"method": "GET", "path": "/static/.env"}),
        (404, {"method": "GET", "path": "/static//etc/passwd"}),
        (404, {"method": "GET", "path": "/gradio_api/file=x"}),
        (405, {"method": "PUT"}),
        (405, {"method": "OPTIONS"}),
        (400, {"method": "GET", "path": STREAM, "query": b"session_hash=a&x=1"}),
        (413, {"body": (b"x" * 11,)}),
        (413, {"body": (b"x" * 6,) * 1000}),
        (413, {"headers": [*OURS, (b"expect", b"100-continue"), (b"content-length", b"11")], "body": ()}),
        (408, {"body": (b"x",) * 5, "pause_s": 0.05}),
        (415, {"headers": [*OURS, (b"content-encoding", b"br")]}),
        (400, {"path": JOIN, "body": (b'{"data": [{"path": "x"}], "session_hash": "a", "fn_index": 0}',)}),
        (400, {"path": JOIN, "body": (b'{"data": [["x"]], "session_hash": "a", "fn_index": 0}',)}),
        (400, {"path": JOIN, "body": (b'{"data": "x", "session_hash": "a", "fn_index": 0}',)}),
        (400, {"path": JOIN, "body": (b'{"data": [], "session_hash": "a", "fn_index": [0]}',)}),
    ],
)
def test_what_is_refused_reaches_nothing(status: int, asked: dict[str, Any]) -> None:
    app = Reached()
    found, headers, content = asyncio.run(ask(guarded(app, upload_bytes=10, body_seconds=0.1), **asked))
    assert found == status and list(json.loads(content)) == ["error"] and app.scopes == []
    assert headers["x-frame-options"] == "DENY" and headers["content-type"] == "application/json"


def test_a_message_is_reduced_to_what_a_call_needs() -> None:
    message = {"data": ["x", 1, None, 0.5, True], "fn_index": 2, "session_hash": "abc1", "trigger_id": 7}
    more = {"event_data": {"path": "x"}, "simple_format": True, "batched": True, "request": {"x": 1}}
    app = Reached()
    assert asyncio.run(ask(guarded(app), path=JOIN, body=(json.dumps(message | more).encode(),)))[0] == 200
    assert json.loads(app.bodies[0]) == message | {"event_data": None}


def test_so_many_at_once_and_no_more() -> None:
    async def check() -> None:
        app = Reached()
        app.go.clear()
        guard = guarded(app, at_once=2, streams=1)
        waiting = [asyncio.create_task(ask(guard, client=str(number))) for number in range(2)]
        open_page = asyncio.create_task(ask(guard, "GET", "/gradio_api/heartbeat/abc"))
        await WAIT(0)
        await WAIT(0.01)
        status, headers, content = await ask(guard)
        assert status == 429 and headers["retry-after"] == "1" and b"in work" in content
        assert (await ask(guard, "GET", STREAM, query=b"session_hash=a"))[0] == 429
        app.go.set()
        assert [one[0] for one in await asyncio.gather(*waiting, open_page)] == [200] * 3
        assert (await ask(guard))[0] == 200
        assert (await ask(guard, "GET", STREAM, query=b"session_hash=a"))[0] == 200

    asyncio.run(check())


def test_slow_uploads_of_one_client_leave_room_for_others() -> None:
    async def check() -> None:
        guard = guarded(Reached(), at_once=4, of_one=3)
        slow = [asyncio.create_task(ask(guard, body=(b"x",) * 3, pause_s=0.05)) for _ in range(3)]
        await WAIT(0.01)
        status, headers, content = await ask(guard)
        assert status == 429 and headers["retry-after"] == "1" and b"3 requests from this address" in content
        assert (await ask(guard, client="5.6.7.8"))[0] == 200
        assert [one[0] for one in await asyncio.gather(*slow)] == [200] * 3
        assert (await ask(guard))[0] == 200 and not guard._in_work

    asyncio.run(check())


def test_a_client_that_is_too_fast_waits_and_others_do_not() -> None:
    async def check() -> None:
        guard = guarded(Reached(), per_second=0.5, burst=3)
        assert [(await ask(guard))[0] for _ in range(4)] == [200, 200, 200, 429]
        assert (await ask(guard))[1]["retry-after"] == "2"
        assert (await ask(guard, client="5.6.7.8"))[0] == 200
        assert (await ask(guard, "GET", "/health"))[0] == 200

    asyncio.run(check())


def test_rates_fill_up_again_and_forget() -> None:
    now = 0.0
    rates = Rates(2.0, 4, lambda: now)
    assert [rates.wait_s("a") for _ in range(5)] == [0, 0, 0, 0, 0.5]
    now = 1.0
    assert [rates.wait_s("a") for _ in range(3)] == [0, 0, 0.5]
    now = 100.0
    assert [rates.wait_s("a") for _ in range(5)] == [0, 0, 0, 0, 0.5]
    for number in range(10_005):
        rates.wait_s(str(number))
    assert len(rates._buckets) == 10_000


def test_a_fault_is_one_line_on_the_terminal_and_none_of_it_for_the_client(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, content = asyncio.run(ask(guarded(Reached(KeyError("inner\nworkings")))))
    assert status == 500 and b"inner" not in content and "fault" in json.loads(content)["error"]
    said = capsys.readouterr().err
    assert said.startswith("onecycle: error: KeyError: ") and said.count("\n") == 1


SERVER = """
import asyncio, sys
from onecycle.cli import app, main
from onecycle.serving import Limits
from onecycle.serving.addresses import listen
from onecycle.serving.guard import Guard
from onecycle.serving.running import run_until_stopped
from onecycle.serving import running
running._GRACE_S = 0.2
async def hang(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive(); await send({"type": "lifespan.startup.complete"})
        await receive(); await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["method"] == "GET":
        await send({"type": "http.response.start", "status": 200, "headers": []})
    await asyncio.sleep(60)
@app.command("serve-nothing")
def serve_nothing():
    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    guard = Guard(hang, is_ours=lambda host: True, limits=Limits())
    run_until_stopped(guard, listening, Limits(), 'nothing', lambda: print(port, flush=True))
main(["serve-nothing"])
"""


@needs_gradio
def test_a_signal_ends_it_though_a_page_is_open_and_answers_what_it_cuts_off() -> None:
    command = [sys.executable, "-W", "error", "-c", SERVER]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in (signal.SIGINT, signal.SIGTERM)
    ]
    for process, number in zip(both, (signal.SIGINT, signal.SIGTERM), strict=True):
        with process:
            assert process.stdout is not None and process.stderr is not None
            port = int(process.stdout.readline())
            page, cut_off = (http.client.HTTPConnection("127.0.0.1", port, timeout=10) for _ in range(2))
            cut_off.request("POST", "/predict", b"x")
            page.request("GET", "/")
            assert page.getresponse().status == 200
            process.send_signal(number)
            answer = cut_off.getresponse()
            assert answer.status == 503 and "stopped" in json.load(answer)["error"]
            assert process.wait(15) == 128 + number
            assert process.stderr.read() == "onecycle: error: nothing: no longer served\n"
            page.close()
            cut_off.close()
