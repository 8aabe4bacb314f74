"""CIFAR-10 from its official Python batch files: out of their folder, or straight out of the archive.

Alex Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009; https://www.cs.toronto.edu/~kriz/cifar.html
"""

from __future__ import annotations

import gzip
import hashlib
import shlex
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .batch_pickle import BatchFormatError, read_batch_pickle
from .fetch import CIFAR10, data_folder
from .images import Dataset, ImageSet

FOLDER: Final = "cifar-10-batches-py"
TRAIN_FILES: Final = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_FILES: Final = ("test_batch",)
META_FILE: Final = "batches.meta"
# Size in bytes and MD5 of the official files.
OFFICIAL: Final = {
    "data_batch_1": (31035704, "c99cafc152244af753f735de768cd75f"),
    "data_batch_2": (31035320, "d4bba439e000b95fd0a9bffe97cbabec"),
    "data_batch_3": (31035999, "54ebc095f3ab1f0389bbae665268c751"),
    "data_batch_4": (31035696, "634d18415352ddfa80567beed471001a"),
    "data_batch_5": (31035623, "482c414d41f54cd18b22e5b47cb7c3cb"),
    "test_batch": (31035526, "40351d587109b95175f43aff81a1287e"),
    "batches.meta": (158, "5ff9c542aee3614f3951f8cda6e48888"),
}
MAX_FILE_BYTES: Final = 64 * 2**20
MAX_ARCHIVE_BYTES: Final = 256 * 2**20  # unpacked; the official one has 186 million bytes
_CLASS_COUNT: Final = 10
_SIDE: Final = 32
_READERS: Final = 3
_Batch: TypeAlias = tuple[NDArray[np.uint8], NDArray[np.int64]]


def cifar10(*, data_dir: Path | None = None, image_size: int = _SIDE) -> Dataset:
    """Load CIFAR-10: 50,000 training and 10,000 test images of 32 x 32, ten classes.

    `data_dir` holds `cifar-10-batches-py/` or `cifar-10-python.tar.gz`, or is that folder; without it the environment
    variable ONECYCLE_DATA says where, else `~/.cache/onecycle`. A file of the official size must have the official MD5;
    other sizes are read as they are. Raises UserError where the data is missing or damaged.
    """
    if image_size != _SIDE:
        raise UserError(f"data.image_size is {image_size}; CIFAR-10 has {_SIDE}")
    files = _find(data_folder(data_dir), data_dir)
    classes = _classes(files[META_FILE])
    # Reading, digests and copies let go of the interpreter, so threads shorten the wait.
    with ThreadPoolExecutor(_READERS) as pool:
        batches = list(pool.map(_batch, [files[name] for name in (*TRAIN_FILES, *TEST_FILES)]))
    train = len(TRAIN_FILES)
    return Dataset(_image_set(batches[:train], classes), _image_set(batches[train:], classes))


@dataclass(frozen=True)
class _BatchFile:
    """One batch file: in a folder, or a member of the archive that is then in memory."""

    where: str
    name: str
    content: bytes | None = None

    def read(self) -> bytes:
        if self.content is not None:
            return self.content
        path = Path(self.where)
        try:
            # Looked at before it is opened, as opening a pipe would wait for ever.
            if not path.is_file():
                raise UserError(f"{path}: not a file; the batch file of that name is needed")
            with path.open("rb") as file:
                return _read_bounded(file, self.where)
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None

    def damaged(self, reason: str, content: bytes) -> UserError:
        size, official = OFFICIAL[self.name]
        found = hashlib.md5(content, usedforsecurity=False).hexdigest()
        digests = "" if found == official else f" (MD5 {found}; the official file has {official}, {size} bytes)"
        return UserError(
            f"{self.where}: {reason}; CIFAR-10's batch file {self.name} is needed{digests}: "
            "remove it with its folder or archive, and `onecycle data fetch cifar10` gets all anew"
        )


def _find(folder: Path, data_dir: Path | None) -> Mapping[str, _BatchFile]:
    """The seven files of the data set under `folder`, none of them read yet unless they are in the archive."""
    try:
        if (folder / FOLDER).is_dir():
            return _in_folder(folder / FOLDER)
        if (folder / CIFAR10.name).is_file():
            return _in_archive(folder / CIFAR10.name)
        if any((folder / name).exists() for name in OFFICIAL):
            return _in_folder(folder)
        state = "holds no CIFAR-10" if folder.is_dir() else "not a folder" if folder.exists() else "no such folder"
    except OSError as error:
        state = f"cannot be read ({error.strerror or error})"
    fetching = "onecycle data fetch cifar10" + (f" --data-dir {shlex.quote(str(data_dir))}" if data_dir else "")
    raise UserError(
        f"{folder}: {state}; {FOLDER}/ or {CIFAR10.name} is needed in it: `{fetching}` gets it, or put "
        f"{CIFAR10.urls[0]} there, or name the folder that has it with --data-dir or ONECYCLE_DATA"
    )


def _in_folder(folder: Path) -> Mapping[str, _BatchFile]:
    missing = [name for name in OFFICIAL if not (folder / name).exists()]
    if missing:
        raise UserError(
            f"{folder}: {', '.join(missing)} missing; all of {', '.join(OFFICIAL)} are needed: "
            "remove the folder, and `onecycle data fetch cifar10` gets all anew"
        )
    return {name: _BatchFile(str(folder / name), name) for name in OFFICIAL}


def _in_archive(archive: Path) -> Mapping[str, _BatchFile]:
    """Read the members of exactly the expected names into memory; all others are skipped, none is extracted."""
    files: dict[str, _BatchFile] = {}
    try:
        with (
            _Limited(archive, "rb") as unpacked,
            tarfile.open(fileobj=unpacked, mode="r|", bufsize=2**20) as tar,
        ):
            while len(files) < len(OFFICIAL) and (member := tar.next()) is not None:
                folder, _, name = member.name.rpartition("/")
                stream = tar.extractfile(member) if member.isreg() else None
                if folder == FOLDER and name in OFFICIAL and stream:
                    where = f"{archive}:{member.name}"
                    files[name] = _BatchFile(where, name, _read_bounded(stream, where))
    except UserError:
        raise
    except gzip.BadGzipFile as error:
        raise _damaged_archive(archive, str(error)) from None
    except OSError as error:
        raise UserError(f"{archive}: cannot be read ({error.strerror or error})") from None
    except (tarfile.TarError, zlib.error, EOFError, ArithmeticError, LookupError, ValueError) as error:
        # The last three: what tarfile lets through of headers that hold nonsense.
        raise _damaged_archive(archive, str(error) or type(error).__name__) from None
    missing = [name for name in OFFICIAL if name not in files]
    if missing:
        raise _damaged_archive(archive, f"{', '.join(missing)} missing in {FOLDER}/")
    return files


class _Limited(gzip.GzipFile):
    """The unpacked archive, up to the size that it may have: a few kilobytes can unpack to as many gigabytes."""

    left = MAX_ARCHIVE_BYTES

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(size)
        self.left -= len(content)
        if self.left < 0:
            raise tarfile.ReadError(f"more than {MAX_ARCHIVE_BYTES} bytes when unpacked")
        return content


def _damaged_archive(archive: Path, reason: str) -> UserError:
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    digests = "" if found == CIFAR10.md5 else f" (MD5 {found}; the official file has {CIFAR10.md5})"
    return UserError(
        f"{archive}: damaged ({' '.join(reason.split())}); the official archive of {CIFAR10.size} bytes is needed"
        f"{digests}: `onecycle data fetch cifar10` gets it anew"
    )


def _read_bounded(file: IO[bytes], where: str) -> bytes:
    content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise UserError(f"{where}: larger than {MAX_FILE_BYTES} bytes; CIFAR-10's batch files have 31 million")
    return content


def _parse(file: _BatchFile) -> tuple[bytes, dict[bytes, object]]:
    content = file.read()
    size, official = OFFICIAL[file.name]
    if len(content) == size and hashlib.md5(content, usedforsecurity=False).hexdigest() != official:
        raise file.damaged("damaged", content)
    try:
        return content, read_batch_pickle(content)
    except BatchFormatError as error:
        raise file.damaged(str(error), content) from None


def _classes(file: _BatchFile) -> tuple[str, ...]:
    content, meta = _parse(file)
    names = meta.get(b"label_names")
    if type(names) is not list or len(names) != _CLASS_COUNT or not all(type(name) is bytes for name in names):
        raise file.damaged(f"has no label_names, a list of {_CLASS_COUNT} names", content)
    try:
        classes = tuple(name.decode() for name in names)
    except UnicodeDecodeError:
        raise file.damaged("has label_names that are not UTF-8", content) from None
    if len(set(classes)) != _CLASS_COUNT:
        raise file.damaged("has label_names that repeat", content)
    return classes


def _image_set(batches: Sequence[_Batch], classes: tuple[str, ...]) -> ImageSet:
    labels = np.concatenate([labels for _, labels in batches])
    images_nhwc = np.empty((len(labels), _SIDE, _SIDE, 3), np.uint8)
    start = 0
    for planes, _ in batches:
        part = images_nhwc[start : start + len(planes)].reshape(-1, _SIDE * _SIDE, 3)
        # A file has an image's red plane first, then green, then blue; plane by plane is twice as fast as a transpose.
        for channel, plane in enumerate(np.split(planes, 3, axis=1)):
            part[:, :, channel] = plane
        start += len(planes)
    return ImageSet(images_nhwc, labels, classes)


def _batch(file: _BatchFile) -> _Batch:
    """The pixels [N, 3072] and labels [N] of one file."""
    content, batch = _parse(file)
    planes, labels = batch.get(b"data"), batch.get(b"labels")
    if not isinstance(planes, np.ndarray) or planes.shape[1] != 3 * _SIDE * _SIDE:
        shape = f" but {list(planes.shape)}" if isinstance(planes, np.ndarray) else ""
        raise file.damaged(f"has no data of uint8 [N, {3 * _SIDE * _SIDE}]{shape}", content)
    if type(labels) is not list or len(labels) != len(planes):
        raise file.damaged(f"has no labels, a list of {len(planes)}", content)
    if not all(type(label) is int and 0 <= label < _CLASS_COUNT for label in labels):
        raise file.damaged(f"has labels that are not 0 to {_CLASS_COUNT - 1}", content)
    return planes, np.array(labels, np.int64)
