"""What is written to disk: whole files, rows that are added to a file, and the lock that keeps others off.

A whole file is written atomically, so that it is either whole or not there. Rows are appended to a CSV file in place: a
crash can cut the last one short, which `read_csv` then leaves out.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import errno
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from .errors import UserError

LEFT_OVER_SECONDS = 60  # the age at which a temporary file is nobody's; writing one takes seconds


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; it is synced and renamed to `target` when the block ends well.

    A pipe, a device such as /dev/null, or what a process has open, such as /dev/stdout, stays what it is: the content
    goes into it. A link becomes a file. Raises UserError where the disk is full or the folder cannot be written;
    `target` is then as it was.
    """
    with disk_errors(target):
        if _is_stream(target):
            with tempfile.TemporaryDirectory() as folder:
                content = Path(folder) / target.name
                yield content
                with target.open("ab") as stream:  # stdout may be a file that others have written to before
                    stream.write(content.read_bytes())
            return
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            sync(temporary)
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(target)
            sync(target.parent)
        finally:
            temporary.unlink(missing_ok=True)


def _is_stream(target: Path) -> bool:
    """Whether a path is that of a pipe, of a device, or of what a process has open, which may be a file."""
    opened = target.absolute().as_posix().startswith(("/dev/fd/", "/proc/"))
    linked = target.is_symlink() and target.readlink().as_posix().startswith("/proc/")
    return opened or linked or target.is_char_device() or target.is_fifo()


@contextlib.contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """Make a folder, and those above it, for the block; where that fails, those that are still empty go again."""
    with disk_errors(folder):
        missing = [one for one in (folder, *folder.parents) if not one.exists()]
        folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for one in missing:
            with contextlib.suppress(OSError):
                one.rmdir()
        raise


def write_bytes(target: Path, content: bytes) -> None:
    """Write a whole file atomically."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(content)


def write_text(target: Path, content: str) -> None:
    """Write a whole text file (UTF-8) atomically."""
    write_bytes(target, content.encode())


def write_json(target: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically. NaN and infinity are refused, as JSON has neither."""
    write_text(target, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises UserError naming the file where it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not readable as JSON ({error})") from None


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write a whole CSV file atomically. Values are without line breaks; None becomes an empty one."""
    write_text(path, _csv_text(rows, columns, header=True))


def append_csv(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Append rows to a CSV file in one write, with the header first where the file is new or empty.

    Not atomic: a crash can leave the last row cut short. Who goes on after one first writes anew what `read_csv` gives.
    """
    with disk_errors(path), path.open("a", encoding="utf-8", newline="") as file:
        file.write(_csv_text(rows, columns, header=file.tell() == 0))


def read_csv(path: Path) -> list[dict[str, str]]:
    """The whole rows of a CSV file, values as text; a last line that was cut short is left out.

    No file is no rows. Raises UserError naming the file where it holds something else than such a table.
    """
    try:
        return parse_csv(path.read_bytes(), path)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{path}: not readable as CSV ({error.strerror})") from None


def parse_csv(content: bytes, path: Path) -> list[dict[str, str]]:
    """As `read_csv`, of content that was read from `path`."""
    try:
        header, *rows = _csv_rows(content) or [[]]
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path}: not readable as CSV ({error})") from None
    for row in rows:
        if len(row) != len(header):
            raise UserError(f"{path}: not readable as CSV ({len(row)} values in a row of {len(header)} columns)")
    return [dict(zip(header, row, strict=True)) for row in rows]


class Locked(Exception):
    """Somebody else holds the lock."""


@contextlib.contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold the lock file `path`; the system lets go of it when a process ends, however that comes.

    Where somebody else holds it, waits for them, or raises Locked without `wait`. The file stays: to remove it would
    let two processes lock two files of one name. On Windows, and on file systems without locks, nothing is locked.
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl

    with _to_lock(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):  # the latter from NFS
                raise Locked(f"{path} is locked") from None
            # A file system without locks, as some of a cluster's, or for files to be read: go on without.
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EBADF):
                raise
        yield


@contextlib.contextmanager
def disk_errors(target: Path) -> Iterator[None]:
    """Turn an OSError of writing `target` into one clear UserError."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise UserError(f"{target}: the disk is full; what was saved before stands, make room and go on") from error
        raise UserError(f"{target}: cannot be written ({error.strerror or error})") from error


def _to_lock(path: Path) -> BinaryIO:
    try:
        return path.open("ab")
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        return path.open("rb")  # somebody else's: it can be asked for its lock all the same


def check_writable(path: Path) -> None:
    """Raise UserError where no folder can be made at `path`; nothing is left of the attempt."""
    with disk_errors(path):
        there = next(parent for parent in path.absolute().parents if parent.exists())
        Path(tempfile.mkdtemp(prefix=".onecycle-", dir=there)).rmdir()


def remove_left_over(folder: Path) -> None:
    """Remove the temporary files in a folder that a killed process left; not those so young that they may be in use."""
    for path in folder.glob(".*.part"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > LEFT_OVER_SECONDS:
                path.unlink()


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's names, have reached the disk."""
    if sys.platform == "win32":
        return  # opens no folders, and syncs no file that is open for reading alone
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _csv_text(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], *, header: bool) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _csv_rows(content: bytes) -> list[list[str]]:
    """The values of each whole line. Raises ValueError or csv.Error where the content is none of CSV."""
    # Incremental, as the cut may have come inside a character.
    text = codecs.getincrementaldecoder("utf-8")().decode(content)
    if "\0" in text:  # which the csv module takes for a letter like any other
        raise ValueError("it holds NUL bytes")
    lines = io.StringIO(text[: text.rfind("\n") + 1], newline="")
    return [row for row in csv.reader(lines, strict=True) if row]


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def cache_folder() -> Path:
    """`onecycle` in the user's cache folder. Raises UserError where there is no home folder to look for it in."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification has relative paths ignored.
    return (cache if cache.is_absolute() else expanded(Path("~/.cache"))) / "onecycle"


def expanded(path: Path) -> Path:
    """With the home folder for `~`. Raises UserError where that is not known."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise UserError(
            f"{path}: the home folder {path.parts[0]} is not known; name the folder in full, "
            "with --data-dir or ONECYCLE_DATA"
        ) from None
