"""The files of a run as they are read back: what was written, or an error that names the file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import files
from .checkpoint import CheckpointFolder
from .errors import UserError
from .files import append_csv, disk_errors, parse_csv, read_csv, write_csv
from .sealing import damaged, digest, read_sealed_json

STEP_COLUMNS = ("step", "epoch", "lr", "loss", "elapsed_s")
_NEEDED_COLUMNS = {"metrics.csv": ("epoch", "train_loss", "train_accuracy"), "steps.csv": STEP_COLUMNS}


class RunFiles:
    """A run's folder, its tables, and contents that are checked against the digests of its summary."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = CheckpointFolder(path / "checkpoints")

    @property
    def finished(self) -> bool:
        """Whether the training has ended; its summary is written last."""
        return (self.path / "summary.json").exists()

    def metrics(self) -> list[dict[str, float]]:
        """A row an epoch; what was not measured in it, or came out as no finite number, is left out of its row."""
        return self._read_numbers("metrics.csv")

    def steps(self) -> list[dict[str, float]]:
        """A row an optimiser step."""
        return self._read_numbers("steps.csv")

    def append_metrics(self, row: Mapping[str, float | None]) -> None:
        """Add an epoch's row."""
        append_csv(self.path / "metrics.csv", [row], list(row))

    def append_steps(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Add rows of steps."""
        append_csv(self.path / "steps.csv", rows, STEP_COLUMNS)

    def cut_back(self, epoch: int, step: int) -> None:
        """Drop the rows that were written after the checkpoint which the training goes on from."""
        for name, kept in self._rows_until(epoch, step).items():
            if kept:
                write_csv(self.path / name, kept, list(kept[0]))  # in any case: a row may be cut short
            else:
                (self.path / name).unlink(missing_ok=True)

    def tables_digest(self) -> str:
        """The SHA-256 of both tables as they are, by which a checkpoint knows their rows again.

        Of their bytes, unread: a long training's rows take seconds to parse, and there are many checkpoints.
        """
        paths = [self.path / name for name in _NEEDED_COLUMNS]
        return digest("".join(digest(path.read_bytes()) for path in paths if path.exists()).encode())

    def sync_rows(self) -> None:
        """Wait until the rows so far are on the disk: no checkpoint may be ahead of them when the power fails."""
        for path in (self.path / name for name in _NEEDED_COLUMNS):
            if path.exists():
                with disk_errors(path):
                    files.sync(path)

    def has(self, name: str) -> bool:
        """Whether a file is there, or was there when the training ended: it is then missed."""
        return (self.path / name).exists() or name in self._digests()

    def _digests(self) -> dict[str, str]:
        """What the summary has of the files that cannot carry their own digest; none where the training goes on."""
        found: dict[str, str] = read_sealed_json(self.path / "summary.json").get("files", {}) if self.finished else {}
        return found

    def content(self, name: str) -> bytes:
        """A file's content. Raises UserError where it is missing, or not what was there when the training ended."""
        path, written = self.path / name, self._digests().get(name)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise self._missing(name) from None
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from None
        if written is not None and digest(content) != written:
            raise damaged(path)
        return content

    def _rows_until(self, epoch: int, step: int) -> dict[str, list[dict[str, str]]]:
        """The rows of both tables, as text, that were there when the training was at that epoch and step."""
        found = {}
        for name, column, end in (("metrics.csv", "epoch", epoch), ("steps.csv", "step", step)):
            pairs = zip(read_csv(self.path / name), self._read_numbers(name), strict=True)
            found[name] = [row for row, numbers in pairs if numbers[column] <= end]
        return found

    def _read_numbers(self, name: str) -> list[dict[str, float]]:
        """The rows of a CSV file as numbers; values that are not there, or not finite, are left out of their row."""
        if not self.has(name):
            return []
        rows = parse_csv(self.content(name), self.path / name)
        try:
            numbers = [{key: float(value) for key, value in row.items() if value} for row in rows]
        except ValueError as error:
            raise damaged(self.path / name, f"a value is no number ({error})") from None
        finite = [{key: value for key, value in row.items() if math.isfinite(value)} for row in numbers]
        for row in finite:
            missing = [column for column in _NEEDED_COLUMNS[name] if column not in row]
            if missing:
                raise damaged(self.path / name, f"a row has no {', '.join(missing)}")
        return finite

    def _missing(self, name: str) -> UserError:
        """The error on a file that a training writes when it ends."""
        if self.finished:
            return UserError(
                f"{self.path / name}: no such file; the training wrote it when it ended, the whole folder is needed"
            )
        if not self.steps() and not self.checkpoints.paths():  # as find-lr leaves it
            return UserError(
                f"{self.path}: no training has begun here; begin it with: onecycle train --resume {self.path}"
            )
        return UserError(f"{self.path}: the training has not ended; go on with: onecycle train --resume {self.path}")
