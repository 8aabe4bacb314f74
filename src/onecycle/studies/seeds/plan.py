"""What a folder of trials was asked for, as its trials.json has it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ... import files
from ...comparison import setting
from ...errors import UserError
from ...files import disk_errors
from ...fine_tuning import OTHER_NET
from ...recipes import checked
from ...sealing import damaged, read_sealed_json, write_sealed_json
from .variants import Variant, deciding_differences, unused

PLAN = "trials.json"
_NAMED = {
    "init": "init is not what it began with (init differs)",
    "model": OTHER_NET,
}


@dataclass(frozen=True)
class Plan:
    """Variants, the first of which the others are compared with, seeds 0 to `seeds` - 1, and on what images.

    `images` has the fingerprints of each variant's sets by its label, and those of the weights that it begins with:
    under "init" an earlier run's, under "model" those of a net that was handed in. `difference`, in points, is the one
    that is to be seen, where one was named. `environment` is of the machine that the trials began on.
    """

    variants: tuple[Variant, ...]
    seeds: int
    images: Mapping[str, Mapping[str, Any]]
    environment: Mapping[str, Any]
    difference: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "seeds": self.seeds,
            "difference": self.difference,
            "variants": [
                {"label": one.label, "folder": one.folder, "recipe": one.recipe.model_dump(mode="json")}
                for one in self.variants
            ],
            "images": {label: dict(found) for label, found in self.images.items()},
            "environment": dict(self.environment),
        }

    def write(self, folder: Path) -> None:
        """Store it."""
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        write_sealed_json(folder / PLAN, self.to_dict())

    @classmethod
    def read(cls, folder: Path) -> Plan:
        """Raises UserError where the folder holds no trials, or the file is damaged."""
        path = folder / PLAN
        if not holds_trials(folder):
            raise UserError(f"{folder}: holds no {PLAN}; the folder of trials is needed")
        stored = read_sealed_json(path)
        try:
            found = tuple(
                Variant(str(one["label"]), str(one["folder"]), checked(one["recipe"], str(path)))
                for one in stored["variants"]
            )
            difference = stored["difference"]
            return cls(
                found,
                int(stored["seeds"]),
                {label: dict(images) for label, images in stored["images"].items()},
                dict(stored["environment"]),
                None if difference is None else float(difference),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, UserError):
                raise
            raise damaged(path, f"{error} is missing, or is something else") from None

    def extended(self, asked: Plan, folder: Path) -> Plan:
        """This plan with what is asked for now: more seeds, further variants; none that it has is let go of.

        Raises UserError where the first variant is none of this plan's, or one is another recipe than it was, or on
        other images.
        """
        known = {one.label: one for one in self.variants}
        first = asked.variants[0]
        if first.label not in known:
            raise _taken(folder, f"{self.variants[0].label!r}", f"{first.label!r} is another recipe")
        for one in asked.variants:
            if one.label not in known:
                continue
            changed = deciding_differences(known[one.label].recipe, one.recipe)
            if changed:
                key, (there, here) = next(iter(changed.items()))
                said = f"{key} is {setting(there)} there and {setting(here)} here"
                raise _taken(folder, f"another recipe of the name {one.label!r}", said)
            for key, value in asked.images[one.label].items():
                if self.images[one.label].get(key) != value:
                    what = _NAMED.get(key, f"the images are not what it began with ({key} differs)")
                    raise UserError(f"{folder}: {one.label}: {what}")
        taken = {one.folder.lower() for one in self.variants}
        here = []
        for one in asked.variants:
            folder_of = known[one.label].folder if one.label in known else unused(one.folder, taken)
            taken.add(folder_of.lower())
            here.append(replace(one, folder=folder_of))
        labels = {one.label for one in here}
        rest = [one for one in self.variants if one.label not in labels]
        return Plan(
            (*here, *rest),
            max(asked.seeds, self.seeds),
            {**self.images, **asked.images},
            self.environment,
            asked.difference,
        )


def holds_trials(folder: str | Path) -> bool:
    """Whether a folder is one of trials."""
    try:
        return (Path(folder) / PLAN).is_file()
    except OSError:  # such as a name that is too long
        return False


def check_free(folder: Path) -> None:
    """Raise UserError where a folder holds something else than trials, or what a kill left before their plan."""
    try:
        exists = folder.exists()
        others = exists and (not folder.is_dir() or any(not one.name.startswith(".") for one in folder.iterdir()))
    except OSError as error:
        raise UserError(f"--out {folder}: cannot be read ({error.strerror})") from None
    if others:
        raise UserError(f"--out {folder}: exists and holds no trials; a new folder is needed, or that of these trials")


def remove_unbegun(folder: Path) -> None:
    """Remove a folder that holds a plan and nothing that came of it."""
    with disk_errors(folder):
        if {one.name for one in folder.iterdir()} <= {PLAN, ".lock"}:
            shutil.rmtree(folder)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder against a second process, and make it. Raises UserError where one holds it."""
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with files.locked(folder / ".lock", wait=False):
            yield
    except files.Locked:
        raise UserError(f"{folder}: another process runs trials here; wait for it or stop it") from None


def _taken(folder: Path, by: str, why: str) -> UserError:
    return UserError(f"{folder}: the seeds here are taken by {by}; {why}; another --out, or the same recipe")
