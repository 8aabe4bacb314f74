"""Fixtures of the tests of the benchmarks of speed, which name this module as a plugin."""

import sys
from pathlib import Path
from typing import Any

import pytest
import small
from speed_benchmarks import PEER, script

import onecycle


@pytest.fixture
def modules_forgotten(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The scripts and peers that a test imports are not there for the next."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.split(".")[0] in {
            "measuring",
            "fast",
            "gpu",
            "airbench",
            "convolutions",
            "scaling",
            "step_profile",
            "step_by_step",
            "airbench94_muon",
        }:
            del sys.modules[name]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a peer."""
    (tmp_path / "peer").mkdir()
    (tmp_path / "peer" / "airbench94_muon.py").write_text(PEER)
    return tmp_path / "peer"


@pytest.fixture
def small_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Matrices of a few rows, wherever their rate is measured."""
    rates = script("measuring.rates", monkeypatch)
    measured = rates.matrix_gflops
    monkeypatch.setattr(rates, "matrix_gflops", lambda device, precision, **_: measured(device, precision, side=64))


@pytest.fixture
def no_cifar(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small images in the place of CIFAR-10's."""
    images = small.dataset()
    monkeypatch.setattr("onecycle.data.cifar.cifar10", lambda **options: images)
    monkeypatch.setattr(onecycle.data, "cifar10", lambda: images)
