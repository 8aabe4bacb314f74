"""Full and failing disks, in short; and that the torture loses where files are not written atomically."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
from torture import disks, small_runs
from torture.faulty_disk import Disk
from torture.full_downloads import fetched

from onecycle import files


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[disks.Bench]:
    with small_runs.quickly():
        yield disks.Bench(tmp_path_factory.mktemp("disks"))


def test_a_training_survives_its_disk(bench: disks.Bench) -> None:
    with small_runs.quickly():
        bench.operations(0, 0.01).check()
        bench.file_sizes(0, 0.02).check()


def test_a_small_file_system(bench: disks.Bench) -> None:
    with small_runs.quickly():
        tally = bench.small_file_systems(0, 0.02)
    if not tally.tried:
        pytest.skip(tally.figure)
    tally.check()


def test_pictures_report_range_test_and_downloads(bench: disks.Bench, tmp_path: Path) -> None:
    with small_runs.quickly():
        bench.results(0, 0.01).check()
    fetched(tmp_path, 0, 0.1).check()


def test_a_second_training_in_the_folder_is_told(bench: disks.Bench) -> None:
    with small_runs.quickly():
        bench.two_on_one_folder(0, 0.02).check()


def test_it_loses_without_atomic_writes(bench: disks.Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def in_place(target: Path) -> Iterator[Path]:
        with files.disk_errors(target):
            yield target

    monkeypatch.setattr(files, "atomic_path", in_place)
    with small_runs.quickly():
        failures = [bench.case(Disk(bench.path.parent, errno.ENOSPC, at, lasting=True).watched()) for at in (1, 2, 3)]
    assert any(failures), "files written in place were not noticed"
