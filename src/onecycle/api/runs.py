"""A run in the hands of its user: the folder, and the verbs on it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..run import Run as RunFolder
from . import exporting, inspection, prediction

if TYPE_CHECKING:
    from ..evaluation import Evaluation
    from ..exporting import Export
    from ..prediction import Predictions
    from .explanation import Explanation


class Run(RunFolder):
    """One training on disk: `onecycle.train` makes it, `onecycle.load` takes one that is there.

    The options of the verbs are those of the functions of the same names.
    """

    def evaluate(self, **options: Any) -> Evaluation:
        """Accuracy with its interval, the classes, what is taken for what, calibration; see `onecycle.evaluate`."""
        return inspection.evaluate(self, **options)

    def explain(self, **options: Any) -> Explanation:
        """Mistakes, and what the net looked at; see `onecycle.explain`."""
        return inspection.explain(self, **options)

    def report(self, **options: Any) -> Path:
        """Write the report, one HTML file that needs nothing else; see `onecycle.report`."""
        return inspection.report(self, **options)

    def predict(self, images: prediction.Images, **options: Any) -> Predictions:
        """What the net says of images: arrays, images of Pillow's, files, folders; see `onecycle.predict`."""
        return prediction.predict(self, images, **options)

    def export(self, **options: Any) -> Export:
        """Write the net as a file that works without onecycle, and a model card; see `onecycle.export`."""
        return exporting.export(self, **options)


def load(path: str | Path) -> Run:
    """A run on disk. Raises UserError where the folder is none."""
    return Run.open(Path(path))
