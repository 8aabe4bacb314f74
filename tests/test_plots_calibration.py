"""The calibration chart against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from onecycle import plots
from onecycle.evaluation import evaluate


def test_the_bars_are_what_scikit_learn_counts() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 1, (500, 2)).astype(np.float32)
    labels = (random.random(500) < 0.5).astype(np.int64)
    found = evaluate(logits, labels, ("a", "b")).calibration
    chances = np.exp(logits.astype(float)) / np.exp(logits.astype(float)).sum(1, keepdims=True)
    expected, sure = calibration_curve(chances.argmax(1) == labels, chances.max(1), n_bins=15)
    figure = plots.reliability(found, "a run")
    accuracy, images = figure.axes
    assert [bar.get_height() for bar in accuracy.patches] == pytest.approx(expected)
    np.testing.assert_allclose(accuracy.lines[1].get_xdata(), sure)
    assert sum(bar.get_height() for bar in images.patches) == 500
    assert all(bar.get_x() >= 7 / 15 - 1e-9 for bar in accuracy.patches)  # of two classes one has half at least
    points = 100 * (chances.max(1) - (chances.argmax(1) == labels)).mean()
    assert figure.get_suptitle() == f"a run\nECE {found.ece:.1%}, on average {points:.1f} points too sure"


@pytest.mark.parametrize(
    "wrong, said",
    [(0, "as sure as right"), (1, "10.0 points too sure")],
)
def test_how_sure_a_net_is_in_words(wrong: int, said: str) -> None:
    logits = np.tile(np.array([40, 0], np.float32), (10, 1))
    labels = (np.arange(10) < wrong).astype(np.int64)
    figure = plots.reliability(evaluate(logits, labels, ("a", "b")).calibration, "a run")
    assert figure.get_suptitle().endswith(f"on average {said}")
    figure.draw_without_rendering()


def test_a_net_may_be_too_unsure() -> None:
    logits = np.zeros((10, 4), np.float32)
    figure = plots.reliability(evaluate(logits, np.zeros(10, np.int64), tuple("abcd")).calibration, "a run")
    assert figure.get_suptitle().endswith("ECE 75.0%, on average 75.0 points too unsure")
