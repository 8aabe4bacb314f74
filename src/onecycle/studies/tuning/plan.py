"""What a search was asked, as its search.yaml has it, and who holds what in its folder."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ... import files
from ...comparison import setting
from ...errors import UserError
from ...files import disk_errors, write_text
from ...fine_tuning import OTHER_NET
from ...recipes import Recipe, checked, read_yaml
from ...sealing import check_sealed_text, damaged, digest, write_sealed_text
from ..seeds.variants import deciding_differences
from .space import Space

PLAN, DATABASE, BASE = "search.yaml", "search.db", "base.yaml"
_TRIALS = "trials"


@dataclass(frozen=True)
class Plan:
    """The recipe that the search began with, what it varies, and how.

    `storage` is the URL, without password, of a database elsewhere; None for the folder's own. `images` is the
    fingerprint of the held-out part, `init` the SHA-256 of the weights that the recipe begins with, where it names any,
    and `model` that of a net that was handed in.
    """

    recipe: Recipe
    space: Space
    sampler: str
    pruner: str
    storage: str | None
    images: str
    held_out_images: int
    init: str | None = None
    model: str | None = None

    @property
    def study_name(self) -> str:
        """The study's name in the database: of the same question the same."""
        asked = {**self.to_dict(), "storage": None}
        del asked["recipe"]["resources"], asked["recipe"]["checkpoint"]
        return f"{self.recipe.name} {digest(json.dumps(asked, sort_keys=True).encode())[:12]}"

    def to_dict(self) -> dict[str, Any]:
        """As the file has it."""
        return {
            "recipe": self.recipe.model_dump(mode="json"),
            "space": self.space.to_dict(),
            "sampler": self.sampler,
            "pruner": self.pruner,
            "storage": self.storage,
            "images": self.images,
            "held_out_images": self.held_out_images,
            **({} if self.init is None else {"init": self.init}),
            **({} if self.model is None else {"model": self.model}),
        }

    @classmethod
    def read(cls, folder: Path) -> Plan:
        """Raises UserError where the folder holds no search, or the file is damaged."""
        path = folder / PLAN
        if not holds_search(folder):
            raise UserError(f"{folder}: holds no {PLAN}; the folder of a search is needed")
        check_sealed_text(path)
        stored = read_yaml(path, "search")
        try:
            return cls(
                checked(stored["recipe"], str(path)),
                Space.from_dict(stored["space"]),
                str(stored["sampler"]),
                str(stored["pruner"]),
                stored["storage"],
                str(stored["images"]),
                int(stored["held_out_images"]),
                stored.get("init"),
                stored.get("model"),
            )
        except UserError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise damaged(path, f"{error} is missing, or is something else") from None

    def begin(self, folder: Path) -> None:
        """Store it, or find it stored. Raises UserError where another search is there."""
        if not holds_search(folder):
            write_text(folder / BASE, self.recipe.to_yaml())
            write_sealed_text(folder / PLAN, yaml.safe_dump(self.to_dict(), sort_keys=False))
            return
        there = Plan.read(folder)
        changed = [
            f"{key} is {setting(old)} there and {setting(new)} here"
            for key, (old, new) in _differences(there.recipe, self.recipe).items()
        ]
        before, now = there.to_dict(), self.to_dict()
        for key in ("space", "sampler", "pruner", "storage"):
            if before[key] != now[key]:
                shown = (
                    "the space is another" if key == "space" else f"{key} is {before[key]} there and {now[key]} here"
                )
                changed.append(shown)
        if before["images"] != now["images"]:
            changed.append("the images are not those it began with")
        if there.init != self.init and not changed:
            changed.append("the weights of init are not those it began with")
        if there.model != self.model and not changed:
            changed.append(OTHER_NET)
        if changed:
            raise UserError(f"{folder}: holds another search: {changed[0]}; another --out, or the same search")


def holds_search(folder: Path) -> bool:
    """Whether a folder is one of a search."""
    try:
        return (folder / PLAN).is_file()
    except OSError:  # such as a name that is too long
        return False


def check_free(folder: Path) -> None:
    """Raise UserError where a folder holds something else than a search, or what a kill left before its plan."""
    try:
        others = folder.exists() and (not folder.is_dir() or any(map(_is_ours_not, folder.iterdir())))
    except OSError as error:
        raise UserError(f"--out {folder}: cannot be read ({error.strerror})") from None
    if others and not holds_search(folder):
        raise UserError(
            f"--out {folder}: exists and holds no search; name a new folder, or that of a search to go on with"
        )


def run_path(folder: Path, number: int) -> Path:
    """The run of a trial."""
    return folder / _TRIALS / f"{number:04}"


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait for the others who work on the search, and keep them waiting; makes the folder."""
    with disk_errors(folder):
        (folder / _TRIALS).mkdir(parents=True, exist_ok=True)
    with files.locked(folder / ".lock", wait=True):
        yield


@contextlib.contextmanager
def held(folder: Path, number: int) -> Iterator[None]:
    """Hold a trial for as long as it is carried out. Raises files.Locked where somebody else does."""
    with files.locked(folder / _TRIALS / f".{number:04}.lock", wait=False):
        yield


def _differences(there: Recipe, here: Recipe) -> dict[str, tuple[Any, Any]]:
    found = deciding_differences(there, here)
    return found if there.seed == here.seed else {"seed": (there.seed, here.seed), **found}


def _is_ours_not(path: Path) -> bool:
    return not path.name.startswith(".") and path.name not in (_TRIALS, BASE)
