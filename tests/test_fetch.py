"""Downloads from servers that cut, stall and lie."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hostile_server import Server, serving

from onecycle.data import connection
from onecycle.data.fetch import CIFAR10, Archive, data_folder, fetch
from onecycle.errors import UserError

CONTENT = np.random.default_rng(0).bytes(600_000)
HALF = len(CONTENT) // 2
OFFICIAL = "https://example.org/small.tar.gz"
ARCHIVE = Archive(
    name="small.tar.gz",
    urls=(OFFICIAL,),
    size=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    md5=hashlib.md5(CONTENT).hexdigest(),
)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.delenv("ONECYCLE_MIRROR", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    with serving(CONTENT) as server:
        yield server


def get(server: Server, target: Path, *behaviours: str, timeout_s: float = 5) -> Path:
    return fetch(ARCHIVE, target, mirrors=[server.url(one) for one in behaviours], timeout_s=timeout_s)


def failure(server: Server, target: Path, *behaviours: str, timeout_s: float = 5) -> str:
    with pytest.raises(UserError) as caught:
        get(server, target, *behaviours, timeout_s=timeout_s)
    message = str(caught.value)
    assert "\n" not in message
    return message


def write_part(target: Path, content: bytes) -> None:
    (target / "small.tar.gz.part").write_bytes(content)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- files that come ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("behaviour", ["good", "moved", "without_range", "without_length", "wrong_range", "slow"])
def test_the_file_comes_whole(server: Server, tmp_path: Path, behaviour: str) -> None:
    path = get(server, tmp_path / "new" / "folder", behaviour)
    assert path == tmp_path / "new" / "folder" / "small.tar.gz"
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == [".small.tar.gz.lock", "small.tar.gz"]


def test_progress_tells_bytes_and_total(server: Server, tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    write_part(tmp_path, CONTENT[:1000])
    fetch(ARCHIVE, tmp_path, mirrors=[server.url("good")], progress=lambda *both: told.append(both))
    assert told[0] == (1000, len(CONTENT))
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert told == sorted(told)


def test_there_and_verified_asks_nobody(server: Server, tmp_path: Path) -> None:
    (tmp_path / "small.tar.gz").write_bytes(CONTENT)
    assert get(server, tmp_path, "good") == tmp_path / "small.tar.gz"
    assert server.requests == []
    assert names(tmp_path) == ["small.tar.gz"]


def test_there_but_damaged_is_replaced_once_another_is_whole(server: Server, tmp_path: Path) -> None:
    damaged = bytes(len(CONTENT))
    (tmp_path / "small.tar.gz").write_bytes(damaged)
    failure(server, tmp_path, "missing")
    assert (tmp_path / "small.tar.gz").read_bytes() == damaged
    assert get(server, tmp_path, "good").read_bytes() == CONTENT


# --- going on with what came before ------------------------------------------------------------------------------


def test_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    write_part(tmp_path, CONTENT[:HALF])
    assert get(server, tmp_path, "good").read_bytes() == CONTENT
    assert server.requests == [("good", f"bytes={HALF}-")]


def test_a_server_that_cuts_is_asked_for_the_rest(server: Server, tmp_path: Path) -> None:
    assert get(server, tmp_path, "cuts").read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == [None, *(f"bytes={n}-" for n in (150_000, 300_000, 450_000))]


def test_a_server_that_stalls_is_left_and_the_next_goes_on(server: Server, tmp_path: Path) -> None:
    assert get(server, tmp_path, "stalls", "good", timeout_s=0.2).read_bytes() == CONTENT
    assert server.requests[-1] == ("good", f"bytes={HALF}-")


@pytest.mark.parametrize("behaviour", ["without_range", "wrong_range", "no_such_range"])
def test_starts_over_where_the_server_cannot_go_on(server: Server, tmp_path: Path, behaviour: str) -> None:
    write_part(tmp_path, CONTENT[:HALF])
    assert get(server, tmp_path, behaviour).read_bytes() == CONTENT


@pytest.mark.parametrize("length", [1, HALF, len(CONTENT), len(CONTENT) + 1])
def test_a_damaged_part_is_thrown_away(server: Server, tmp_path: Path, length: int) -> None:
    write_part(tmp_path, bytes(length))
    assert get(server, tmp_path, "good").read_bytes() == CONTENT
    assert server.requests[-1] == ("good", None)


def test_a_whole_part_is_not_got_again(server: Server, tmp_path: Path) -> None:
    write_part(tmp_path, CONTENT)
    assert get(server, tmp_path, "missing").read_bytes() == CONTENT
    assert server.requests == []


def test_goes_on_after_an_interrupt(server: Server, tmp_path: Path) -> None:
    def interrupt(done: int, total: int | None) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(ARCHIVE, tmp_path, mirrors=[server.url("good")], progress=interrupt)
    kept = (tmp_path / "small.tar.gz.part").stat().st_size
    assert 0 < kept < len(CONTENT)
    assert get(server, tmp_path, "good").read_bytes() == CONTENT
    assert server.requests[-1] == ("good", f"bytes={kept}-")


def test_two_at_once_get_it_once(server: Server, tmp_path: Path) -> None:
    # The lock belongs to the open file, not to the process, so threads stand for processes.
    with ThreadPoolExecutor(3) as pool:
        paths = list(pool.map(lambda _: get(server, tmp_path, "slow"), range(3)))
    assert {path.read_bytes() for path in paths} == {CONTENT}
    assert len(server.requests) == 1


# --- mirrors that fail -------------------------------------------------------------------------------------------

REASONS = {
    "missing": "HTTP 404 Not Found",
    "broken": "HTTP 500 Internal Server Error",
    "nothing": "answered 204 No Content",
    "no_http": "220 ftp ready",
    "loops": "redirects too often",
    "to_file": "HTTP 302 Found - Redirection to url 'file:///etc/passwd' is not allowed",
    "to_ftp": "not an address of http or https: ftp://example.org/a",
    "other": "gave other content: its SHA-256 is wrong",
    "login": "offers 26 bytes where 600000 are expected",
    "long": "offers 600004 bytes where 600000 are expected",
    "endless": "gave other content: its SHA-256 is wrong",
    "unasked_part": "sent a part where the whole was asked for",
    "silent": "silent for 0.2 s",
    "stalls": "silent for 0.2 s",
    "refuses_all_ranges": "refused a range that was not asked for (416)",
    "hangs_up": "Remote end closed connection without response",
}


@pytest.mark.parametrize("behaviour", REASONS)
def test_the_next_mirror_is_tried(server: Server, tmp_path: Path, behaviour: str) -> None:
    assert get(server, tmp_path, behaviour, "good", timeout_s=0.2).read_bytes() == CONTENT


@pytest.mark.parametrize("behaviour", REASONS)
def test_the_reason_is_said(server: Server, tmp_path: Path, behaviour: str) -> None:
    message = failure(server, tmp_path, behaviour, timeout_s=0.2)
    assert f"{server.url(behaviour)} ({REASONS[behaviour]})" in message
    assert not (tmp_path / "small.tar.gz").exists()


def test_all_that_failed_is_listed_with_the_way_by_hand(server: Server, tmp_path: Path) -> None:
    message = failure(server, tmp_path, "missing", "other")
    for part in (server.url("missing"), "404", server.url("other"), "SHA-256", OFFICIAL, "600000 bytes", ARCHIVE.md5):
        assert part in message
    assert f"put it into {tmp_path} as small.tar.gz" in message
    assert names(tmp_path) == [".small.tar.gz.lock"]


def test_no_more_than_the_size_is_taken(server: Server, tmp_path: Path) -> None:
    failure(server, tmp_path, "endless")
    assert server.sent < 20 * len(CONTENT)  # what the sockets hold, at most


def test_redirects_end(server: Server, tmp_path: Path) -> None:
    failure(server, tmp_path, "loops")
    assert len(server.requests) <= 7


def test_a_bad_mirror_does_not_lose_what_came(server: Server, tmp_path: Path) -> None:
    write_part(tmp_path, CONTENT[:HALF])
    failure(server, tmp_path, "missing", "login", "broken")
    assert (tmp_path / "small.tar.gz.part").read_bytes() == CONTENT[:HALF]


@pytest.mark.parametrize(
    "address",
    ["ftp://example.org/a", "file:///etc/passwd", "nonsense", "http://", "http://[", "http://a b/", "http://x:y/"],
)
def test_addresses_that_are_none(server: Server, tmp_path: Path, address: str) -> None:
    assert fetch(ARCHIVE, tmp_path, mirrors=[address, server.url("good")], timeout_s=1).read_bytes() == CONTENT


@pytest.mark.parametrize("behaviour", ["drips", "drips_headers"])
def test_a_server_that_drips_is_left(
    server: Server, tmp_path: Path, behaviour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onecycle.data.fetch._TRIES_PER_MIRROR", 1)
    message = failure(server, tmp_path, behaviour, timeout_s=0.5)
    assert f"slower than {connection.LEAST_BYTES_PER_SECOND} bytes/s" in message


def test_passwords_are_not_shown(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        fetch(ARCHIVE, tmp_path, mirrors=["https://me:secret@example.org/a"])
    assert "https://example.org/a (addresses with a user name" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_nobody_listens(tmp_path: Path, server: Server) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/a"
        with pytest.raises(UserError, match="refused"):
            fetch(ARCHIVE, tmp_path, mirrors=[address], timeout_s=1)


# --- settings and disks ------------------------------------------------------------------------------------------


def test_mirrors_of_the_environment_come_first(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = server.url("without_range").removesuffix("small.tar.gz")
    monkeypatch.setenv("ONECYCLE_MIRROR", f" {server.url('missing')} ,, {folder}")
    assert get(server, tmp_path, "good").read_bytes() == CONTENT
    assert [behaviour for behaviour, _ in server.requests] == ["missing", "without_range"]


def test_cifar10_has_the_published_digests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert CIFAR10.urls == ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",)
    assert (CIFAR10.size, len(CIFAR10.sha256), CIFAR10.md5) == (170498071, 64, "c58f30108f718f92721af3b95e74349a")
    monkeypatch.delenv("ONECYCLE_MIRROR", raising=False)
    with pytest.raises(UserError, match=r"cifar-10-python\.tar\.gz: no mirror gave it: none is named"):
        fetch(CIFAR10, tmp_path, mirrors=())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full to write to")
def test_a_full_disk(server: Server, tmp_path: Path) -> None:
    (tmp_path / "small.tar.gz.part").symlink_to("/dev/full")
    message = failure(server, tmp_path, "good")
    assert message.startswith(f"{tmp_path / 'small.tar.gz'}: the disk is full")


def test_a_file_where_the_folder_should_be(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.touch()
    assert failure(server, target, "good").startswith(f"{target / 'small.tar.gz'}: cannot be written")


def test_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ONECYCLE_DATA", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert data_folder() == tmp_path / ".cache" / "onecycle"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert data_folder() == tmp_path / ".cache" / "onecycle"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert data_folder() == tmp_path / "cache" / "onecycle"
    monkeypatch.setenv("ONECYCLE_DATA", "~/data")
    assert data_folder() == tmp_path / "data"
    assert data_folder(Path("~/mine")) == tmp_path / "mine"


@pytest.mark.parametrize("named", ["--data-dir", "ONECYCLE_DATA"])
def test_a_home_folder_that_is_not_known_is_named(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path("~no-such-user/data")
    monkeypatch.setenv("ONECYCLE_DATA", str(path))
    with pytest.raises(UserError, match=r"^~no-such-user/data: the home folder ~no-such-user is not known"):
        data_folder(path if named == "--data-dir" else None)


def test_no_home_folder_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("ONECYCLE_DATA", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "expanduser", unknown)
    with pytest.raises(UserError, match=r"^~/\.cache: .*ONECYCLE_DATA"):
        data_folder()
