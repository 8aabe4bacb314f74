"""Writes files as CIFAR's own are: pickles of Python 2's cPickle, protocol 2, opcode by opcode."""

from __future__ import annotations

import io
import struct
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from onecycle.errors import UserError

FOLDER = "cifar-10-batches-py"
BATCHES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch")
FILES = (*BATCHES, "batches.meta")
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

FOLDER_100 = "cifar-100-python"
_FINE_100 = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard
    lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
    pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark
    shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone
    television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
_COARSE_100 = """
    aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices
    household_furniture insects large_carnivores large_man-made_outdoor_things large_natural_outdoor_scenes
    large_omnivores_and_herbivores medium_mammals non-insect_invertebrates people reptiles small_mammals trees
    vehicles_1 vehicles_2
"""
CLASSES_100 = tuple(_FINE_100.split())


def write_cifar10(folder: Path, images_per_file: int = 20, seed: int = 0) -> Path:
    """Write a small CIFAR-10 of random pixels to `folder`/cifar-10-batches-py, which is returned."""
    batches = folder / FOLDER
    batches.mkdir(parents=True)
    for name, content in small_cifar10(images_per_file, seed).items():
        (batches / name).write_bytes(content)
    return batches


def write_cifar10_archive(folder: Path, images_per_file: int = 20, seed: int = 0) -> Path:
    """Write the same as `folder`/cifar-10-python.tar.gz, which is returned."""
    files = {f"{FOLDER}/{name}": content for name, content in small_cifar10(images_per_file, seed).items()}
    return write_archive(folder / "cifar-10-python.tar.gz", {f"{FOLDER}/readme.html": b"<p>read me", **files})


def write_archive(path: Path, members: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def write_cifar100(folder: Path, images: int = 100, seed: int = 0) -> Path:
    """Write a small CIFAR-100, as many images to train as to test, to `folder`/cifar-100-python, which is returned."""
    files = folder / FOLDER_100
    files.mkdir(parents=True)
    for name, content in small_cifar100(images, seed).items():
        (files / name).write_bytes(content)
    return files


def small_cifar100(images: int, seed: int = 0) -> dict[str, bytes]:
    """The three files' contents; image i has label i % 100."""
    random = np.random.default_rng(seed)
    files = {"meta": meta_100_bytes()}
    for name in ("train", "test"):
        labels = [i % 100 for i in range(images)]
        files[name] = batch_100_bytes(random.integers(0, 256, (images, 3072), np.uint8), labels)
    return files


def small_cifar10(images_per_file: int, seed: int = 0) -> dict[str, bytes]:
    """The seven files' contents; image i of a file has label i % 10."""
    random = np.random.default_rng(seed)
    files = {"batches.meta": meta_bytes()}
    for name in BATCHES:
        pixels = random.integers(0, 256, (images_per_file, 3072), np.uint8)
        files[name] = batch_bytes(pixels, [i % 10 for i in range(images_per_file)])
    return files


def batch_bytes(
    pixels: NDArray[np.uint8],
    labels: Sequence[int],
    *,
    batch_label: bytes = b"training batch 1 of 5",
    filenames: Sequence[bytes] | None = None,
    module: bytes = b"numpy.core.multiarray",
) -> bytes:
    """A batch file of pixels [N, K] and N labels. Given the official values it is the official file, byte by byte."""
    names = [b"image_s_%06d.png" % i for i in range(len(labels))] if filenames is None else filenames
    pickle = Pickle()
    pickle.begin_dict()
    pickle.text(b"batch_label").text(batch_label)
    pickle.text(b"labels").list_of([integer(label) for label in labels])
    pickle.text(b"data").array(pixels, module)
    pickle.text(b"filenames").list_of(names, memoized=True)
    return pickle.end_dict()


def batch_100_bytes(
    pixels: NDArray[np.uint8],
    labels: Sequence[int],
    *,
    coarse_labels: Sequence[int] | None = None,
    batch_label: bytes = b"training batch 1 of 1",
    filenames: Sequence[bytes] | None = None,
) -> bytes:
    """A batch file of CIFAR-100: its keys come in another order, and each image has two labels."""
    names = [b"image_s_%06d.png" % i for i in range(len(labels))] if filenames is None else filenames
    coarse = [label // 5 for label in labels] if coarse_labels is None else coarse_labels
    pickle = Pickle()
    pickle.begin_dict()
    pickle.text(b"filenames").list_of(names, memoized=True)
    pickle.text(b"batch_label").text(batch_label)
    pickle.text(b"fine_labels").list_of([integer(label) for label in labels])
    pickle.text(b"coarse_labels").list_of([integer(label) for label in coarse])
    pickle.text(b"data").array(pixels, b"numpy.core.multiarray")
    return pickle.end_dict()


def meta_100_bytes(classes: Sequence[str] = CLASSES_100) -> bytes:
    """CIFAR-100's file `meta`, of official content by default."""
    pickle = Pickle()
    pickle.begin_dict()
    pickle.text(b"fine_label_names").list_of([name.encode() for name in classes], memoized=True)
    pickle.text(b"coarse_label_names").list_of([name.encode() for name in _COARSE_100.split()], memoized=True)
    return pickle.end_dict()


def meta_bytes(classes: Sequence[str] = CLASSES) -> bytes:
    """The file batches.meta, of official content by default."""
    pickle = Pickle()
    pickle.begin_dict()
    pickle.text(b"num_cases_per_batch").raw(integer(10000))
    pickle.text(b"label_names").list_of([name.encode() for name in classes], memoized=True)
    pickle.text(b"num_vis").raw(integer(3072))
    return pickle.end_dict()


def integer(value: int) -> bytes:
    """The shortest of BININT1, BININT2 and BININT."""
    if 0 <= value < 256:
        return b"K" + struct.pack("<B", value)
    return b"M" + struct.pack("<H", value) if 0 <= value < 65536 else b"J" + struct.pack("<i", value)


def string(value: bytes) -> bytes:
    """SHORT_BINSTRING, or BINSTRING."""
    return b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + struct.pack("<i", len(value)) + value


class Pickle:
    """A pickle that grows opcode by opcode; cPickle numbers what it memoizes from 1."""

    def __init__(self) -> None:
        self._parts: list[bytes] = [b"\x80\x02"]
        self._memoized = 0

    def raw(self, opcodes: bytes) -> Pickle:
        self._parts.append(opcodes)
        return self

    def memoize(self) -> Pickle:
        self._memoized += 1
        number = self._memoized
        return self.raw(b"q" + bytes([number]) if number < 256 else b"r" + struct.pack("<I", number))

    def text(self, value: bytes) -> Pickle:
        return self.raw(string(value)).memoize()

    def begin_dict(self) -> Pickle:
        return self.raw(b"}").memoize().raw(b"(")

    def end_dict(self) -> bytes:
        return b"".join([*self._parts, b"u."])

    def list_of(self, items: Sequence[bytes], *, memoized: bool = False) -> Pickle:
        """A list of opcodes, or of texts where `memoized`; cPickle appends them by the thousand."""
        self.raw(b"]").memoize()
        for start in range(0, len(items), 1000):
            self.raw(b"(")
            for item in items[start : start + 1000]:
                self.text(item) if memoized else self.raw(item)
            self.raw(b"e")
        return self

    def array(self, pixels: NDArray[np.uint8], module: bytes) -> Pickle:
        self.raw(b"c" + module + b"\n_reconstruct\n").memoize().raw(b"cnumpy\nndarray\n").memoize()
        self.raw(b"K\x00\x85U\x01b\x87R").memoize()
        self.raw(b"(K\x01" + b"".join(integer(side) for side in pixels.shape) + b"\x86")
        self.raw(b"cnumpy\ndtype\n").memoize().raw(b"U\x02u1K\x00K\x01\x87R").memoize()
        self.raw(b"(K\x03U\x01|NNN" + integer(-1) * 2 + b"K\x00tb\x89")
        return self.raw(string(pixels.tobytes()) + b"tb")


def failure(call: Callable[[], object]) -> str:
    """The one line of the UserError that `call` raises."""
    with pytest.raises(UserError) as caught:
        call()
    assert len(caught.value.problems) == 1
    message = str(caught.value)
    assert "\n" not in message
    return message
