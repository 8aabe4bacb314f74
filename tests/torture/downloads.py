"""Servers that cut, stall and lie, and fetching processes that are killed or many.

Always: what has the final name is the whole, verified file, or what was there before; where the last mirror is good the
fetch succeeds, and where none is it ends in one line that names each.
"""

from __future__ import annotations

import hashlib
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
from hostile_server import Server, serving
from numpy.random import Generator

from onecycle import UserError
from onecycle.data.fetch import Archive, fetch
from torture.children import Child, begin
from torture.guarded import caught
from torture.tally import Tally, at_least

NAME = "small.tar.gz"
SIZE = 300_000
TIMEOUT_S = 0.3
ENVIRONMENT = {"no_proxy": "*", "ONECYCLE_MIRROR": ""}
MOST_SECONDS = 30.0  # without the pauses between tries; a case takes far less
# The first bring something, after which the same mirror is asked again; the second bring nothing that is kept.
PARTIAL = ("cuts", "resets", "chunks_cut", "stalls", "changed")
USELESS = (
    *("silent", "hangs_up", "unasked_part", "refuses_all_ranges", "missing", "broken", "nothing", "no_http", "garbage"),
    *("garbage", "headers_without_end", "line_without_end", "lies_about_length", "negative_length"),
    *("chunks_of_nonsense", "loops", "to_nonsense", "to_file", "to_ftp", "other", "login", "long", "endless"),
)
WHOLE = ("good", "without_range", "without_length", "chunked", "moved", "wrong_range", "no_such_range")
SLOW = {"silent", "stalls"}  # each costs a timeout


def attacks(folder: Path, seed: int, share: float) -> Iterator[Tally]:
    """The attacks of this part; see the package."""
    content = np.random.default_rng((seed, 0)).bytes(SIZE)
    with mock.patch.dict("os.environ", ENVIRONMENT), serving(content) as server:
        yield mirrors(server, folder / "mirrors", seed, at_least(2_000, share, 20))
        yield dripping(server, folder / "dripping", share)
        yield killed(server, folder / "killed", seed, at_least(200, share, 2))
        yield at_once(server, folder / "at_once", seed, at_least(50, share))


def archive_of(content: bytes) -> Archive:
    """`content` as an archive to fetch."""
    digests = {"sha256": hashlib.sha256(content).hexdigest(), "md5": hashlib.md5(content).hexdigest()}
    return Archive(name=NAME, urls=("https://example.org/small.tar.gz",), size=len(content), **digests)


def mirrors(server: Server, folder: Path, seed: int, count: int) -> Tally:
    tally, slowest, came = Tally("mirrors of random behaviour, in turn"), 0.0, 0
    for number in range(count):
        random = np.random.default_rng((seed, 1, number))
        target = folder / str(number)
        before = _prepared(target, server.content, random)
        behaviours = [_script(random) for _ in range(random.integers(1, 4))]
        good = random.random() < 0.5
        behaviours += [str(random.choice(WHOLE))] if good else []
        mirrors = [server.url(one, f"{number}-{place}/{NAME}") for place, one in enumerate(behaviours)]
        began = time.perf_counter()
        # Pauses between tries do not matter here.
        with mock.patch("onecycle.data.fetch.time", SimpleNamespace(sleep=lambda seconds: None)):
            path, error = caught(
                partial(fetch, archive_of(server.content), target, mirrors=mirrors, timeout_s=TIMEOUT_S)
            )
        seconds = time.perf_counter() - began
        failure = _verdict(target, server.content, before, path, error, mirrors, must_come=good)
        if seconds > MOST_SECONDS:
            failure = f"it took {seconds:.0f} s"
        tally.add(failure and f"case {number} of seed {seed}, {' | '.join(behaviours)}: {failure}")
        slowest, came = max(slowest, seconds), came + (path is not None)
        _clear(target)
    tally.figure = f"{came:,} came whole, slowest {slowest:.1f} s"
    return tally


def _script(random: Generator) -> str:
    """What one mirror does, request by request."""
    steps = []
    for _ in range(random.integers(1, 5)):
        pool = (PARTIAL, USELESS, WHOLE)[random.choice(3, p=[0.5, 0.42, 0.08])]
        name = str(random.choice(pool))
        if name in SLOW and random.random() < 0.8:
            name = "cuts"
        steps.append(f"{name}-{random.integers(0, SIZE)}")
    return ",".join(steps)


def _prepared(target: Path, content: bytes, random: Generator) -> bytes | None:
    """A folder as an earlier try, or another program, may have left it; what has the final name there."""
    target.mkdir(parents=True)
    length = int(random.integers(0, SIZE))
    parts = (None, content[:length], random.bytes(length), content + b"more", bytes(SIZE), content, b"")
    finals = (None, None, content[:length], bytes(SIZE), b"")
    part, final = parts[random.integers(len(parts))], finals[random.integers(len(finals))]
    if part is not None:
        (target / f"{NAME}.part").write_bytes(part)
    if final is not None:
        (target / NAME).write_bytes(final)
    return final


def _verdict(
    target: Path,
    content: bytes,
    before: bytes | None,
    path: object,
    error: BaseException | None,
    mirrors: list[str],
    *,
    must_come: bool,
) -> str | None:
    """What did not hold."""
    final = target / NAME
    found = final.read_bytes() if final.exists() else None
    strangers = {one.name for one in target.iterdir()} - {NAME, f"{NAME}.part", f".{NAME}.lock"}
    if strangers:
        return f"it left {strangers}"
    if error is None:
        if path != final or found != content:
            return "it says that the file is there, and it is not"
        return "it left its .part file" if (target / f"{NAME}.part").exists() else None
    if not isinstance(error, UserError):
        return f"{type(error).__name__}: {error}"[:300]
    if "\n" in str(error) or not all(one in str(error) for one in mirrors):
        return f"the message does not name each mirror in one line: {error}"
    if found != before:
        return "what has the final name is neither whole nor as it was"
    return f"a good mirror was there: {error}" if must_come else None


def dripping(server: Server, folder: Path, share: float) -> Tally:
    """Servers that keep off the timeout with a byte now and then."""
    tally, slowest = Tally("servers that drip"), 0.0
    for behaviour in ("drips", "drips_headers")[: at_least(2, share)]:
        target = folder / behaviour
        mirrors = [server.url(behaviour), server.url("good")]
        began = time.perf_counter()
        with mock.patch("onecycle.data.fetch._TRIES_PER_MIRROR", 2):
            path, error = caught(partial(fetch, archive_of(server.content), target, mirrors=mirrors, timeout_s=1.0))
        seconds = time.perf_counter() - began
        failure = _verdict(target, server.content, None, path, error, mirrors, must_come=True)
        tally.add(failure or (f"{behaviour}: it took {seconds:.0f} s" if seconds > MOST_SECONDS else None))
        slowest = max(slowest, seconds)
    tally.figure = f"left after {slowest:.1f} s at most, for 2 tries of a timeout of 1 s"
    return tally


def killed(server: Server, folder: Path, seed: int, count: int) -> Tally:
    tally, hits, resumed = Tally("fetching processes killed"), 0, 0
    target = folder / "target"
    mirrors = [server.url("slices", f"k/{NAME}")]
    seconds = _undisturbed(server, folder, mirrors)
    for number in range(count):
        random = np.random.default_rng((seed, 2, number))
        child = Child(fetching, server.content, target, mirrors, said=folder / "said")
        child.signal(signal.SIGKILL, float(random.uniform(0, 1.1 * seconds)))
        hits += child.wait() == -signal.SIGKILL
        final, part = target / NAME, target / f"{NAME}.part"
        failure = None
        if final.exists() and final.read_bytes() != server.content:
            failure = "a half-done file has the final name"
        kept = part.stat().st_size if part.exists() else 0
        asked = len(server.requests)
        whole = final.exists()
        path, error = caught(partial(fetch, archive_of(server.content), target, mirrors=[server.url("good")]))
        failure = failure or _verdict(target, server.content, None, path, error, mirrors, must_come=True)
        if kept and not whole:
            resumed += 1
            expected = [] if kept == SIZE else [("good", f"bytes={kept}-")]
            if server.requests[asked:] != expected:
                failure = failure or f"it did not go on at byte {kept}: {server.requests[asked:]}"
        tally.add(failure and f"case {number} of seed {seed}: {failure}")
        _clear(target)
    if not hits:
        tally.lost.append("none was hit while it was at it")
    tally.figure = f"{hits} were still at it, {resumed} went on in the middle"
    return tally


def _undisturbed(server: Server, folder: Path, mirrors: list[str]) -> float:
    """How long a fetch takes in a child."""
    child = Child(fetching, server.content, folder / "first", mirrors, said=folder / "said")
    child.wait()
    return time.perf_counter() - child.began


def at_once(server: Server, folder: Path, seed: int, count: int) -> Tally:
    tally, requests = Tally("two or four processes at once, one of them killed"), 0
    for number in range(count):
        random = np.random.default_rng((seed, 3, number))
        target = folder / str(number)
        mirrors = [server.url("cuts-200000,slices", f"{number}/{NAME}"), server.url("good")]
        asked = len(server.requests)
        children = [
            Child(fetching, server.content, target, mirrors, said=folder / f"said-{place}")
            for place in range(2 if number % 2 else 4)
        ]
        children[0].signal(signal.SIGKILL, float(random.uniform(0, 0.3)))
        codes = [child.wait() for child in children]
        failure = None
        if any(codes[1:]) or codes[0] not in (0, -signal.SIGKILL):
            failure = f"exit codes {codes}: {children[-1].said[-200:]}"
        elif (target / NAME).read_bytes() != server.content or (target / f"{NAME}.part").exists():
            failure = "the file is not whole, or a .part file is left"
        tally.add(failure and f"case {number} of seed {seed}: {failure}")
        requests = max(requests, len(server.requests) - asked)
        _clear(target)
    tally.figure = f"{requests} requests at most"
    return tally


def fetching(content: bytes, target: Path, mirrors: list[str]) -> None:
    """What a child does."""
    begin()
    with mock.patch.dict("os.environ", ENVIRONMENT):
        fetch(archive_of(content), target, mirrors=mirrors, timeout_s=20)


def _clear(target: Path) -> None:
    for path in target.iterdir() if target.exists() else ():
        path.unlink()
