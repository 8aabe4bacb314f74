"""Damaged files of runs, in short; and that the torture loses where what protects them is taken away."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from torture import damage, small_runs

from onecycle import run


@pytest.fixture(scope="module")
def benches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, damage.Bench]]:
    """An ended run without a range test, which takes longest, and a stopped one."""
    folder = tmp_path_factory.mktemp("damage")
    with small_runs.quickly():
        made = {"ended": small_runs.train, "stopped": lambda path: small_runs.stopped(path, 5)}
        yield {name: damage.Bench(folder / name, make) for name, make in made.items()}


@pytest.mark.parametrize("name", ["ended", "stopped"])
def test_no_damaged_file_is_taken_for_a_whole_one(benches: dict[str, damage.Bench], name: str) -> None:
    with small_runs.quickly():
        benches[name].damaged(name, 0, 0.008).check()
        benches[name].unreadable(name, 0, 0.02).check()


@contextlib.contextmanager
def digit_changed(bench: damage.Bench) -> Iterator[None]:
    path = bench.path / "metrics.csv"
    path.write_text(path.read_text().replace("0.", "1."))
    yield


def test_it_loses_without_the_digests(benches: dict[str, damage.Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run.Run, "_digests", lambda self: {})
    with small_runs.quickly():
        failure = benches["ended"].case("metrics.csv", "load", digit_changed(benches["ended"]))
    assert failure == "another answer, and nothing is said"
