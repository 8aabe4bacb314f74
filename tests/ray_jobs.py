"""Jobs that a worker of a Ray cluster can import."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from onecycle import Observer, Progress, TrainingFailed, UserError, training
from onecycle.errors import Stopped
from onecycle.studies import Job, train_job


@dataclass(frozen=True)
class Errand:
    """Something to do in the place of a training."""

    folder: Path
    what: str = ""


class _KillOnce(Observer):
    """Kills its process as the kernel does, once so many steps are done; not when the training is gone on with."""

    def __init__(self, folder: Path, step: int) -> None:
        self._mark, self._step = folder / "killed", step

    def on_progress(self, progress: Progress) -> None:
        if progress.step == self._step and not self._mark.exists():
            self._mark.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)


def killed_once(job: Job) -> Path:
    """Trains; the process dies within the second of three epochs, where it is seed 1."""
    training.FLUSH_SECONDS = 0.0
    return train_job(job, _KillOnce(job.folder, 6) if job.recipe.seed == 1 else None)


def run_errand(errand: Errand) -> Any:
    match errand.what:
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "told to stop":
            raise Stopped("saved", signal.SIGTERM)
        case "user error":
            raise UserError("one thing", "another thing")
        case "failed":
            raise TrainingFailed("the loss is nan")
        case "fault":
            raise ZeroDivisionError("a fault")
        case "wait":
            time.sleep(0.3)
        case "until stopped":
            (errand.folder / "began").touch()
            try:
                while True:
                    time.sleep(0.05)
            finally:
                (errand.folder / "saved").touch()
    return {
        "pid": os.getpid(),
        "threads": torch.get_num_threads(),
        "folder": Path.cwd(),
        "data": os.environ.get("ONECYCLE_DATA"),
        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
    }
