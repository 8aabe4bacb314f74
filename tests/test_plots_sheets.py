"""Sheets of images: overlays, mistakes, saliency, label errors."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import colormaps
from numpy.typing import NDArray
from small import images

from onecycle import ImageSet, UserError, plots
from onecycle.evaluation import Mistakes
from onecycle.explanation import Activations, LabelErrors

NAMES = ("cat", "automobile", "$5 and $6", "W" * 200)


def a_set(size: int = 32, names: tuple[str, ...] = NAMES) -> ImageSet:
    made = images(40, 1)
    pixels = made.images_nhwc.repeat(-(-size // 32), axis=1).repeat(-(-size // 32), axis=2)[:, :size, :size]
    return ImageSet(pixels.copy(), made.labels, names)


def some_mistakes(images: ImageSet, count: int = 12) -> Mistakes:
    index = np.arange(count)[::-1].copy()
    true = images.labels[index]
    predicted = (true + 1 + index % 3) % 4
    return Mistakes(index, true, predicted, np.linspace(0.01, 0.3, count), np.linspace(0.9996, 0.5, count))


def activations(count: int, side: int = 4) -> Activations:
    maps = np.random.default_rng(0).random((2, count, side, side), dtype=np.float32)
    maps /= maps.max((2, 3), keepdims=True)
    return Activations("layer3", "grad_cam++", maps[0], maps[1])


def no_mistakes() -> Mistakes:
    return Mistakes(*(np.zeros(0, np.int64) for _ in range(3)), *(np.zeros(0) for _ in range(2)))


def slow_overlay(image: NDArray[np.uint8], heat: NDArray[np.float64], opacity: float) -> NDArray[np.float64]:
    """Pixel by pixel: the four nearest of the map's pixels, weighed by how near their middles are."""
    height, width, _ = image.shape
    rows, columns = heat.shape
    out = np.zeros(image.shape)
    for y, x in np.ndindex(height, width):
        down = min(max((y + 0.5) * rows / height - 0.5, 0), rows - 1)
        right = min(max((x + 0.5) * columns / width - 0.5, 0), columns - 1)
        value = 0.0
        for row, column in itertools.product(
            {math.floor(down), math.ceil(down)}, {math.floor(right), math.ceil(right)}
        ):
            value += heat[row, column] * (1 - abs(down - row)) * (1 - abs(right - column))
        colour = 255 * np.array(colormaps["inferno"](value)[:3])
        out[y, x] = (1 - opacity) * image[y, x] + opacity * colour
    return out


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(5, 20), st.floats(0, 1), st.integers(0, 99))
def test_an_overlay_is_that_of_a_slow_one(rows: int, columns: int, side: int, opacity: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    maps = random.random((2, rows, columns))
    fast = plots.overlay(pixels, maps, opacity)
    assert fast.dtype == np.uint8 and fast.shape == pixels.shape
    for image, heat, drawn in zip(pixels, maps, fast, strict=True):
        # A value on the border of two of the scale's 256 colours may fall into either; neighbours differ by 4 at most.
        np.testing.assert_allclose(drawn, slow_overlay(image, heat, opacity), atol=0.51 + 4 * opacity)


def test_opacity_0_is_the_image_and_1_the_colours_alone() -> None:
    pixels = a_set().images_nhwc[:3]
    maps = np.stack([np.zeros((4, 4)), np.ones((4, 4)), np.full((4, 4), 0.5)])
    before = pixels.copy()
    np.testing.assert_array_equal(plots.overlay(pixels, maps, 0), pixels)
    drawn = plots.overlay(pixels, maps, 1)
    for one, value in zip(drawn, (0.0, 1.0, 0.5), strict=True):
        np.testing.assert_array_equal(one, np.broadcast_to(colormaps["inferno"](value, bytes=True)[:3], one.shape))
    np.testing.assert_array_equal(pixels, before)
    with pytest.raises(ValueError, match=r"opacity 1\.5 is outside 0 to 1"):
        plots.overlay(pixels, maps, 1.5)


@pytest.mark.parametrize("size", [8, 32, 128])
def test_each_mistake_stands_beside_its_maps_for_both_classes(size: int) -> None:
    test, found = a_set(size), some_mistakes(a_set(size))
    maps = activations(12)
    figure = plots.grad_cam_sheet(test, found, maps, "a run", count=3, opacity=0.25)
    assert len(figure.axes) == 3 * 3 + 1  # and the scale
    for number in range(3):
        image, predicted, true = figure.axes[3 * number : 3 * number + 3]
        pixels = test.images_nhwc[found.index[number]]
        np.testing.assert_array_equal(image.images[0].get_array(), pixels)
        assert image.get_position().x1 < predicted.get_position().x0 < true.get_position().x0
        for axes, of_class in ((predicted, maps.of_predicted), (true, maps.of_true)):
            drawn = np.asarray(axes.images[0].get_array())
            times = len(drawn) // size
            assert len(drawn) >= 224
            expected = plots.overlay(
                pixels.repeat(times, 0).repeat(times, 1)[None], of_class[number : number + 1], 0.25
            )
            np.testing.assert_array_equal(drawn, expected[0])
    said = [text.get_text() for text in figure.texts]
    assert figure.get_suptitle() == "a run\nGrad-CAM++ at layer3 for the 3 most confident of 12 mistakes"
    assert said[1:10] == ["image", "11", "predicted", ">99.9%", said[5], "true", "1.0%", said[8], "image"]
    assert said[5] == NAMES[found.predicted[0]] or "…" in said[5]
    assert_tidy(figure)


@pytest.mark.parametrize("count, columns", [(1, 1), (1, 2), (200, 5)])
def test_sheets_of_any_number_are_tidy(count: int, columns: int, tmp_path: Path) -> None:
    test, found = a_set(), some_mistakes(a_set())
    maps = activations(12, side=7)
    for figure in (
        plots.grad_cam_sheet(test, found, maps, "a run", count=count, columns=columns),
        plots.saliency_sheet(test, found, maps.of_true - 0.5, maps.of_predicted, "a run", count=count, columns=columns),
    ):
        shown = min(count, 12)
        assert len(figure.axes) == 3 * shown + 1
        assert ("all 12 mistakes" in figure.get_suptitle()) == (count >= 12)
        lefts = {round(axes.get_position().x0, 3) for axes in figure.axes[:-1]}
        assert len(lefts) == 3 * min(columns, shown)
        assert_tidy(figure)


def test_saliency_is_orange_for_and_blue_against_the_class() -> None:
    test, found = a_set(8), some_mistakes(a_set(8))
    maps = np.zeros((12, 8, 8))
    maps[0, :4], maps[0, 4:, :4] = 3.0, -3.0
    figure = plots.saliency_sheet(test, found, maps, maps * 0, "a run", count=1)
    colours = np.asarray(figure.axes[1].images[0].get_array()).astype(int)
    assert (colours[:4] == [0xD5, 0x5E, 0x00]).all()
    assert (colours[4:, :4] == [0x00, 0x72, 0xB2]).all()
    assert (colours[4:, 4:] >= 253).all()
    assert (np.asarray(figure.axes[2].images[0].get_array()) >= 253).all()  # of no saliency at all: white


def test_label_errors_say_both_labels_and_the_reason() -> None:
    test = a_set(names=("cat", "dog", "猫\nx", "W" * 200))
    found = LabelErrors(
        np.array([7, 3]), np.array([0, 3]), np.array([1, 0]), np.array([0.001, 0.25]), np.array([0.9, 0.5]),
        np.array([0.4, 0.811, np.nan, 0.2]),
    )  # fmt: skip
    figure = plots.label_errors(test, found, "a run")
    said = [text.get_text() for text in figure.texts][1:]
    assert said[:6] == ["label: cat", "0.1%", "likely: dog", "90.0%", "usual for it", "81.1%"]
    assert said[6].startswith("label: WW") and said[7:] == ["25.0%", "likely: cat", "50.0%", "usual for it", "40.0%"]
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), test.images_nhwc[7])
    assert "all 2 likely label errors in 40 images" in figure.get_suptitle().replace("\n", " ")
    assert_tidy(figure)


def test_sheets_that_cannot_be_drawn() -> None:
    test, found, maps = a_set(), some_mistakes(a_set()), activations(12)
    nothing = LabelErrors(*(np.zeros(0, np.int64) for _ in range(3)), *(np.zeros(0) for _ in range(3)))
    for said, draw in {
        "opacity -0.1 is outside 0 to 1": lambda: plots.grad_cam_sheet(test, found, maps, "", opacity=-0.1),
        "count 0 is outside 1 to 200": lambda: plots.grad_cam_sheet(test, found, maps, "", count=0),
        "columns 0 is below 1": lambda: plots.saliency_sheet(test, found, maps.of_true, maps.of_true, "", columns=0),
        "there are no mistakes; there is nothing to draw": lambda: plots.grad_cam_sheet(test, no_mistakes(), maps, ""),
        "there are no mistakes; there": lambda: plots.draw_mistakes(test, no_mistakes(), ""),
        "count 201 is outside 1 to 200": lambda: plots.label_errors(test, nothing, "", count=201),
        "there are no likely label errors; there is nothing to draw": lambda: plots.label_errors(test, nothing, ""),
    }.items():
        with pytest.raises(UserError, match=said):
            draw()


def assert_tidy(figure: plots.Figure) -> None:
    """No text touches another, or an image, or the border."""
    figure.draw_without_rendering()
    texts = [(text.get_text(), text.get_window_extent()) for text in figure.texts]
    pictures = [axes.get_window_extent() for axes in figure.axes]
    for (said, box), (other, other_box) in itertools.combinations(texts, 2):
        assert not box.overlaps(other_box), (said, other)
    for said, box in texts:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1, said
        assert not any(box.overlaps(picture) for picture in pictures), said
    assert not any(one.overlaps(other) for one, other in itertools.combinations(pictures, 2))
