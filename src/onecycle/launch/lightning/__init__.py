"""A recipe for Lightning: its net, loss, optimiser and schedule as a LightningModule, its images as a DataModule.

Use them with a Trainer, callbacks and loggers of your own; docs/lightning.md says how, and what differs from
`onecycle.train`. Importing this raises UserError, with what to do, where lightning is missing or cannot be imported.
"""

from __future__ import annotations

from ...errors import UserError
from ..importing import explanation

try:
    import lightning.pytorch  # noqa: F401
except Exception as error:  # a broken torchvision raises whatever its parts do
    raise UserError(explanation(error, "lightning")) from error

from .classifier import LitClassifier
from .images import ImageDataModule

__all__ = ["ImageDataModule", "LitClassifier"]
