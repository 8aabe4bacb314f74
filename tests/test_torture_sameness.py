"""The same again, in short: the shipped nets in processes of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torture import sameness
from torture.sameness import VARIANTS, resumed_anywhere

CHEAP = "whitened_convnet, bf16, muon, hardest, resize"


def test_a_shipped_net_on_two_threads_again_and_resumed(tmp_path: Path) -> None:
    resumed_anywhere(tmp_path, CHEAP, (2,), 0, 0.15).check()


def test_every_net_optimizer_and_precision_is_among_the_variants() -> None:
    said = " ".join(VARIANTS)
    for word in ("custom_resnet", "compact", "whitened_convnet", "adam,", "adamw", "sgd", "muon", "fp32", "bf16"):
        assert word in said
    for word in ("hardest", "resize", "ema", "plateau"):
        assert word in said


def test_a_difference_in_one_bit_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The torture loses where weights differ in their last bit alone."""
    original = sameness.content
    calls: list[Path] = []

    def flipped(run: Path) -> dict[str, object]:
        found = original(run)
        calls.append(run)
        if len(calls) == 2:
            name = sorted(found["weights"])[0]
            content = np.frombuffer(found["weights"][name], np.uint8).copy()
            content[0] ^= 1
            found["weights"][name] = content.tobytes()
        return found

    monkeypatch.setattr(sameness, "content", flipped)
    tally = resumed_anywhere(tmp_path, CHEAP, (1,), 0, 0.0)
    assert tally.tried == 2 and tally.lost == ["1 threads, stopped after step 0 (0: not at all): not equal: weights"]
