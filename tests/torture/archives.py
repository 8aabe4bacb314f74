"""Data files and archives that lie: CIFAR's, in its folder and packed.

Each case ends in the official arrays bit for bit or in one line that names the file; nothing in a file is run, nothing
is written, and time and memory have bounds. "Official" are small files whose sizes and MD5 are put into the layout. A
file of another size may be read, as the layout has it; then Python's own unpickler must read the same from it.
"""

from __future__ import annotations

import io
import pickle
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from hashlib import md5
from pathlib import Path
from typing import TypeVar

import numpy as np
from cifar_files import small_cifar10, small_cifar100
from numpy._core.multiarray import _reconstruct

from onecycle import Dataset, ImageSet, UserError
from onecycle.data import cifar
from onecycle.data.cifar100 import LAYOUT as CIFAR100
from onecycle.data.cifar_source import Layout
from torture import pickles, tars
from torture.guarded import caught, memory_limit, watched
from torture.tally import Tally, at_least

T = TypeVar("T")
MEMORY = 2**30  # of address space that a load may take beyond what there was
SECONDS = 20.0  # of the processor's; what is slowest takes a few


def attacks(folder: Path, seed: int, share: float) -> Iterator[Tally]:
    """The attacks of this part; see the package."""
    sets = [make_official(folder, cifar.LAYOUT, small_cifar10(2)), make_official(folder, CIFAR100, small_cifar100(2))]
    yield mutated_files(sets, seed, at_least(10_000, share))
    yield gadgets_in(sets, folder, seed, share)
    yield pickle_bombs(sets, seed, share)
    yield mutated_archives(sets, seed, at_least(4_000, share))
    yield lying_archives(sets, seed, share)
    yield archive_bombs(sets, seed, share)


@dataclass(frozen=True)
class Official:
    """A small set that stands for the official one."""

    layout: Layout
    contents: Mapping[str, bytes]
    data_dir: Path
    arrays: Dataset

    @property
    def folder(self) -> Path:
        return self.data_dir / self.layout.folder

    @property
    def archive(self) -> Path:
        return self.data_dir / "archive" / self.layout.archive.name

    def tar(self) -> bytes:
        return tars.tar_of({f"{self.layout.folder}/{name}": content for name, content in self.contents.items()})


def make_official(folder: Path, layout: Layout, contents: Mapping[str, bytes]) -> Official:
    data_dir = folder / layout.name
    (data_dir / layout.folder).mkdir(parents=True)
    (data_dir / "archive").mkdir()
    for name, content in contents.items():
        (data_dir / layout.folder / name).write_bytes(content)
    small = replace(layout, files={name: (len(one), md5(one).hexdigest()) for name, one in contents.items()})
    arrays = cifar.load(small, data_dir, 32)  # imports what threads need, too, before anything is watched
    return Official(small, contents, data_dir, arrays)


@dataclass(frozen=True)
class Outcome:
    """How loading a set with one file that lies ended; `failure` is what did not hold."""

    failure: str | None
    seconds: float
    refused: bool


def _load(official: Official, culprit: Path, *, other_size: bytes | None = None) -> Outcome:
    """Load the set in the folder of `culprit`, the file that lies.

    `other_size` is the culprit's content where it may be read although it is not the official file.
    """
    data_dir = culprit.parent
    before = _listing(data_dir)
    with memory_limit(MEMORY), watched() as watch:
        dataset, error = caught(partial(cifar.load, official.layout, data_dir, 32))
    problems = []
    if watch.events:
        problems.append(f"it did {watch.events[:3]}")
    if watch.seconds > SECONDS:
        problems.append(f"it took {watch.seconds:.1f} s")
    if _listing(data_dir) != before:
        problems.append("it left files behind")
    if isinstance(error, UserError):
        if len(error.problems) != 1 or "\n" in str(error) or not str(error).startswith(str(culprit)):
            problems.append(f"the message does not name the file: {error}")
        elif len(str(error)) > 1000:
            problems.append(f"the message has {len(str(error))} letters")
    elif error is not None:
        problems.append(f"{type(error).__name__}: {error}"[:200])
    elif isinstance(dataset, Dataset) and not _same(dataset, official.arrays):
        expected, _ = caught(partial(_as_pickle_reads, official, culprit.name, other_size or b""))
        if not isinstance(expected, Dataset) or not _same(dataset, expected):
            problems.append("other arrays were taken for the official ones")
    return Outcome("; ".join(problems) or None, watch.seconds, error is not None)


def mutated_files(sets: list[Official], seed: int, count: int) -> Tally:
    tally, slowest, refused = Tally("batch files, bytes and opcodes mutated"), 0.0, 0
    for number in range(count):
        random = np.random.default_rng((seed, 1, number))
        official = sets[number % len(sets)]
        name = str(random.choice(list(official.contents)))
        content = pickles.mutated(official.contents[name], random)
        path = official.folder / name
        path.write_bytes(content)
        # At the official size the digest decides.
        other = content if len(content) != len(official.contents[name]) else None
        outcome = _load(official, path, other_size=other)
        tally.add(outcome.failure and f"case {number} of seed {seed}, {official.layout.name} {name}: {outcome.failure}")
        slowest, refused = max(slowest, outcome.seconds), refused + outcome.refused
        path.write_bytes(official.contents[name])
    tally.figure = f"{refused:,} refused, slowest {slowest:.2f} s"
    return tally


def gadgets_in(sets: list[Official], folder: Path, seed: int, share: float) -> Tally:
    tally, sentinel = Tally("pickles that try to run code"), folder / "was_run"
    cases = [
        (official, name, what, where, content)
        for official in sets
        for name in (official.layout.train_files[0], official.layout.meta_file)
        for what, gadget in pickles.gadgets(sentinel).items()
        for where, content in pickles.placed(gadget, official.contents[name]).items()
    ]
    for official, name, what, where, content in _some(cases, seed, share):
        path = official.folder / name
        path.write_bytes(content)
        outcome = _load(official, path)
        if sentinel.exists():
            outcome = replace(outcome, failure=f"it was run; {outcome.failure}")
            sentinel.unlink()
        tally.add(outcome.failure and f"{what}, {where}, as {official.layout.name} {name}: {outcome.failure}")
        path.write_bytes(official.contents[name])
    return tally


def pickle_bombs(sets: list[Official], seed: int, share: float) -> Tally:
    tally, slowest = Tally("pickles that are bombs"), (0.0, "")
    cases = [(official, what) for official in sets for what in pickles.BOMBS]
    for official, what in _some(cases, seed, share, least=1):
        content = pickles.BOMBS[what]()
        path = official.folder / official.layout.test_files[0]
        path.write_bytes(content)
        outcome = _load(official, path)
        tally.add(outcome.failure and f"{what} in {official.layout.name}: {outcome.failure}")
        slowest = max(slowest, (outcome.seconds, what))
        path.write_bytes(official.contents[path.name])
    tally.figure = f"slowest {slowest[0]:.1f} s ({slowest[1]}), at most {MEMORY / 2**30:.0f} GiB"
    return tally


def mutated_archives(sets: list[Official], seed: int, count: int) -> Tally:
    tally, refused = Tally("archives, packed bytes and headers mutated"), 0
    for number in range(count):
        random = np.random.default_rng((seed, 2, number))
        official = sets[number % len(sets)]
        tar = official.tar()
        official.archive.write_bytes(tars.mutated(tar, _headers(official), random))
        outcome = _load(official, official.archive)
        tally.add(outcome.failure and f"case {number} of seed {seed}, {official.layout.name}: {outcome.failure}")
        refused += outcome.refused
        official.archive.unlink()
    tally.figure = f"{refused:,} refused"
    return tally


def lying_archives(sets: list[Official], seed: int, share: float) -> Tally:
    tally, refused = Tally("archives whose members lie"), 0
    cases = [
        (official, what, make)
        for official in sets
        for what, make in tars.lies(official.layout.folder, official.layout.test_files[0]).items()
    ]
    for official, what, make in _some(cases, seed, share):
        official.archive.write_bytes(tars.packed(make(official.tar())))
        outcome = _load(official, official.archive)
        tally.add(outcome.failure and f"{what} in {official.layout.name}: {outcome.failure}")
        refused += outcome.refused
        official.archive.unlink()
    tally.figure = f"{refused} refused"
    return tally


def archive_bombs(sets: list[Official], seed: int, share: float) -> Tally:
    tally, slowest = Tally("archives that are bombs"), (0.0, "")
    official = sets[0]
    for what, make in _some(list(tars.bombs(official.layout.folder).items()), seed, share, least=1):
        official.archive.write_bytes(make())
        outcome = _load(official, official.archive)
        tally.add(outcome.failure and f"{what}: {outcome.failure}")
        slowest = max(slowest, (outcome.seconds, what))
        official.archive.unlink()
    tally.figure = f"slowest {slowest[0]:.1f} s ({slowest[1]}), at most {MEMORY / 2**30:.0f} GiB"
    return tally


def _headers(official: Official) -> list[int]:
    """Where the headers of the tar begin."""
    positions, position = [], 0
    for content in official.contents.values():
        positions.append(position)
        position += 512 + len(content) + -len(content) % 512
    return positions


def _listing(data_dir: Path) -> list[tuple[Path, int]]:
    """All files and folders there, and beside it, where `..` would lead."""
    places = [*data_dir.rglob("*"), *data_dir.parent.iterdir()]
    return sorted((path, 0 if path.is_dir() else path.lstat().st_size) for path in places)


def _some(cases: list[T], seed: int, share: float, least: int = 3) -> list[T]:
    """All cases at share 1, else a random part."""
    chosen = np.random.default_rng((seed, 3)).permutation(len(cases))[: at_least(len(cases), share, least)]
    return [cases[number] for number in chosen]


def _same(one: Dataset, other: Dataset) -> bool:
    return all(left.fingerprint() == right.fingerprint() for left, right in zip(one, other, strict=True))


class _Restricted(pickle._Unpickler):
    """Python's own, allowed the three names that batch files need; the one in C makes room for every memo index."""

    def find_class(self, module: str, name: str) -> object:
        return {"_reconstruct": _reconstruct, "ndarray": np.ndarray, "dtype": np.dtype}[name]


def _as_pickle_reads(official: Official, name: str, content: bytes) -> Dataset:
    """The set with `content` in place of the file `name`, by Python's own unpickler and a transpose of NumPy's."""
    layout, found = official.layout, {}
    for one, original in official.contents.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy's, of the way Python 2 wrote a dtype
            found[one] = _Restricted(io.BytesIO(content if one == name else original), encoding="bytes").load()
    classes = tuple(text.decode() for text in found[layout.meta_file][layout.names_key])

    def images(names: tuple[str, ...]) -> ImageSet:
        planes = np.concatenate([found[one][b"data"] for one in names])
        labels = np.concatenate([np.array(found[one][layout.labels_key], np.int64) for one in names])
        return ImageSet(np.ascontiguousarray(planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), labels, classes)

    return Dataset(images(layout.train_files), images(layout.test_files))
