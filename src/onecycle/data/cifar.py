"""CIFAR-10 from its official Python batch files; what is in such files, for CIFAR-100 too.

Alex Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009; https://www.cs.toronto.edu/~kriz/cifar.html
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .batch_pickle import BatchFormatError, read_batch_pickle
from .cifar_source import Layout, SourceFile, find
from .fetch import CIFAR10, data_folder
from .images import Dataset, ImageSet

LAYOUT: Final = Layout(
    title="CIFAR-10",
    name="cifar10",
    archive=CIFAR10,
    folder="cifar-10-batches-py",
    files={
        "data_batch_1": (31035704, "c99cafc152244af753f735de768cd75f"),
        "data_batch_2": (31035320, "d4bba439e000b95fd0a9bffe97cbabec"),
        "data_batch_3": (31035999, "54ebc095f3ab1f0389bbae665268c751"),
        "data_batch_4": (31035696, "634d18415352ddfa80567beed471001a"),
        "data_batch_5": (31035623, "482c414d41f54cd18b22e5b47cb7c3cb"),
        "test_batch": (31035526, "40351d587109b95175f43aff81a1287e"),
        "batches.meta": (158, "5ff9c542aee3614f3951f8cda6e48888"),
    },
    train_files=tuple(f"data_batch_{number}" for number in range(1, 6)),
    test_files=("test_batch",),
    meta_file="batches.meta",
    labels_key=b"labels",
    names_key=b"label_names",
    class_count=10,
    max_file_bytes=64 * 2**20,
)
SIDE: Final = 32
_READERS: Final = 3
_Batch: TypeAlias = tuple[NDArray[np.uint8], NDArray[np.int64]]


def cifar10(*, data_dir: Path | None = None, image_size: int = SIDE) -> Dataset:
    """Load CIFAR-10: 50,000 training and 10,000 test images of 32 x 32, ten classes.

    `data_dir` holds `cifar-10-batches-py/` or `cifar-10-python.tar.gz`, or is that folder; without it the environment
    variable ONECYCLE_DATA says where, else `~/.cache/onecycle`. A file of the official size must have the official MD5;
    other sizes are read as they are. Raises UserError where the data is missing or damaged.
    """
    return load(LAYOUT, data_dir, image_size)


def load(layout: Layout, data_dir: Path | None, image_size: int) -> Dataset:
    """Load a set of 32 x 32 images whose files are as `layout` says; see `cifar10`."""
    if image_size != SIDE:
        raise UserError(f"data.image_size is {image_size}; {layout.title} has {SIDE}")
    files = find(layout, data_folder(data_dir), data_dir)
    classes = _classes(files[layout.meta_file])
    # Reading, digests and copies let go of the interpreter, so threads shorten the wait.
    with ThreadPoolExecutor(_READERS) as pool:
        batches = list(pool.map(_batch, [files[name] for name in (*layout.train_files, *layout.test_files)]))
    train = len(layout.train_files)
    return Dataset(_image_set(batches[:train], classes), _image_set(batches[train:], classes))


def _parse(file: SourceFile) -> tuple[bytes, dict[bytes, object]]:
    content = file.read()
    try:
        return content, read_batch_pickle(content)
    except BatchFormatError as error:
        raise file.damaged(str(error), content) from None


def _classes(file: SourceFile) -> tuple[str, ...]:
    content, meta = _parse(file)
    count, key = file.layout.class_count, file.layout.names_key
    names = meta.get(key)
    if type(names) is not list or len(names) != count or not all(type(name) is bytes for name in names):
        raise file.damaged(f"has no {key.decode()}, a list of {count} names", content)
    try:
        classes = tuple(name.decode() for name in names)
    except UnicodeDecodeError:
        raise file.damaged(f"has {key.decode()} that are not UTF-8", content) from None
    if len(set(classes)) != count:
        raise file.damaged(f"has {key.decode()} that repeat", content)
    return classes


def _image_set(batches: Sequence[_Batch], classes: tuple[str, ...]) -> ImageSet:
    labels = np.concatenate([labels for _, labels in batches])
    images_nhwc = np.empty((len(labels), SIDE, SIDE, 3), np.uint8)
    start = 0
    for planes, _ in batches:
        part = images_nhwc[start : start + len(planes)].reshape(-1, SIDE * SIDE, 3)
        # A file has an image's red plane first, then green, then blue; plane by plane is twice as fast as a transpose.
        for channel, plane in enumerate(np.split(planes, 3, axis=1)):
            part[:, :, channel] = plane
        start += len(planes)
    return ImageSet(images_nhwc, labels, classes)


def _batch(file: SourceFile) -> _Batch:
    """The pixels [N, 3072] and labels [N] of one file."""
    content, batch = _parse(file)
    count, key = file.layout.class_count, file.layout.labels_key
    planes, labels = batch.get(b"data"), batch.get(key)
    if not isinstance(planes, np.ndarray) or planes.shape[1] != 3 * SIDE * SIDE:
        shape = f" but {list(planes.shape)}" if isinstance(planes, np.ndarray) else ""
        raise file.damaged(f"has no data of uint8 [N, {3 * SIDE * SIDE}]{shape}", content)
    if type(labels) is not list or len(labels) != len(planes):
        raise file.damaged(f"has no {key.decode()}, a list of {len(planes)}", content)
    if not all(type(label) is int and 0 <= label < count for label in labels):
        raise file.damaged(f"has {key.decode()} that are not 0 to {count - 1}", content)
    return planes, np.array(labels, np.int64)
