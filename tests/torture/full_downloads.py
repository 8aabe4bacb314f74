"""The disk is full while a data set is fetched."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from onecycle.data import fetch as fetching
from torture.faulty_disk import Disk
from torture.small_runs import said
from torture.tally import Tally, at_least


def fetched(folder: Path, seed: int, share: float) -> Tally:
    """An operation fails while an archive is fetched; the next try goes on and gets it."""
    tally = Tally("an operation fails in data fetch")
    random = np.random.default_rng((seed, 6))
    source, target = folder / "served", folder / "fetched"
    source.mkdir()
    content = random.bytes(600_000)
    digests = (hashlib.sha256(content).hexdigest(), hashlib.md5(content).hexdigest())
    archive = fetching.Archive("a.tar.gz", (), len(content), *digests)
    (source / archive.name).write_bytes(content)
    with _served(source) as address, mock.patch.dict(os.environ, {"no_proxy": "*", "ONECYCLE_MIRROR": ""}):

        def fetch() -> Path:
            return fetching.fetch(archive, target, mirrors=[address])

        with Disk(target).watched() as disk:
            fetch()
        for at in random.permutation(disk.done)[: at_least(disk.done, share)]:
            shutil.rmtree(target)
            try:
                with Disk(target, errno.ENOSPC, int(at), lasting=True).watched() as disk:
                    fetch()
                if disk.done <= at:
                    continue  # what was sent came in fewer pieces this time
                failure: str | None = "nobody said that the disk is full"
            except Exception as error:
                message, failure = said(error)
                failure = failure or (None if "disk is full" in message else f"said: {message}")
            if (target / archive.name).exists():
                failure = failure or "something is under the final name"
            if fetch().read_bytes() != content:
                failure = failure or "another content"
            tally.add(failure and f"operation {at}: {failure}")
    return tally


@contextlib.contextmanager
def _served(folder: Path) -> Iterator[str]:
    """The address of a local server of a folder's files."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()
