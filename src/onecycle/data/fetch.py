"""Gets the archives of data sets: from several mirrors, going on where a download stopped, verified by SHA-256.

Nothing but the standard library is used. What is downloaded is kept as it is; nothing is unpacked.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from ..errors import UserError
from ..files import cache_folder, disk_errors, expanded, locked, sync
from .connection import build_opener

DownloadCallback = Callable[[int, "int | None"], None]  # bytes that are there, bytes in all


@dataclass(frozen=True)
class Archive:
    """A file to get: its addresses, the official one first, its size in bytes and its digests in hexadecimal."""

    name: str
    urls: tuple[str, ...]
    size: int
    sha256: str
    md5: str


CIFAR10: Final = Archive(
    name="cifar-10-python.tar.gz",
    urls=("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
    size=170498071,
    sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    md5="c58f30108f718f92721af3b95e74349a",
)
CIFAR100: Final = Archive(
    name="cifar-100-python.tar.gz",
    urls=("https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",),
    size=169001437,
    # As keras.datasets.cifar100 and torchvision's prototype data sets have it, each on its own; the MD5 is the page's.
    sha256="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    md5="eb9058c3a382ffc7106e4002c42a8d85",
)
ARCHIVES: Final = {"cifar10": CIFAR10, "cifar100": CIFAR100}
_CHUNK_BYTES: Final = 256 * 1024
_TRIES_PER_MIRROR: Final = 10


def data_folder(data_dir: Path | None = None) -> Path:
    """Where data sets are: `data_dir`, else ONECYCLE_DATA, else `onecycle` in the user's cache folder.

    Raises UserError where a path begins with "~" and there is no such home folder.
    """
    if data_dir is not None:
        return expanded(Path(data_dir))
    if named := os.environ.get("ONECYCLE_DATA"):
        return expanded(Path(named))
    return cache_folder()


def fetch(
    archive: Archive,
    target: Path,
    *,
    mirrors: Sequence[str] | None = None,
    timeout_s: float = 30,
    progress: DownloadCallback | None = None,
) -> Path:
    """Get `archive` into the folder `target`, unless it is there and verified; its path.

    The mirrors of the environment variable ONECYCLE_MIRROR (separated by commas) are tried first, then `mirrors`, by
    default the archive's own; an address that ends in "/" is a folder that holds the archive under its name. What came
    is kept in a `.part` file, which the next try goes on with. `timeout_s` bounds each wait for the network.

    Raises UserError that lists the mirrors with their reasons when none gave the file, and where the disk is full or
    the folder cannot be written.
    """
    final = target / archive.name
    with disk_errors(final):
        # Before anything is written, so that a folder that can only be read serves too.
        if _verified(final, archive):
            return final
        target.mkdir(parents=True, exist_ok=True)
        with locked(target / f".{archive.name}.lock", wait=True):
            if _verified(final, archive):  # by a process that had the lock before
                return final
            reasons = []
            for mirror in _mirrors(archive, mirrors):
                try:
                    _from_mirror(mirror, archive, final, timeout_s, progress)
                    return final
                except _MirrorFailed as failure:
                    reasons.append(f"{_shown(mirror)} ({failure})")
    raise UserError(
        f"{archive.name}: no mirror gave it: {'; '.join(reasons) or 'none is named'}; try again later, name another in "
        f"ONECYCLE_MIRROR, or get {archive.urls[0]} by hand ({archive.size} bytes, MD5 {archive.md5}) "
        f"and put it into {target.absolute()} as {archive.name}"
    )


class _MirrorFailed(Exception):
    """Why one mirror did not give the file."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows few redirects, to the web alone."""

    max_redirections = 5
    max_repeats = 2

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: object,
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        _check_address(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _mirrors(archive: Archive, mirrors: Sequence[str] | None) -> list[str]:
    named = [one.strip() for one in os.environ.get("ONECYCLE_MIRROR", "").split(",")]
    addresses = [*filter(None, named), *(archive.urls if mirrors is None else mirrors)]
    return [one + archive.name if one.endswith("/") else one for one in dict.fromkeys(addresses)]


def _from_mirror(url: str, archive: Archive, final: Path, timeout_s: float, progress: DownloadCallback | None) -> None:
    """Complete the `.part` file from one mirror, verify it and give it its name; raises _MirrorFailed."""
    part = final.with_name(final.name + ".part")
    for attempt in range(_TRIES_PER_MIRROR):
        before = _size(part)
        if before > archive.size:
            part.unlink()
            before = 0
        try:
            if before < archive.size:
                _download(url, archive, part, timeout_s, progress)
        except _MirrorFailed:
            # A connection that was cut has still brought something: the same mirror is asked for the rest.
            if _size(part) <= before or attempt == _TRIES_PER_MIRROR - 1:
                raise
            time.sleep(min(0.1 * 2**attempt, 5))
            continue
        if _verified(part, archive):
            sync(part)
            part.replace(final)
            return
        part.unlink()
        if before == 0:
            raise _MirrorFailed("gave other content: its SHA-256 is wrong")
        # What was there before may have been at fault: once more, from the start.
    raise _MirrorFailed("gave other content each time")


def _download(url: str, archive: Archive, part: Path, timeout_s: float, progress: DownloadCallback | None) -> None:
    """Write to `part` what it lacks, or all where the server cannot go on; never more than the archive's size."""
    with _open(url, archive, _size(part), timeout_s) as response:
        resumed = response.status == http.client.PARTIAL_CONTENT
        with part.open("ab" if resumed else "wb") as file:
            done = file.tell()
            while done < archive.size:
                if progress:
                    progress(done, archive.size)
                with _network_errors(timeout_s):
                    chunk = response.read1(min(_CHUNK_BYTES, archive.size - done))
                if not chunk:
                    raise _MirrorFailed(f"ended at {done} of {archive.size} bytes")
                file.write(chunk)
                done += len(chunk)
    if progress:
        progress(done, archive.size)


def _open(url: str, archive: Archive, start: int, timeout_s: float) -> http.client.HTTPResponse:
    """The answer with the archive's bytes from `start` on (206), or with all of them (200)."""
    _check_address(url)
    headers = {"User-Agent": "onecycle", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    opener = build_opener(_Redirects)
    try:
        with _network_errors(timeout_s):
            response: http.client.HTTPResponse = opener.open(
                urllib.request.Request(url, headers=headers), timeout=timeout_s
            )
    except _RangeRefused:
        if not start:
            raise _MirrorFailed("refused a range that was not asked for (416)") from None
        return _open(url, archive, 0, timeout_s)
    reason = ""
    if response.status == http.client.PARTIAL_CONTENT:
        if not start:
            reason = "sent a part where the whole was asked for"
        elif _content_range(response) not in ((start, archive.size), (start, None)):
            response.close()
            return _open(url, archive, 0, timeout_s)
    elif response.status != http.client.OK:
        reason = f"answered {response.status} {response.reason}"
    elif response.length not in (None, archive.size):
        reason = f"offers {response.length} bytes where {archive.size} are expected"
    if reason:
        response.close()
        raise _MirrorFailed(reason)
    return response


def _content_range(response: http.client.HTTPResponse) -> tuple[int, int | None] | None:
    """The first byte and the whole size (None: not said) in a Content-Range header; None where there is no such."""
    found = re.fullmatch(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", response.headers.get("Content-Range", "").strip())
    return (int(found[1]), None if found[2] == "*" else int(found[2])) if found else None


class _RangeRefused(Exception):
    """The server has nothing from the byte on that was asked for (416)."""


@contextlib.contextmanager
def _network_errors(timeout_s: float) -> Iterator[None]:
    """Turn what urllib raises into _MirrorFailed: an OSError that leaves this file is one of the disk."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise _RangeRefused from None
        looped = str(error.reason).startswith(urllib.request.HTTPRedirectHandler.inf_msg)
        raise _MirrorFailed("redirects too often" if looped else f"HTTP {error.code} {_line(error.reason)}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(cause, TimeoutError):
            raise _MirrorFailed(f"silent for {timeout_s:g} s") from None
        raise _MirrorFailed(_line(cause) or type(cause).__name__) from None


def _check_address(url: str) -> None:
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _MirrorFailed("not an address") from None
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise _MirrorFailed(f"not an address of http or https: {_line(_shown(url))}")
    if "@" in parts.netloc:
        raise _MirrorFailed("addresses with a user name are not supported")


def _shown(url: str) -> str:
    """The address as messages show it: without user name and password, which may be in it by mistake."""
    return re.sub(r"//[^/]*@", "//", _line(url))


def _line(value: object) -> str:
    return " ".join(str(value).split())[:200]


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _verified(path: Path, archive: Archive) -> bool:
    if not path.is_file() or path.stat().st_size != archive.size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == archive.sha256
