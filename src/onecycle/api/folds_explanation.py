"""What `explain` gives of a cross-validation: training images whose label is likely wrong."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import plots
from ..cross_validation import CrossValidation, plan_of
from ..data import Dataset, ImageSet
from ..errors import UserError
from ..explanation import LabelErrors
from ..files import disk_errors
from ..folds import folds_of
from ..preparation import Sets, as_dataset, load_data
from ..progress import default_observer
from .explanation import rows_of
from .image_files import ImageFiles


@dataclass(frozen=True, eq=False)
class FoldsExplanation:
    """Training images whose label is likely wrong; each was predicted by a net that did not see it.

    `label_errors.index` counts the rows of `folds`, and so do `images`, and `files` where the images come as files.
    Where the images are no longer at hand these two are None, and `why_no_images` says why.
    """

    folds: CrossValidation
    images: ImageSet | None
    why_no_images: str
    label_errors: LabelErrors
    files: ImageFiles | None

    def figures(self, *, count: int = 20) -> dict[str, plots.Figure]:
        """The `count` clearest as a picture, `label_errors`; none without images, or where nothing was found."""
        if self.images is None or not len(self.label_errors):
            return {}
        recipe, _ = plan_of(self.folds.path)
        title = f"{recipe.name} on {recipe.data.label}, seed {recipe.seed}: {len(self.folds.by_fold)} folds"
        return {"label_errors": plots.label_errors(self.images, self.label_errors, title, count=count)}

    def save(self, out: str | Path | None = None, *, count: int = 20) -> list[Path]:
        """Draw it as a PNG file into the folder `out`, by default plots in that of the folds; returns the paths."""
        folder, figures = self.folds.path / "plots" if out is None else Path(out), self.figures(count=count)
        if figures:
            with disk_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)
        return [plots.save(figure, folder / f"{name}.png") for name, figure in figures.items()]

    def to_dict(self) -> dict[str, Any]:
        """All that were found, as JSON has it; `index` is the place among the training images, from 0."""
        found = rows_of(self.label_errors, ("given", "suggested"), self.folds.classes, self.files)
        return {
            "images": len(self.folds.labels),
            "folds": len(self.folds.by_fold),
            "why_no_images": self.why_no_images,
            "folder": None if self.files is None else str(self.files.folder),
            "label_errors": [{**row, "index": int(self.folds.index[row["index"]])} for row in found],
        }


def images_of_rows(
    folds: CrossValidation, data: Dataset | ImageSet | None, data_dir: str | Path | None
) -> tuple[ImageSet | None, str]:
    """The images in the order of the rows, or None and why they are not at hand.

    Raises UserError where somebody said where they are, and they are not there or are others.
    """
    wanted, described = plan_of(folds.path)
    try:
        place = data_dir or described.get("data_dir")
        found: Dataset | Sets
        if data is None:
            found = load_data(wanted, place, observer=default_observer())
        else:
            found = as_dataset(data, wanted.data.split_seed)
        parts = folds_of(wanted, found.train, found.val if isinstance(found, Sets) else None)
        if parts.images.fingerprint() != described.get("train_fingerprint"):
            raise UserError(f"{folds.path}: the images are not those that it began with (train_fingerprint differs)")
        return parts.images.subset(parts.index), ""
    except UserError as error:
        if data is not None or data_dir is not None:
            raise
        return None, str(error)
