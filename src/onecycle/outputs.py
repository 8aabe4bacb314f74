"""Where a result may be written: not over what somebody keeps."""

from __future__ import annotations

import os
from pathlib import Path

from .data.decode import SUFFIXES
from .errors import UserError
from .run import check_no_run_file


def check_output(out: Path, instead: str) -> None:
    """Raise UserError where a file written there would take the place of a folder, an image, or a file of a run.

    `instead` is the name of a file that would do.
    """
    if os.path.isdir(out):  # noqa: PTH112 - Path.is_dir raises, where a name is too long
        raise UserError(f"--out {out}: is a folder; name a file, such as {out / instead}")
    if out.suffix.lower() in SUFFIXES:
        raise UserError(f"--out {out}: has the name of an image; another, such as {out.with_name(instead)}")
    if out.name == "report.html" and (out.parent / "recipe.yaml").exists():
        raise UserError(f"--out {out}: is the report of the run {out.parent}; another, such as {instead}")
    check_no_run_file(out)
