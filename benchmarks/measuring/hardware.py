"""What the files of results are named after."""

from __future__ import annotations

import re

import torch

from onecycle.hardware import device_name


def hardware_slug(device: torch.device) -> str:
    """The device, and how much of it is used, for a file's name."""
    return re.sub("[^a-z0-9]+", "-", device_name(device).lower()).strip("-")
