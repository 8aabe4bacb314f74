"""In which file an image of a run is, for who wants to look at it, or to mend its label."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data import own_files, stratified_split
from ..errors import UserError
from ..preparation import TEST_SHARE
from ..recipes import Recipe, absolute, holds_image_files


@dataclass(frozen=True)
class ImageFiles:
    """Image files in the order of a set: `names` [n], paths below `folder`."""

    folder: Path
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def path(self, place: int) -> Path:
        """The file of the image at that place of the set."""
        return self.folder / self.names[place]


def image_files(wanted: Recipe, data_dir: str | Path | None = None) -> dict[str, ImageFiles]:
    """The files of a recipe's own images: "train", with those of a val part at the end, and "test".

    In the order of the images, before anything is limited or held out; nothing where they do not come as image files.
    `data_dir` is where they are now. Raises UserError where they are not there.
    """
    part = wanted.data
    if not holds_image_files(part.name):
        return {}
    place = Path(absolute(data_dir or part.name))
    listed = own_files(place, image_size=part.image_size, fit=part.fit, damaged=part.damaged)
    train, test = listed.get("train"), listed.get("test")
    if not train:
        raise UserError(f"{place}: no images to train on; those that the training began with are needed")
    if test is None:
        labels = np.unique([entry.label for entry in train], return_inverse=True)[1].astype(np.int64)
        for_test, for_training = stratified_split(labels, len(train) // TEST_SHARE, part.split_seed)
        train, test = [train[number] for number in for_training], [train[number] for number in for_test]
    folder = place if place.is_dir() else place.parent
    parts = {"train": [*train, *listed.get("val", [])], "test": test}
    return {name: ImageFiles(folder, tuple(entry.name for entry in entries)) for name, entries in parts.items()}
