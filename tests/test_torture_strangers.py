"""Files from strangers, in short; and that the torture sees where something is let in."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torture import stranger_runs, stranger_texts, strangers
from torture.hostile_pictures import HOSTILE
from torture.hostile_weights import checkpoints, predictions, weights
from torture.tally import Tally
from torture.worker import cases

from onecycle.data import decode
from onecycle.progress.console import Console
from onecycle.reporting import rendering
from onecycle.run import Run

SLOW = (
    "million",
    "900 scans",
    "1000 scans",
    "one scan",
    "12 bits",
    "bursts",
    "100 times",
    "MB",
    "tensors",
    "bomb",
    "10^",
)
SLOW += ("100,000", "too large", "blanks", "runs jump", "ends of lines")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("strangers")


def tried(judge: Callable[[Path, int, int], str | None], folder: Path, numbers: list[int]) -> Tally:
    """These cases, in this process."""
    tally = Tally(judge.__name__)
    for number in numbers:
        tally.add(judge(folder, 0, number))
    return tally


def quick(names: list[str], every: int = 1) -> list[int]:
    """The places of some cases that take no time."""
    return [place for place, name in enumerate(names) if not any(word in name for word in SLOW)][::every]


def names_of(folder: Path, collection: Callable[[Path, bytes], dict[str, Any]]) -> list[str]:
    return list(collection(folder / "canary", bytes(100)))


def test_images_mutated(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tried(strangers.image_mutated, folder, list(range(500))).check()
    assert capfd.readouterr() == ("", "")


def test_images_made_to_hurt(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tried(strangers.image_hostile, folder, quick([name for name, _, _ in HOSTILE])).check()
    assert capfd.readouterr() == ("", "")


def test_weights_and_predictions_made_to_hurt(folder: Path) -> None:
    tried(stranger_runs.weights_hostile, folder, quick(names_of(folder, weights), 3)).check()
    tried(stranger_runs.predictions_hostile, folder, quick(names_of(folder, predictions))).check()
    tried(stranger_runs.weights_mutated, folder, list(range(30))).check()
    tried(stranger_runs.predictions_mutated, folder, list(range(30))).check()


def test_checkpoints_made_to_hurt(folder: Path) -> None:
    names = names_of(folder, checkpoints)
    states = [place for place, name in enumerate(names) if name.startswith("state") and "tensor" not in name]
    tried(stranger_runs.checkpoint_hostile, folder, states).check()
    tried(stranger_runs.checkpoint_state, folder, [2, 3, 4, 5, 26, 40, 49, 81]).check()
    tried(stranger_runs.checkpoint_mutated, folder, list(range(60))).check()


def test_texts_made_to_hurt(folder: Path) -> None:
    tried(stranger_texts.terminal, folder, list(range(1, len(stranger_texts.TEXTS), 3))).check()
    tried(stranger_texts.yaml, folder, list(range(stranger_texts.COUNTS["yaml"]))).check()
    tried(stranger_texts.page, folder, [0, 102]).check()


def test_it_is_seen_where_a_costly_image_is_let_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    number = next(place for place, one in enumerate(HOSTILE) if one[0] == "JPEG of 10,000 scans")
    monkeypatch.setattr(decode, "_check_cost", lambda image, content: None)
    assert tried(strangers.image_hostile, folder, [number]).lost == [
        "JPEG of 10,000 scans: image, where refused is expected"
    ]


def test_it_is_seen_where_a_pickle_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    number = names_of(folder, predictions).index("a pickle")
    monkeypatch.setattr(Run, "predictions", lambda run: pickle.load(io.BytesIO(run.content("predictions.npz"))))
    (failure,) = tried(stranger_runs.predictions_hostile, folder, [number]).lost
    assert "code was run" in failure and "pickle.find_class" in failure


def test_it_is_seen_where_a_terminal_would_obey(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Console, "render")
    number = stranger_texts.TEXTS.index("\x1b[2J\x1b[1;1H")
    (failure,) = tried(stranger_texts.terminal, folder, [number]).lost
    assert "compare printed ['\\x1b']" in failure


def test_it_is_seen_where_a_page_does_not_escape(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = rendering._environment.__wrapped__()
    environment.autoescape = False
    monkeypatch.setattr(rendering, "_environment", lambda: environment)
    assert "other elements" in (stranger_texts.page(folder, 0, 0) or "")


def test_it_is_seen_where_a_case_ends_its_process(tmp_path: Path) -> None:
    failures = [case.failure for case in cases("torture.crashing:crash_first", tmp_path, 0, 4)]
    assert failures == ["ended the process with -9: ", "printed: hello\n", "it does not hold", None]
