"""Charts within a page: they are read back from the SVG, and compared with the numbers that were drawn."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray

from onecycle.evaluation import evaluate
from onecycle.plots import inline
from onecycle.plots.inline import COLOURS, Chart, Marks

METRICS = [
    {"epoch": 1, "train_accuracy": 0.4, "test_accuracy": 0.45, "train_loss": 1.6, "test_loss": 1.5},
    {"epoch": 2, "train_accuracy": 0.6, "train_loss": 1.1},
    {"epoch": 3, "train_accuracy": 0.8, "test_accuracy": 0.7, "train_loss": 0.6, "test_loss": 0.9},
]
STEPS = [{"step": step, "lr": rate} for step, rate in enumerate((0.1, 0.2, 0.3, 0.2, 0.1, 0.0), start=1)]


def lines(chart: Chart, colour: str) -> list[NDArray[np.float64]]:
    """The points [n, 2] of the lines of this colour, in pixels."""
    found = re.findall(rf'<path d="([^"]*)"[^>]*style="fill: none; stroke: var\(--{colour}\)', chart.svg)
    return [np.array(re.findall(r"[ML] ([\d.-]+) ([\d.-]+)", path), dtype=float) for path in found]


def dots(chart: Chart, colour: str) -> list[tuple[float, float]]:
    """The points of this colour that are marked where the chart is read, in pixels."""
    return [(reading.at, top) for reading in chart.readings for top, name in reading.dots if name == colour]


def charts() -> dict[str, Chart]:
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (300, 4)).astype(np.float32)
    calibration = evaluate(logits, random.integers(0, 4, 300), "abcd").calibration
    marks = Marks(epochs=3, peak=1.5, resumed=(2.0,))
    rates = np.geomspace(1e-4, 1, 30).tolist()
    sweep = {"lrs": rates, "losses": np.linspace(2, 1, 30).tolist()}
    return {
        "accuracy": inline.accuracy_curves(METRICS, marks),
        "loss": inline.loss_curves(METRICS, marks),
        "rate": inline.learning_rate(STEPS, [row["step"] / 2 for row in STEPS], marks),
        "sweep": inline.lr_range({"lr_min": 1e-3, "lr_max": 0.1, "sweeps": [sweep, sweep]}),
        "reliability": inline.reliability(calibration),
        "confidences": inline.confidences(calibration),
    }


@pytest.fixture(scope="module", name="drawn")
def _drawn() -> dict[str, Chart]:
    return charts()


def test_a_chart_is_whole_svg_with_words(drawn: dict[str, Chart]) -> None:
    for chart in drawn.values():
        root = ElementTree.fromstring(str(chart.svg).replace("xlink:href", "href"))
        assert root.attrib["role"] == "img"
        assert root.attrib["viewBox"] == f"0 0 {root.attrib['width']} {root.attrib['height']}"
        assert root.attrib["width"] == "344"
        assert root[0].tag == "title"
        assert root[1].tag == "desc"
        assert len(root[1].text or "") > 20


def test_colours_are_the_page_s_and_letters_its_font(drawn: dict[str, Chart]) -> None:
    for chart in drawn.values():
        used = {colour.lower() for colour in re.findall(r"#[0-9a-fA-F]{6}\b", chart.svg)}
        assert not used
        assert set(re.findall(r"var\(--(\w+)\)", chart.svg)) <= set(COLOURS)
        assert "font-family" not in chart.svg
        assert "<style" not in chart.svg


def test_ids_of_different_charts_differ(drawn: dict[str, Chart]) -> None:
    ids = [one for chart in drawn.values() for one in re.findall(r'\bid="([^"]*)"', chart.svg)]
    assert len(ids) == len(set(ids))


def test_the_same_chart_is_drawn_the_same(drawn: dict[str, Chart]) -> None:
    assert charts() == drawn


def test_the_readings_lie_on_the_lines(drawn: dict[str, Chart]) -> None:
    for name, colour in (("accuracy", "blue"), ("loss", "orange"), ("rate", "ink")):  # epoch 2 was not evaluated
        np.testing.assert_allclose(dots(drawn[name], colour), lines(drawn[name], colour)[0], atol=0.06)


def test_heights_are_in_proportion_to_the_values(drawn: dict[str, Chart]) -> None:
    heights = lines(drawn["accuracy"], "blue")[0][:, 1]
    assert (heights[0] - heights[1]) / (heights[1] - heights[2]) == pytest.approx(1, abs=0.01)
    bottom = drawn["loss"].bottom
    losses = bottom - lines(drawn["loss"], "orange")[0][:, 1]
    assert losses[0] / losses[1] == pytest.approx(1.5 / 0.9, rel=0.01)  # from zero


def test_readings_say_the_values_that_were_measured(drawn: dict[str, Chart]) -> None:
    assert [one.text for one in drawn["accuracy"].readings] == [
        "epoch 1: training 40.0%, test 45.0%",
        "epoch 2: training 60.0%",
        "epoch 3: training 80.0%, test 70.0%",
    ]
    assert drawn["rate"].readings[2].text == "epoch 1.5: 0.3"


def test_a_single_epoch_is_a_dot_that_can_be_seen() -> None:
    chart = inline.accuracy_curves(METRICS[:1], Marks(epochs=3))
    assert chart.svg.count("<use") == 2


def test_a_dot_at_the_last_epoch_is_not_halved_by_the_edge() -> None:
    chart = inline.accuracy_curves([METRICS[1], METRICS[2]], Marks(epochs=3))
    [dot] = re.findall(r"<g[^>]*>\s*<use[^>]*var\(--orange\)[^>]*>", chart.svg)
    assert "clip-path" not in dot


def test_many_steps_make_no_heavy_page() -> None:
    steps = [{"step": step, "lr": 0.1 + 1e-5 * (step % 7)} for step in range(1, 50_001)]
    chart = inline.learning_rate(steps, [row["step"] / 500 for row in steps], Marks(epochs=100))
    assert len(chart.readings) <= 250
    assert len(chart.svg) < 150_000


def test_names_of_lines_that_end_alike_stand_apart() -> None:
    row = {"epoch": 1, "train_accuracy": 0.5, "test_accuracy": 0.5, "val_accuracy": 0.5}
    chart = inline.accuracy_curves([row, {**row, "epoch": 2}], Marks(epochs=2))
    places = {}
    for name in ("training", "test", "held out"):
        places[name] = float(re.findall(rf'<text[^>]*\by="([\d.]+)"[^>]*>{name}</text>', chart.svg)[0])
    heights = sorted(places.values())
    assert min(np.diff(heights)) >= 15


def test_the_bars_of_confidence_count_every_image(drawn: dict[str, Chart]) -> None:
    numbers = [int(re.findall(r"sure: ([\d,]+) images", one.text)[0]) for one in drawn["confidences"].readings]
    assert sum(numbers) == 300
