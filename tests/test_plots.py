"""Curves, bars and matrices: what they say, and that they can be drawn."""

from __future__ import annotations

import itertools
import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.text import Text
from scipy.stats import binomtest
from small import images
from torch.optim import SGD
from torch.optim.lr_scheduler import CyclicLR

from onecycle import ImageSet, Run, UserError, plots, recipe
from onecycle.evaluation import confusion_matrix
from onecycle.plots.names import shortened, text_width

NAMES = ("cat", "automobile", "$5 and $6", "W" * 40)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A finished run on 60 images of four classes, a third of which it gets wrong."""
    test = images(60, 1)
    made = Run.create(tmp_path / "run", recipe("digits", seed=3).evolve(name="a_$b_$"), {})
    random = np.random.default_rng(0)
    logits = random.normal(0, 1, (60, 4)).astype(np.float32)
    logits[np.arange(60), test.labels] += 1.5
    made.write_predictions(torch.from_numpy(logits), torch.from_numpy(test.labels))
    (made.path / "model.json").write_text(json.dumps({"classes": list(NAMES)}))
    for epoch in (1, 2, 3):
        row = {"epoch": epoch, "lr": 0.1, "train_loss": 1 / epoch, "train_accuracy": 1 - 1 / (epoch + 1)}
        made.append_metrics({**row, "test_loss": 1.2 / epoch, "test_accuracy": 1 - 1.2 / (epoch + 1)})
    made.append_steps(
        [{"step": n, "epoch": 1 + (n - 1) // 5, "lr": n / 10, "loss": 1, "elapsed_s": n} for n in range(1, 16)]
    )
    return made


@pytest.fixture
def test_set() -> ImageSet:
    test = images(60, 1)
    return ImageSet(test.images_nhwc, test.labels, NAMES)


def texts(figure: plots.Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text() and text.get_visible()]


def assert_nothing_overlaps(figure: plots.Figure, some: list[Text]) -> None:
    """The texts neither touch each other nor leave the picture; the figure is drawn."""
    figure.draw_without_rendering()
    boxes = [(one.get_text(), one.get_window_extent()) for one in some]
    for (left, box), (right, other) in itertools.combinations(boxes, 2):
        assert not box.overlaps(other), (left, right)
    width, height = figure.get_size_inches() * figure.dpi
    for text, box in boxes:
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, text


def image_size(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def test_a_figure_shows_itself_in_a_notebook(run: Run) -> None:
    png, size = plots.curves(run)._repr_png_()
    width, height = image_size(png)
    assert size["width"] <= 1300
    assert width / size["width"] == pytest.approx(1.5, abs=0.01)
    assert height / size["height"] == pytest.approx(1.5, abs=0.01)


def test_pictures_need_no_pyplot() -> None:
    code = (
        "import sys, onecycle as o; o.plots.schedule('digits')._repr_png_(); print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("ending", [".png", ".svg", ".pdf"])
def test_pictures_are_saved_as_the_ending_says(ending: str, tmp_path: Path) -> None:
    path = plots.save(plots.schedule("digits"), tmp_path / f"picture{ending}")
    assert path.read_bytes()[:5] in (b"\x89PNG\r", b"<?xml", b"%PDF-")
    with pytest.raises(UserError, match=r"picture\.bmp: \.bmp ending"):
        plots.save(plots.schedule("digits"), tmp_path / "picture.bmp")


def test_curves_say_the_last_values(run: Run) -> None:
    figure = plots.curves(run)
    said = texts(figure)
    assert "a_$b_$ on digits, seed 3" in said
    assert {"training\n75.00%", "test\n70.00%", "training\n0.333", "test\n0.400"} <= set(said)
    ends = [text for text in figure.findobj(Text) if "\n" in text.get_text()]
    assert_nothing_overlaps(figure, ends)


def test_curves_of_a_run_without_an_epoch(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to draw"):
        plots.curves(Run.create(tmp_path / "run", recipe("digits"), {}))


def test_curves_of_a_run_that_was_interrupted_within_an_epoch_and_resumed(run: Run) -> None:
    run.append_steps([{"step": n, "epoch": 4, "lr": 0.1, "loss": 1, "elapsed_s": n} for n in (16, 17)])
    run.add_resumption(run.recipe, {"step": 8})
    accuracy, _, lr = plots.curves(run).axes
    np.testing.assert_allclose(lr.lines[0].get_xdata(), np.arange(1, 18) / 5)
    assert accuracy.get_xlim() == lr.get_xlim() == pytest.approx((0, 17 / 5 * 1.02))
    assert [line.get_xdata() for line in (lr.lines[-1], accuracy.lines[-1])] == [[8 / 5, 8 / 5]] * 2
    assert lr.get_title(loc="left") == "learning rate of each step; dotted: resumed"


def test_the_highest_rate_is_named_beside_the_axis(run: Run) -> None:
    (run.path / "steps.csv").unlink()
    run.append_steps([{"step": n, "epoch": 1, "lr": 1 / n, "loss": 1, "elapsed_s": n} for n in range(1, 9)])
    figure = plots.curves(run)
    (said,) = figure.axes[2].texts
    figure.draw_without_rendering()
    assert said.get_text() == "1 at epoch 0.125"
    assert said.get_window_extent().x0 >= figure.axes[2].get_window_extent().x0


def test_the_bars_are_the_recall_of_each_class(run: Run) -> None:
    stored = run.predictions()
    right = stored["logits"].argmax(1) == stored["labels"]
    expected = [right[stored["labels"] == one].mean() for one in range(4)]
    figure = plots.class_accuracy(run)
    bars = [patch.get_width() for patch in figure.axes[0].patches]
    assert bars == pytest.approx(expected)
    (intervals,) = figure.axes[0].collections
    ends = [binomtest(round(15 * one), 15).proportion_ci(method="wilson") for one in expected]
    np.testing.assert_allclose([path.vertices[:, 0] for path in intervals.get_paths()], ends)  # type: ignore[index]
    shown = plots.class_accuracy(run, order="accuracy")
    assert [patch.get_width() for patch in shown.axes[0].patches] == pytest.approx(sorted(expected))
    assert f"all (dashed): {right.mean():.2%} ({right.sum()} of 60)" in texts(figure)
    assert f"{expected[0]:.1%}  ({round(expected[0] * 15)} of 15)" in texts(figure)
    assert_nothing_overlaps(figure, [*figure.axes[0].get_yticklabels(), *figure.axes[0].texts])
    with pytest.raises(UserError, match=r"order 'size' is not allowed; allowed: class, accuracy"):
        plots.class_accuracy(run, order="size")  # type: ignore[arg-type]


def test_a_class_without_images_has_no_accuracy() -> None:
    matrix = np.array([[3, 1, 0], [0, 0, 0], [0, 0, 2]])
    figure = plots.draw_class_accuracy(matrix, ["a", "b", "c"], "", order="accuracy")
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["a", "c", "b"]
    assert texts(figure).count("no images") == 1


@pytest.mark.parametrize("classes, bars", [(2, 2), (40, 40), (41, 40), (1000, 40)])
def test_bars_of_many_classes_are_the_worst_and_the_best(classes: int, bars: int) -> None:
    right = np.arange(classes)
    matrix = np.diag(right)
    matrix[:, 0] += 1000 - right  # class n is right n times in 1,000
    matrix[0, 0] = 0
    matrix[0, 1] = 1000
    figure = plots.draw_class_accuracy(matrix, [f"number {one}" for one in right], "many", order="accuracy")
    shown = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    kept = right if classes <= 40 else [*range(20), *range(classes - 20, classes)]
    assert shown == [f"number {one}" for one in kept]
    assert len(shown) == bars
    assert any("the 20 worst and the 20 best of" in text for text in texts(figure)) == (classes > 40)


def test_bars_where_few_of_many_classes_have_images() -> None:
    matrix = np.zeros((100, 100), np.int64)
    matrix[7, 7], matrix[9, 7] = 5, 3
    figure = plots.draw_class_accuracy(matrix, [str(one) for one in range(100)], "")
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["9", "7"]
    assert "all (dashed): 62.50% (5 of 8); the 2 of 100 classes that have images" in texts(figure)


def cells(axes: Axes) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    grid = np.zeros(np.shape(axes.images[0].get_array())[:2], np.int64)
    for text in axes.texts:
        column, row = text.get_position()
        grid[int(row), int(column)] = int(text.get_text().replace(",", ""))
    return grid


def test_the_matrix_has_the_true_class_in_its_rows(run: Run) -> None:
    stored = run.predictions()
    figure = plots.confusion(run)
    axes = figure.axes[0]
    np.testing.assert_array_equal(cells(axes), confusion_matrix(stored["logits"], stored["labels"]))
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("true class", "predicted class")
    assert_nothing_overlaps(figure, axes.texts)
    labels = axes.get_yticklabels()
    assert [label.get_text() for label in labels][:3] == ["cat", "automobile", "$5 and $6"]
    assert not any(label.get_parse_math() for label in (*labels, *axes.get_xticklabels()))


@pytest.mark.parametrize("classes", [2, 20, 21, 300])
def test_a_matrix_of_many_classes_keeps_its_sum_and_its_largest_confusions(classes: int) -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, classes, 3000)
    logits = random.normal(0, 1, (3000, classes)).astype(np.float32)
    logits[np.arange(3000), labels] += 5
    worst = (classes - 1, 0)
    logits[labels == worst[0], worst[1]] += 20
    matrix = confusion_matrix(logits, labels)
    figure = plots.draw_confusion(matrix, [f"c{one}" for one in range(classes)], "many")
    axes = figure.axes[0]
    shown = cells(axes)
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert len(shown) <= 20
    assert shown.sum() == 3000
    assert shown[names.index(f"c{worst[0]}"), names.index(f"c{worst[1]}")] == matrix[worst]
    if classes > 20:
        assert names[-1] == f"{classes - len(names) + 1} others"
        kept = [int(name[1:]) for name in names[:-1]]
        np.testing.assert_array_equal(shown[:-1, :-1], matrix[np.ix_(kept, kept)])
    assert_nothing_overlaps(figure, axes.texts)


def test_what_is_right_differs_in_colour_from_what_is_confused() -> None:
    figure = plots.draw_confusion(np.array([[9, 1, 0], [5, 5, 0], [0, 0, 7]]), ["a", "b", "c"], "")
    pixels = np.asarray(figure.axes[0].images[0].get_array())
    assert (pixels[[0, 1, 2], [0, 1, 2], 2] > pixels[[0, 1, 2], [0, 1, 2], 0]).all()  # blue
    assert pixels[1, 0, 0] > pixels[1, 0, 2] and pixels[0, 1, 0] > pixels[0, 1, 2]  # orange
    assert pixels[1, 0].sum() < pixels[0, 1].sum()  # the larger confusion is darker
    assert np.ptp(pixels[2, 0, :3]) == 0 and pixels[2, 0, 0] > 0.95  # nothing: nearly white


def captions(figure: plots.Figure) -> list[tuple[str, str]]:
    """The lines above the images, in the order of the images: words and number of each."""
    said = [text.get_text() for text in figure.texts if text is not figure._suptitle]  # type: ignore[attr-defined]
    return list(zip(said[::2], said[1::2], strict=True))


def test_the_gallery_shows_the_most_confident_mistakes(run: Run, test_set: ImageSet) -> None:
    stored = run.predictions()
    exponentials = np.exp(stored["logits"].astype(float))
    chances = exponentials / exponentials.sum(1, keepdims=True)
    wrong = [n for n in range(60) if chances[n].argmax() != test_set.labels[n]]
    wrong.sort(key=lambda n: -chances[n].max())
    figure = plots.misclassified(run, test_set, count=7)
    assert len(figure.axes) == 7
    lines = iter(captions(figure))
    for axes, place in zip(figure.axes, wrong, strict=False):
        np.testing.assert_array_equal(axes.images[0].get_array(), test_set.images_nhwc[place])
        (said, of_said), (true, of_true) = next(lines), next(lines)
        assert said.startswith("predicted: ") and of_said == f"{chances[place].max():.1%}"
        assert true.startswith("true: ") and of_true == f"{chances[place, test_set.labels[place]]:.1%}"
        assert said.endswith(NAMES[chances[place].argmax()][-1])
    heading = f"the 7 most confident of {len(wrong)} mistakes in 60 test images"
    assert figure.get_suptitle() == f"a_$b_$ on digits, seed 3\n{heading}"
    assert_nothing_overlaps(figure, figure.texts)


def test_a_gallery_of_long_names_and_of_one_image(test_set: ImageSet, run: Run) -> None:
    stored = run.predictions()
    last_wrong = np.zeros((60, 4), np.float32)
    last_wrong[:, 3] = 9  # all are taken for the class of the longest name
    run.write_predictions(torch.from_numpy(last_wrong), torch.from_numpy(stored["labels"]))
    figure = plots.misclassified(run, test_set, count=10)
    lines = captions(figure)
    assert all(words.startswith("predicted: WW") and number == ">99.9%" for words, number in lines[::2])
    assert all(words.startswith("true: ") and number == "<0.1%" for words, number in lines[1::2])
    assert_nothing_overlaps(figure, figure.texts)
    one = plots.misclassified(run, test_set, count=1)
    assert "the most confident of 45 mistakes in 60 test images" in one.get_suptitle().replace("\n", " ")
    assert_nothing_overlaps(one, one.texts)
    every = plots.misclassified(run, test_set, count=45)
    assert "all 45 mistakes in 60 test images" in every.get_suptitle()


def test_a_gallery_needs_the_runs_own_images_and_a_mistake(run: Run, test_set: ImageSet) -> None:
    with pytest.raises(UserError, match="its predictions are of 60 other images"):
        plots.misclassified(run, images(60, 2))
    with pytest.raises(UserError, match="count 0 is outside 1 to 200"):
        plots.misclassified(run, test_set, count=0)
    right = np.eye(4, dtype=np.float32)[test_set.labels]
    run.write_predictions(torch.from_numpy(right), torch.from_numpy(test_set.labels))
    with pytest.raises(UserError, match="all 60 test images are right"):
        plots.misclassified(run, test_set)


def test_predictions_of_other_classes_than_the_nets(run: Run) -> None:
    (run.path / "model.json").write_text(json.dumps({"classes": ["a", "b"]}))
    with pytest.raises(UserError, match=r"predictions\.npz: logits are float32 \[60, 4\]; floats \[60, 2\] are needed"):
        plots.confusion(run)


def test_the_schedule_is_that_of_torch() -> None:
    options = {"name": "cyclic", "epochs": 6, "lr_min": 0.1, "lr_max": 0.5, "half_cycle_epochs": 2}
    (line,) = plots.schedule("digits", steps_per_epoch=10, schedule=options).axes[0].lines
    optimizer = SGD([torch.zeros(1)], lr=0.1)
    reference = CyclicLR(optimizer, 0.1, 0.5, step_size_up=20, cycle_momentum=False)
    expected = []
    for _ in range(60):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()
    np.testing.assert_allclose(line.get_ydata(), expected, atol=1e-12)
    np.testing.assert_allclose(line.get_xdata(), np.arange(1, 61) / 10)


def test_a_schedule_says_its_rates_and_is_drawn_for_very_many_steps() -> None:
    changes = {"schedule.epochs": 10_000, "schedule.peak_epoch": 2500, "schedule.lr_max": 0.5, "schedule.lr_min": 0.01}
    figure = plots.schedule("digits", steps_per_epoch=1000, **changes)
    said = "learning rate of each step: 0.01 at first, highest 0.5 at epoch 2.5e+03, 0.01 at last"
    assert figure.axes[0].get_title(loc="left") == said
    assert len(figure.axes[0].lines[0].get_xdata()) <= 20_000  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"schedule.lr_max": "find"}, "schedule.lr_max is yet to be found"),
        ({"schedule": {"name": "plateau", "lr": 0.1}}, "depends on the losses"),
        ({"steps_per_epoch": 0}, "steps_per_epoch 0 is below 1"),
        ({"sede": 1}, "did you mean 'seed'"),
    ],
)
def test_schedules_that_cannot_be_drawn(changes: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        plots.schedule("digits", **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["cat", "W" * 50, "i" * 50, "a name of several words that is long", "x"])
@pytest.mark.parametrize("width", [20.0, 60.0, 130.0])
def test_names_are_shortened_to_the_room(name: str, width: float) -> None:
    short = shortened(name, 10, width)
    if text_width(name, 10) <= width:
        assert short == name
    else:
        assert "…" in short
        assert text_width(short, 10) <= width or len(short) <= 3
        assert short[0] == name[0] and (short[-1] in (name[-1], "…"))


def test_augmented_samples(tmp_path: Path) -> None:
    originals = images(3).images_nhwc
    figure = plots.augmentation_grid(originals, np.stack([originals, 255 - originals], 1), ["猫", "$b$", "c"], "t")
    np.testing.assert_array_equal(figure.axes[2].images[0].get_array(), 255 - originals[0])
    assert image_size(plots.save(figure, tmp_path / "a.png").read_bytes())[0] > 300
