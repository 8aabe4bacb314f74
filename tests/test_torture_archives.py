"""Data files and archives that lie, in short; the long version is `python -m torture archives`."""

from __future__ import annotations

import dataclasses
import pickle
import tarfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import pytest
from torture import archives, pickles
from torture.tally import Tally

from onecycle.data import cifar, cifar_source


def tallies(folder: Path, share: float) -> dict[str, Tally]:
    return {tally.attack: tally for tally in archives.attacks(folder, 0, share)}


def test_nothing_that_lies_is_taken_or_run(tmp_path: Path) -> None:
    found = tallies(tmp_path, 0.005)
    assert len(found) == 6
    for tally in found.values():
        tally.check()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_ordinary_unpickler_loses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unpickled(content: bytes) -> object:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy's, of the way Python 2 wrote a dtype
            return pickle.loads(content, encoding="bytes")

    sets = [archives.make_official(tmp_path, cifar.LAYOUT, archives.small_cifar10(2))]
    gadget = pickles.gadgets(tmp_path / "was_run")["posix.system"]
    monkeypatch.setattr(pickles, "gadgets", lambda sentinel: {"posix.system": gadget})
    monkeypatch.setattr(cifar, "read_batch_pickle", unpickled)
    lost = archives.gadgets_in(sets, tmp_path, 0, 1.0).lost
    assert any("it was run" in line for line in lost)
    assert any("it did" in line for line in lost)


def test_tarfile_loses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def members(file: IO[bytes], wanted: Mapping[bytes, str], max_bytes: int) -> dict[bytes, bytes]:
        with tarfile.open(fileobj=file, mode="r|gz") as tar:
            return {one.name.encode(): tar.extractfile(one).read() for one in tar if one.name.encode() in wanted}  # type: ignore[union-attr]

    monkeypatch.setattr(cifar_source, "read_members", members)
    sets = [archives.make_official(tmp_path, cifar.LAYOUT, archives.small_cifar10(2))]
    assert archives.lying_archives(sets, 0, 0.3).lost


def test_pixels_that_nobody_verifies_are_lost(tmp_path: Path) -> None:
    one = archives.make_official(tmp_path, cifar.LAYOUT, archives.small_cifar10(2))
    unverified = dataclasses.replace(one.layout, files=dict.fromkeys(one.contents, (0, "")))
    lost = archives.mutated_files([dataclasses.replace(one, layout=unverified)], 0, 60).lost
    assert any("other arrays were taken for the official ones" in line for line in lost)
