"""Where the files of a CIFAR set are, and their bytes: in a folder, or in the archive, of which nothing is unpacked."""

from __future__ import annotations

import hashlib
import shlex
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..errors import UserError
from .fetch import Archive
from .tar_stream import MAX_UNPACKED_BYTES, TarFormatError, read_members


@dataclass(frozen=True)
class Layout:
    """What a set is made of: its official archive and files, and what is in them.

    `files` has size in bytes and MD5 of each official file. A larger file than `max_file_bytes` is not read.
    """

    title: str
    name: str  # as recipes and `onecycle data fetch` have it
    archive: Archive
    folder: str
    files: Mapping[str, tuple[int, str]]
    train_files: tuple[str, ...]
    test_files: tuple[str, ...]
    meta_file: str
    labels_key: bytes
    names_key: bytes
    class_count: int
    max_file_bytes: int


@dataclass(frozen=True)
class SourceFile:
    """One file of a set: in a folder, or a member of the archive that is then in memory."""

    layout: Layout
    where: str
    name: str
    content: bytes | None = None

    def read(self) -> bytes:
        """All bytes. Raises UserError where they cannot be read, are too many, or differ though they are as many."""
        content = self._from_disk() if self.content is None else self.content
        size, official = self.layout.files[self.name]
        if len(content) == size and _md5(content) != official:
            raise self.damaged("damaged", content)
        return content

    def damaged(self, reason: str, content: bytes) -> UserError:
        """The error that says what is wrong with this file's `content`, and what would be right."""
        size, official = self.layout.files[self.name]
        found = _md5(content)
        digests = "" if found == official else f" (MD5 {found}; the official file has {official}, {size} bytes)"
        return UserError(
            f"{self.where}: {reason}; {self.layout.title}'s file {self.name} is needed{digests}: "
            f"remove it with its folder or archive, and `onecycle data fetch {self.layout.name}` gets all anew"
        )

    def _from_disk(self) -> bytes:
        path = Path(self.where)
        try:
            # Looked at before it is opened, as opening a pipe would wait for ever.
            if not path.is_file():
                raise UserError(f"{path}: not a file; {self.layout.title}'s file of that name is needed")
            with path.open("rb") as file:
                return _read_bounded(file, self)
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None


def find(layout: Layout, folder: Path, data_dir: Path | None) -> Mapping[str, SourceFile]:
    """The files of the set under `folder`, none of them read yet unless they are in the archive.

    `data_dir` is what the user named, None for the usual place. Raises UserError where files are missing, and where
    the archive is damaged.
    """
    try:
        if (folder / layout.folder).is_dir():
            return _in_folder(layout, folder / layout.folder)
        if (folder / layout.archive.name).is_file():
            return _in_archive(layout, folder / layout.archive.name)
        if any((folder / name).is_file() for name in layout.files):
            return _in_folder(layout, folder)
        state = f"holds no {layout.title}" if folder.is_dir() else _no_folder(folder)
    except OSError as error:
        state = f"cannot be read ({error.strerror or error})"
    fetching = f"onecycle data fetch {layout.name}" + (f" --data-dir {shlex.quote(str(data_dir))}" if data_dir else "")
    raise UserError(
        f"{folder}: {state}; {layout.folder}/ or {layout.archive.name} is needed in it: `{fetching}` gets it, or put "
        f"{layout.archive.urls[0]} there, or name the folder that has it with --data-dir or ONECYCLE_DATA"
    )


def _no_folder(folder: Path) -> str:
    return "not a folder" if folder.exists() else "no such folder"


def _in_folder(layout: Layout, folder: Path) -> Mapping[str, SourceFile]:
    missing = [name for name in layout.files if not (folder / name).exists()]
    if missing:
        raise UserError(
            f"{folder}: {', '.join(missing)} missing; all of {', '.join(layout.files)} are needed: "
            f"remove the folder, and `onecycle data fetch {layout.name}` gets all anew"
        )
    return {name: SourceFile(layout, str(folder / name), name) for name in layout.files}


def _in_archive(layout: Layout, archive: Path) -> Mapping[str, SourceFile]:
    """Read the members of exactly the expected names into memory; all others are skipped, none is extracted."""
    wanted = {f"{layout.folder}/{name}".encode(): name for name in layout.files}
    try:
        with archive.open("rb") as file:
            contents = read_members(file, wanted, layout.max_file_bytes)
    except OSError as error:
        raise UserError(f"{archive}: cannot be read ({error.strerror or error})") from None
    except (TarFormatError, zlib.error) as error:
        raise _damaged_archive(layout, archive, str(error)) from None
    missing = [name for path, name in wanted.items() if path not in contents]
    if missing:
        raise _damaged_archive(layout, archive, f"{', '.join(missing)} missing in {layout.folder}/")
    return {
        name: SourceFile(layout, f"{archive}:{path.decode()}", name, contents[path]) for path, name in wanted.items()
    }


def _damaged_archive(layout: Layout, archive: Path, reason: str) -> UserError:
    official, digests = layout.archive, ""
    if archive.stat().st_size <= MAX_UNPACKED_BYTES:  # to read more for its digest would take minutes
        with archive.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        digests = "" if found == official.md5 else f" (MD5 {found}; the official file has {official.md5})"
    return UserError(
        f"{archive}: damaged ({' '.join(reason.split())}); the official archive of {official.size} bytes is needed"
        f"{digests}: `onecycle data fetch {layout.name}` gets it anew"
    )


def _read_bounded(file: IO[bytes], source: SourceFile) -> bytes:
    limit = source.layout.max_file_bytes
    content = file.read(limit + 1)
    if len(content) > limit:
        size = source.layout.files[source.name][0]
        raise UserError(f"{source.where}: larger than {limit} bytes; the official file has {size}")
    return content


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
