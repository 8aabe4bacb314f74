"""The server: what it answers, what it refuses, what it never does."""

from __future__ import annotations

import io
import json
import socket
import struct
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from served import Server, needs_gradio, server

from onecycle.serving.guard import JOIN

_HEADER = b"IHDR" + struct.pack(">IIBBBBB", 90_000, 90_000, 8, 2, 0, 0, 0)  # 24 GB of pixels
BOMB = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + _HEADER + struct.pack(">I", zlib.crc32(_HEADER))
BOMB += struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
SECRET = "a secret that stands in a file of the host"


@pytest.fixture(scope="module")
def live() -> Server:
    return server()


def png(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


@needs_gradio
def test_the_answer_is_that_of_predict(live: Server) -> None:
    for number in range(5):
        pixels = live.test.images_nhwc[number]
        expected = live.run.predict(pixels).top(4)[0]
        for body in (png(pixels), png(pixels, "BMP")):
            status, found = live.predict(body, "?top_k=4")
            assert status == 200
            assert [(one["name"], one["label"]) for one in found["classes"]] == [one[:2] for one in expected]
            given = [one["probability"] for one in found["classes"]]
            np.testing.assert_allclose(given, [one.probability for one in expected], rtol=1e-4)
    assert len(live.predict(png(live.test.images_nhwc[0]))[1]["classes"]) == 3
    status, headers, content = live.ask("GET", "/health")
    assert status == 200 and json.loads(content)["image_size"] == 32 and json.loads(content)["classes"] == 4
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff" and "server" not in headers


@needs_gradio
@pytest.mark.parametrize(
    ("body", "query", "status", "said"),
    [
        (b"", "", 400, "nothing was sent"),
        (b"no image", "", 400, "no image that can be read"),
        (png(np.zeros((32, 32, 3), np.uint8))[:-30], "", 400, "damaged or cut short"),
        (BOMB, "", 400, "more than"),
        (b"x" * 500_001, "", 413, "more than 500,000 bytes"),
        (png(np.zeros((32, 32, 3), np.uint8)), "?top_k=0", 400, "1 to 4"),
        (png(np.zeros((32, 32, 3), np.uint8)), "?top_k=5", 400, "1 to 4"),
        (png(np.zeros((32, 32, 3), np.uint8)), "?top_k=" + "9" * 5000, 400, "1 to 4"),
        (png(np.zeros((32, 32, 3), np.uint8)), "?top_k=00000000199", 400, "1 to 4"),
        (png(np.zeros((32, 32, 3), np.uint8)), "?layer=x", 400, "'layer' is unknown"),
    ],
    ids=["nothing", "words", "cut", "bomb", "large", "top 0", "top 5", "top 9999", "top 00199", "unknown"],
)
def test_what_is_wrong_is_said_as_json(live: Server, body: bytes, query: str, status: int, said: str) -> None:
    found, content = live.predict(body, query)
    assert found == status and list(content) == ["error"] and said in content["error"]


@needs_gradio
def test_forms_and_packed_bodies_are_refused(live: Server) -> None:
    assert live.predict(b"x", content_type="multipart/form-data; boundary=x")[0] == 415
    assert live.predict(b"x", content_encoding="gzip")[0] == 415
    assert live.ask("GET", "/predict")[0] == 405


@needs_gradio
@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "127.0.0.1:1"},
        {"host": ""},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:1"},
        {"sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors"},
    ],
)
def test_other_sites_get_nothing(live: Server, headers: dict[str, str]) -> None:
    for method, path, body in (("GET", "/health", None), ("POST", "/predict", b"x"), ("GET", "/", None)):
        status, answered, content = live.ask(method, path, body, **headers)
        assert status in (421, 403) and list(json.loads(content)) == ["error"]
        assert not [name for name in answered if name.startswith("access-control")]


@needs_gradio
def test_no_file_of_the_host_is_readable(live: Server, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text(SECRET)
    secret, up = str(tmp_path / "secret.txt"), "../" * 12
    files = (secret, f"{up}{secret}", "/etc/passwd", f"{live.run.path}/model.json", "C:/Windows/win.ini")
    routes = [f"{route}{file}" for file in files for route in FILE_ROUTES]
    coded = [path.replace("../", "%2e%2e%2f") for path in routes if ".." in path]
    doubly = [path.replace("../", "%252e%252e%252f") for path in routes if ".." in path]
    back = [path.replace("../", "..%5c") for path in routes if ".." in path]
    for path in [*routes, *coded, *doubly, *back, *OTHER_ROUTES]:
        status, _, content = live.ask("GET", path)
        assert status in (403, 404, 405), path
        assert SECRET.encode() not in content and b"root:" not in content and b"classes" not in content, path
    for path in (
        "/gradio_api/upload",
        "/upload",
        "/gradio_api/run/predict",
        "/gradio_api/call/see",
        "/gradio_api/reset",
    ):
        assert live.ask("POST", path, b"{}")[0] == 404
    # as it stands on the wire, which http.client would not send so
    for line in (
        f"GET {up}etc/passwd HTTP/1.1",
        f"GET /static/{up}etc/passwd HTTP/1.1",
        "GET http://x/etc/passwd HTTP/1.1",
    ):
        with socket.create_connection(("127.0.0.1", live.port), timeout=10) as raw:
            raw.sendall(f"{line}\r\nHost: 127.0.0.1:{live.port}\r\nConnection: close\r\n\r\n".encode())
            assert b"root:" not in b"".join(iter(lambda: raw.recv(65536), b""))


FILE_ROUTES = (
    *("/file=", "/gradio_api/file=", "/gradio_api/file/", "/file/", "/static/", "/assets/", "/svelte/"),
    *("/gradio_api/proxy=http://127.0.0.1:9/", "/gradio_api/proxy=", "/proxy=", "/custom_component/x/client/x/"),
    *("/gradio_api/custom_component/x/server/component/", "/gradio_api/stream/"),
)
OTHER_ROUTES = (
    *("/config", "/gradio_api/info", "/gradio_api/openapi.json", "/gradio_api/app_id", "/monitoring", "/docs"),
    *("/gradio_api/vibe-code", "/gradio_api/upload_progress", "/gradio_api/runs", "/gradio_api/deep_link", "/login"),
    *("/gradio_api/run-history/records", "/gradio_api/token", "/manifest.json", "/gradio_api/mcp/sse", "/pwa_icon"),
    "/gradio_api/file=http://169.254.169.254/latest/meta-data",
)


@needs_gradio
def test_messages_with_files_or_addresses_reach_nothing(live: Server, tmp_path: Path) -> None:
    caught: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.5)
        watched = threading.Thread(target=lambda: caught.extend(_accepted(listening)))
        watched.start()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/x.png"
        for path in (address, "/etc/passwd", str(live.run.path / "model.json")):
            file = {"path": path, "url": address, "meta": {"_type": "gradio.FileData"}, "orig_name": "x.png"}
            for data in ([file, 3, "x"], [[file], 3, "x"], [{"x": file}], file):
                for index in range(4):
                    message = {"data": data, "fn_index": index, "session_hash": "abc", "event_data": None}
                    body = json.dumps(message).encode()
                    status, _, content = live.ask(
                        "POST", "/gradio_api/queue/join", body, content_type="application/json"
                    )
                    assert status == 400 and "none of this page's" in json.loads(content)["error"]
        watched.join()
    assert caught == []
    for body in (b"", b"[]", b"[" * 100_000, b'{"data": [], "session_hash": "../x", "fn_index": 0}'):
        assert live.ask("POST", JOIN, body)[0] == 400
    assert live.ask("GET", "/gradio_api/queue/data?session_hash=../x")[0] == 400


def _accepted(listening: socket.socket) -> list[object]:
    try:
        return [listening.accept()[1]]
    except TimeoutError:
        return []


@needs_gradio
def test_the_environment_and_forwarded_headers_do_not_change_the_page(live: Server) -> None:
    forwarded = {"x_forwarded_host": "evil.example", "x_forwarded_proto": "https", "forwarded": "host=evil.example"}
    status, _, content = live.ask("GET", "/?deep_link=../../x&__theme=x", **forwarded)
    assert status == 200 and b"evil.example" not in content and b"elsewhere.example" not in content
    assert f"http://127.0.0.1:{live.port}".encode() in content


@needs_gradio
def test_many_at_once_get_each_their_own_answer(live: Server) -> None:
    pixels = live.test.images_nhwc[:20]
    expected = [one[0] for one in live.run.predict(pixels).top(1)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(live.predict, [png(one) for one in pixels] * 4))
    for (status, found), one in zip(answers, expected * 4, strict=True):
        assert status == 200 and found["classes"][0]["name"] == one.name
        assert found["classes"][0]["probability"] == pytest.approx(one.probability, rel=1e-4)


@needs_gradio
def test_it_reached_nobody_wrote_nothing_and_said_one_line(live: Server) -> None:
    assert [path for path in live.temporary.rglob("*") if path.is_file()] == []
    assert len(live.said.read_text().splitlines()) == 1, live.said.read_text()
    assert live.process.poll() is None
