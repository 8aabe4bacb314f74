"""The pictures of docs/how-it-works.md: an image through its augmentation, and the recipe's learning rate.

python docs/images/how_it_works.py      needs scikit-learn, for its digits
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from PIL import Image

import onecycle

HERE = Path(__file__).parent
PHOTO, EPOCH, PADDING, HOLE = 3, 1, 4, 8  # as on the page
COLOUR = "#d95f0e"


def main() -> None:
    """Write both beside this file."""
    keep("how-it-works", augmented())
    rates = onecycle.plots.schedule("custom_resnet", steps_per_epoch=98)
    keep("one-cycle", rates)


def augmented() -> onecycle.plots.Figure:
    """Above, what is done to the image in its epoch; below, the image as it is seen in six epochs."""
    images = onecycle.data.digits().train.subset(np.arange(200))
    augmentation = onecycle.data.Augmentation(crop_padding=PADDING, flip="random", cutout=HOLE)
    loader = onecycle.data.Loader(images, batch_size=20, augmentation=augmentation, seed=0)
    plan = loader.plan(EPOCH)
    (y, x), (top, left) = plan.crop_yx[PHOTO], plan.cutout_yx[PHOTO]
    padded = np.pad(images.images_nhwc[PHOTO], ((PADDING, PADDING), (PADDING, PADDING), (0, 0)))
    cropped = padded[y : y + 32, x : x + 32]
    flipped = cropped[:, ::-1] if plan.flip[PHOTO] else cropped
    figure = onecycle.plots.Figure(9, 3.8, "One image: what an epoch does to it, and how six epochs see it")
    steps = {
        "in its file": images.images_nhwc[PHOTO],
        f"padded; window at ({y}, {x})": padded,
        "cropped": cropped,
        "flipped": flipped,
        f"hole at ({top}, {left}): the mean": seen(loader, EPOCH),
    }
    above, below = figure.subplots(2, 6)
    for axes, (title, pixels) in zip(above, steps.items(), strict=False):
        show(axes, pixels, title)
    frame(above[1], (PADDING, PADDING), 32, "#999999")  # where the image itself lies
    frame(above[1], (x, y), 32, COLOUR)
    frame(above[4], (left, top), HOLE, COLOUR)
    above[5].set_visible(False)
    for epoch, axes in enumerate(below):
        show(axes, seen(loader, epoch), f"epoch {epoch}")
    return figure


def seen(loader: onecycle.data.Loader, epoch: int) -> np.ndarray:
    """The image as the net sees it in an epoch, undone of its normalisation: float [32, 32, 3], 0 to 1."""
    for batch in loader.epoch(epoch):
        (rows,) = np.nonzero(batch.samples.numpy() == PHOTO)
        if len(rows):
            normalised = batch.images_nchw[rows[0]].permute(1, 2, 0).numpy()
            return np.clip(normalised * np.array(loader.std) + np.array(loader.mean), 0, 1)
    raise AssertionError("every image is in every epoch")


def show(axes: Axes, pixels: np.ndarray, title: str) -> None:
    """Pixels without ticks."""
    axes.imshow(pixels, interpolation="nearest")
    axes.set_title(title, fontsize=8)
    axes.set_xticks([])
    axes.set_yticks([])


def frame(axes: Axes, corner_xy: tuple[int, int], side: int, colour: str) -> None:
    """A square around pixels."""
    corner = (corner_xy[0] - 0.5, corner_xy[1] - 0.5)
    axes.add_patch(Rectangle(corner, side, side, fill=False, edgecolor=colour, linewidth=1.5, clip_on=False))


def keep(name: str, figure: onecycle.plots.Figure) -> None:
    """Write a picture small enough for a repository: 64 colours."""
    path = onecycle.plots.save(figure, HERE / f"{name}.png")
    with Image.open(path) as image:
        image.convert("RGB").quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main()
