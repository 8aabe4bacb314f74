"""Servers and kills, in short; the long version is `python -m torture downloads`."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hostile_server import serving
from torture import downloads

from onecycle.data import fetch as fetching

CONTENT = np.random.default_rng(0).bytes(downloads.SIZE)


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in downloads.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def test_mirrors_of_random_behaviour(tmp_path: Path) -> None:
    with serving(CONTENT) as server:
        downloads.mirrors(server, tmp_path, 0, 40).check()


def test_processes_killed_and_many_at_once(tmp_path: Path) -> None:
    with serving(CONTENT) as server:
        killed = downloads.killed(server, tmp_path / "killed", 0, 5)
        killed.check()
        assert not killed.figure.startswith("0 were still at it")
        downloads.at_once(server, tmp_path / "at_once", 0, 2).check()


def test_what_is_not_verified_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sized(path: Path, archive: fetching.Archive) -> bool:
        return path.is_file() and path.stat().st_size == archive.size

    monkeypatch.setattr(fetching, "_verified", sized)
    with serving(CONTENT) as server:
        lost = downloads.mirrors(server, tmp_path, 0, 25).lost
    assert any("it says that the file is there, and it is not" in line for line in lost)


def test_what_is_written_under_its_final_name_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    download = fetching._download

    def in_place(url: str, archive: fetching.Archive, part: Path, *others: object) -> None:
        try:
            download(url, archive, part, *others)  # type: ignore[arg-type]
        finally:
            shutil.copy(part, part.with_name(archive.name))

    monkeypatch.setattr(fetching, "_download", in_place)
    with serving(CONTENT) as server:
        lost = downloads.mirrors(server, tmp_path, 0, 25).lost
    assert any("what has the final name is neither whole nor as it was" in line for line in lost)
