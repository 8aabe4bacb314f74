"""A comparison on the terminal and as a picture."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from compared_runs import CLASSES, made_run, three_runs
from matplotlib.axes import Axes
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from onecycle.comparison import caveat, compare, in_words
from onecycle.errors import UserError
from onecycle.plots.comparison import comparison_curves, spread
from onecycle.progress.comparison import print_comparison
from onecycle.run import Run


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    return three_runs(tmp_path)


def assert_texts_are_apart(axes: Axes) -> None:
    """The names at the lines' ends, without the thin lines that lead to them; half a pixel may be shared."""
    boxes: list[Bbox] = [Text.get_window_extent(text).padded(-0.5) for text in axes.texts]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    assert max(box.x1 for box in boxes) <= axes.figure.bbox.x1 + 1


def test_the_terminal_shows_the_verdict_and_the_images_in_80_columns(
    runs: list[Run], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    found = compare(runs[:2])
    print_comparison(found)
    said = capsys.readouterr().out
    assert "\x1b" not in said
    lines = [line.rstrip() for line in said.splitlines()]
    sentences = (in_words(found, 0), caveat(found), *(f"{run.letter}  {run.path}" for run in found.runs))
    for sentence in sentences:
        assert any(line.startswith(sentence) for line in lines)
    assert max(len(line) for line in lines if not line.startswith(sentences)) <= 80
    (row,) = (line for line in lines if line.startswith("schedule.lr_max"))
    assert row.split()[1:] == [f"{found.recipe['schedule.lr_max'][0]:g}", "0.02"]
    (row,) = (line for line in lines if line.startswith("B ") and "6,573,130" in line)
    assert row.split()[1] == f"{found.runs[1].accuracy:.2%}"
    first = found.differences[0].only_this.to_list(CLASSES)[0]
    assert any(f"image {first['index']} " in line and first["mistaken"] in line for line in lines)


def test_many_runs_with_wide_values_are_grouped_by_value(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    names = ["recipe_with_a_long_name", "another_long_name"]
    runs = []
    for number in range(6):
        runs.append(made_run(tmp_path / f"{number}", noise=number))
        runs[-1].write_recipe(runs[-1].recipe.evolve(name=names[number % 2]))
    runs[0] = made_run(tmp_path / "gpu", device="NVIDIA H100")
    runs[0].write_recipe(runs[0].recipe.evolve(name=names[0]))
    print_comparison(compare(runs))
    said = capsys.readouterr().out
    assert "recipe_with_a_long_name (A C E)" in said
    assert "another_long_name (B D F)" in said
    assert "A on NVIDIA H100; B on cpu" in said
    assert "among many runs, some differ by chance" in said


def test_the_curves_of_all_runs_end_in_their_names(runs: list[Run]) -> None:
    found = compare(runs)
    figure = comparison_curves(found)
    figure.draw_without_rendering()
    accuracy, loss = figure.axes
    for axes, column in ((accuracy, "test_accuracy"), (loss, "test_loss")):
        drawn = [line.get_xydata().tolist() for line in axes.lines if len(line.get_xdata()) > 1]
        assert drawn == [[[row["epoch"], row[column]] for row in run.metrics()] for run in runs]
        assert_texts_are_apart(axes)
    ends = [(run.letter, f"{run.metrics[-1]['test_loss']:.3f}", run.label) for run in found.runs]
    assert [tuple(text.get_text().split()) for text in loss.texts] == ends


def test_sixteen_runs_of_one_value_have_names_that_do_not_overlap(tmp_path: Path) -> None:
    figure = comparison_curves(compare([made_run(tmp_path / f"run {number} $a$ 狗") for number in range(16)]))
    figure.draw_without_rendering()
    for axes in figure.axes:
        assert len(axes.texts) == 16
        assert_texts_are_apart(axes)


def test_runs_without_curves_are_told(tmp_path: Path) -> None:
    runs = [made_run(tmp_path / name, epochs=0) for name in ("one", "two")]
    with pytest.raises(UserError, match="nothing to draw"):
        comparison_curves(compare(runs))


def test_names_are_spread_as_little_as_needed() -> None:
    assert spread([0.2, 0.8], 0.1, 0, 1) == [0.2, 0.8]
    assert spread([0.5, 0.5, 0.1], 0.1, 0, 1) == pytest.approx([0.5, 0.6, 0.1])
    assert spread([0.98, 0.99, 1.0], 0.1, 0, 1) == pytest.approx([0.8, 0.9, 1.0])
    assert spread([0, 0, 0], 0.4, 0, 0.5) == pytest.approx([0, 0.4, 0.8])
