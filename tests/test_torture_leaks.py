"""What is left over, in short; `python -m torture leaks` is the long version, and measures memory too."""

from __future__ import annotations

import os
import random
import threading
import warnings
from pathlib import Path

import pytest
import small
from torch import nn
from torture import leaks
from torture.holdings import changed, holdings

from onecycle.explanation import grad_cam


def test_nothing_is_left(tmp_path: Path) -> None:
    slow = ("train a registered net", "report", "compare", "evaluate other images")
    leaks.nothing_left(tmp_path, times=1, without=slow).check()


def test_a_hook_that_stays_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stays:
        def remove(self) -> None:
            """Not."""

    def of(net: nn.Module, name: str) -> nn.Module:
        layer = net.get_submodule(name)
        register = layer.register_forward_hook

        def registered(hook: object) -> Stays:
            register(lambda *arguments: None)
            register(hook)
            return Stays()

        monkeypatch.setattr(layer, "register_forward_hook", registered, raising=False)
        return layer

    monkeypatch.setattr(grad_cam, "layer_of", of)
    explained = leaks.deeds(tmp_path)["explain and draw"]
    monkeypatch.setattr(leaks, "deeds", lambda folder: {"explain": explained})
    tally = leaks.nothing_left(tmp_path, times=1)
    assert tally.tried == 1 and "hooks: " in tally.lost[0]


def test_memory_that_grows_is_lost() -> None:
    assert leaks._grown("trainings", [100, 103, 101, 104, 105] * 10).lost == []
    (line,) = leaks._grown("trainings", [*[100] * 10, *range(100, 140)]).lost
    assert line.startswith("+39.0% of 0 MB over 50 trainings")


def test_what_is_held_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = holdings()
    assert changed(before, holdings()) is None
    net, goes_on = small.net(), threading.Event()
    net.register_forward_hook(lambda *arguments: None)
    thread = threading.Thread(target=goes_on.wait)
    thread.start()
    random.random()
    monkeypatch.setenv("LEFT", "over")
    with (tmp_path / "open").open("w"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seen = changed(before, holdings()) or ""
    goes_on.set()
    thread.join()
    for what in ("threads", "open files", "layers", "hooks", "random states", "environment", "warning filters"):
        assert f"{what}: " in seen
    assert os.environ.get("LEFT") == "over"
