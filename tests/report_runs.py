"""Runs to report on, made without training, and a reader of pages that is independent of how they were written."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from small import small_recipe
from torch import nn

from onecycle import ImageSet, Recipe
from onecycle.data import Augmentation, Loader
from onecycle.reporting import write_report
from onecycle.run import Run

CPU = torch.device("cpu")


def resolved(**changes: Any) -> Recipe:
    """The small recipe with nothing left open, as a run folder holds it."""
    statistics = {"data.mean": [0.4, 0.4, 0.4], "data.std": [0.2, 0.2, 0.2], "precision": "fp32"}
    return small_recipe(**{**statistics, **changes})


def begun(
    path: Path, recipe: Recipe | None = None, *, steps: int = 0, environment: dict[str, Any] | None = None
) -> Run:
    """A run of four steps an epoch that was stopped after `steps` of them."""
    run = Run.create(path, recipe or resolved(), {"argv": ["/bin/onecycle", "train", "x y.yaml"]})
    rates = [0.001, 0.005, 0.01, 0.02, 0.017, 0.014, 0.012, 0.009, 0.007, 0.005, 0.003, 0.001]
    rows = [
        {"step": step, "epoch": 1 + (step - 1) // 4, "lr": rates[step - 1], "loss": 1 / step, "elapsed_s": step}
        for step in range(1, steps + 1)
    ]
    if rows:
        run.append_steps(rows)
    for epoch in range(1, steps // 4 + 1):
        row = {"epoch": epoch, "lr": rates[4 * epoch - 1], "train_loss": 1 / epoch, "train_accuracy": 0.5 + 0.1 * epoch}
        run.append_metrics({**row, "test_loss": 1.2 / epoch, "test_accuracy": 0.45 + 0.1 * epoch})
    return run


def finished(path: Path, images: ImageSet, logits_nk: NDArray[np.float32], recipe: Recipe | None = None) -> Run:
    """A run that ended after three epochs with these predictions of `images`."""
    run = begun(path, recipe, steps=12)
    run.write_predictions(torch.from_numpy(logits_nk), torch.from_numpy(images.labels))
    (run.path / "model.json").write_text(json.dumps({"classes": list(images.classes)}))
    run.write_summary(
        {
            "epochs": 3,
            "steps": 12,
            "parameters": 1234,
            "device": "cpu",
            "train_seconds": 75.0,
            "wall_seconds": 80.0,
            "images_per_second": 8.0,
            "test": {"accuracy": float((logits_nk.argmax(1) == images.labels).mean()), "images": len(images)},
        }
    )
    return run


def noise(count: int, classes: Sequence[str], size: int = 32, seed: int = 0) -> ImageSet:
    """Images that no compression makes smaller, of all classes in turn."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return ImageSet(pixels, np.arange(count, dtype=np.int64) % len(classes), tuple(classes))


def guesses(images: ImageSet, strength: float, seed: int = 0) -> NDArray[np.float32]:
    """Logits that are right the more often the larger `strength` is."""
    logits = np.random.default_rng(seed).normal(0, 1, (len(images), len(images.classes))).astype(np.float32)
    logits[np.arange(len(images)), images.labels] += strength
    return logits


def tiny_net(classes: int) -> nn.Module:
    """A conv whose map has eight pixels a side on images of 32."""
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 4, stride=4), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(4, classes)).eval()


def report(run: Run, images: ImageSet | None, *, with_net: bool = True, **options: Any) -> Path:
    net = tiny_net(len(images.classes)) if images is not None and with_net else None
    return write_report(run, images=images, net=net, device=CPU, **options)


class Page(HTMLParser):
    """The elements of a page, each with its attributes and the text in it."""

    VOID = frozenset({"meta", "col", "link", "img", "input", "br", "hr", "path", "use", "rect", "circle"})

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.source = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str], list[str]]] = []
        self._open: list[int] = []
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}, []))
        if tag not in self.VOID:
            self._open.append(len(self.elements) - 1)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}, []))

    def handle_endtag(self, tag: str) -> None:
        if tag in self.VOID:
            return
        assert self._open, f"</{tag}> closes nothing"
        opened = self.elements[self._open.pop()][0]
        assert opened == tag, f"</{tag}> closes <{opened}>"

    def handle_data(self, data: str) -> None:
        for index in self._open:
            self.elements[index][2].append(data)

    def all(self, tag: str, **attributes: str) -> list[tuple[dict[str, str], str]]:
        """Attributes and text of the elements of this tag whose attributes hold these words."""
        wanted = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
        return [
            (found, " ".join("".join(text).split()))
            for name, found, text in self.elements
            if name == tag and all(value in found.get(key, "").split() for key, value in wanted.items())
        ]

    @property
    def text(self) -> str:
        """All that a reader sees, and what scripts hold."""
        return self.all("body")[0][1]

    def cards(self) -> list[dict[str, str]]:
        """The attributes of the cards of wrong images."""
        return [found for found, _ in self.all("li", class_="card") if "data-true" in found]

    def cells(self, *kinds: str) -> list[int]:
        """The numbers in the confusion matrix, row after row."""
        of_kind = [(found.get("class", "").split()[:1], text) for found, text in self.all("td")]
        return [int(text.replace(",", "")) for kind, text in of_kind if kind and kind[0] in kinds]

    def section(self, name: str) -> str:
        """The text of a section, by its id."""
        return self.all("section", id=name)[0][1]


def pixels(uri: str) -> NDArray[np.uint8]:
    """The image in a data URI."""
    kind, _, content = uri.partition(",")
    assert kind == "data:image/webp;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB"))


def views(images: ImageSet, recipe: Recipe) -> NDArray[np.float32]:
    """What the loader gives of all images in the first epoch of the recipe, normalised, [n, h, w, 3] in their order."""
    mean, std = recipe.data.statistics
    augmentation = Augmentation(**recipe.augment.model_dump())
    loader = Loader(images, batch_size=len(images), augmentation=augmentation, seed=recipe.seed, mean=mean, std=std)
    batch = next(iter(loader.epoch(0)))
    return batch.images_nchw[batch.samples.argsort()].permute(0, 2, 3, 1).numpy()
