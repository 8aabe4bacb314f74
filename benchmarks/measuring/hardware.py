"""What the files of results are named after."""

from __future__ import annotations

import re

import torch

from onecycle.hardware import device_name


def hardware_slug(device: torch.device) -> str:
    """The device, and how much of it is used, for a file's name."""
    return slug(device_name(device))


def slug(name: str) -> str:
    """A device's name in small letters and dashes, without the signs of its trade marks."""
    plain = re.sub(r"\((r|tm)\)", "", name.lower())
    return re.sub("[^a-z0-9]+", "-", plain).strip("-")
