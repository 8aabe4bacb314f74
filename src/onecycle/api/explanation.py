"""What `explain` gives: mistakes, what the net looked at in them, and labels that are likely wrong."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .. import plots
from ..data import ImageSet
from ..evaluation import Mistakes
from ..explanation import Activations, LabelErrors, Saliency
from ..files import disk_errors
from ..run import Run
from .image_files import ImageFiles

_OF_ALL: Final = "label_errors"  # the picture that is of no choice
_UNFIT: Final = re.compile(r"[^\w.]+")  # for the name of a file
_LETTERS: Final = 60  # of a choice in it


@dataclass(frozen=True, eq=False)
class Explanation:
    """Mistakes of a run on its test set of `tested` images, of `wrong` in all, the most confident first.

    `choice` says which `mistakes` are, such as "cat taken for dog"; "" where they are all that are wrong.
    `activations` and, where it was asked for, `saliency` are of the first `shown` of them, in their order.
    `label_errors` are of the whole test set, and so are `files`, of images that come as files. Where the test set is no
    longer at hand, `images` and what is made of them are None, and `why_no_images` says why.
    """

    run: Run
    tested: int
    images: ImageSet | None
    why_no_images: str
    wrong: int
    mistakes: Mistakes
    choice: str
    shown: int
    activations: Activations | None
    saliency: Saliency | None
    label_errors: LabelErrors
    files: ImageFiles | None = None

    def figures(self, *, opacity: float = 0.5) -> dict[str, plots.Figure]:
        """The pictures by their names, none without images; `opacity` is that of the class activation maps, 0 to 1."""
        if self.images is None or self.activations is None:
            return {}
        title, shown = plots.title_of(self.run, self.choice), self.shown
        found = {
            "misclassified": plots.draw_mistakes(self.images, self.mistakes, title, count=shown),
            "grad_cam": plots.grad_cam_sheet(
                self.images, self.mistakes, self.activations, title, count=shown, opacity=opacity
            ),
        }
        if self.saliency is not None:
            maps = self.saliency
            found["saliency"] = plots.saliency_sheet(
                self.images, self.mistakes, maps.of_predicted, maps.of_true, title, count=shown
            )
        if len(self.label_errors):
            found[_OF_ALL] = plots.label_errors(self.images, self.label_errors, plots.title_of(self.run))
        return found

    def save(self, out: str | Path | None = None, *, opacity: float = 0.5) -> list[Path]:
        """Draw all of it as PNG files into the folder `out`, by default the run's plots, and return their paths.

        Pictures of a choice of mistakes have it in their names, beside those of all.
        """
        folder = self.run.plots if out is None else Path(out)
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        choice = _part_of_name(self.choice)
        return [
            plots.save(figure, folder / f"{name}{'' if name == _OF_ALL else choice}.png")
            for name, figure in self.figures(opacity=opacity).items()
        ]

    def to_dict(self) -> dict[str, Any]:
        """All of it but images and maps, as JSON has it; of the mistakes the first `shown`."""
        classes, maps = self.run.classes, self.activations
        return {
            "images": self.tested,
            "why_no_images": self.why_no_images,
            "wrong": self.wrong,
            "chosen": len(self.mistakes),
            "layer": maps and maps.layer,
            "method": maps and maps.method,
            "folder": None if self.files is None else str(self.files.folder),
            "mistakes": rows_of(self.mistakes, ("true", "predicted"), classes, self.files)[: self.shown],
            "label_errors": rows_of(self.label_errors, ("given", "suggested"), classes, self.files),
        }


def _part_of_name(choice: str) -> str:
    """A choice as it stands in the names of its pictures; one that is changed for it has a digest, as others may be."""
    if not choice:
        return ""
    kept = _UNFIT.sub("-", choice[:_LETTERS])
    told = "" if kept.replace("-", " ") == choice else f"-{hashlib.sha256(choice.encode()).hexdigest()[:8]}"
    return f"-{kept}{told}"


def rows_of(
    found: Mistakes | LabelErrors, names: Sequence[str], classes: Sequence[str], files: ImageFiles | None
) -> list[dict[str, Any]]:
    """An object an image: its place, its file below the folder, for each of `names` a class and its probability."""
    return [
        {
            "index": int(index),
            "file": None if files is None else files.names[index],
            **{name: classes[getattr(found, name)[place]] for name in names},
            **{f"{name}_probability": float(getattr(found, f"{name}_probability")[place]) for name in names},
        }
        for place, index in enumerate(found.index)
    ]
