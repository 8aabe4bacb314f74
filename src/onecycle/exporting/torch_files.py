"""Formats that PyTorch and safetensors write themselves: pt2, which is a program, and bare weights."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save
from torch import nn
from torch.export import ExportedProgram

from ..files import write_bytes
from .deployed import Deployed, quiet

_EXTRA = "onecycle.json"


def write_pt2(path: Path, program: ExportedProgram, description: Mapping[str, Any]) -> None:
    """Write what `torch.export.load` reads, with the description as the extra file onecycle.json."""
    with quiet(), path.open("wb") as file:
        torch.export.save(program, file, extra_files={_EXTRA: json.dumps(description)})


def open_pt2(path: Path) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """The net in a pt2 file as a function of images [n, side, side, 3]."""
    with quiet(), path.open("rb") as file:
        module = torch.export.load(file).module()
    return as_function(module)


def write_safetensors(path: Path, deployed: Deployed, description: Mapping[str, Any]) -> None:
    """Write float32 weights and buffers by their names in the net, and the description as metadata.

    Metadata are texts: JSON, but for the values that are texts by themselves.
    """
    tensors = {name: value.contiguous().clone() for name, value in deployed.net.state_dict().items()}
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in description.items()}
    write_bytes(path, save(tensors, {"format": "pt", **texts}))


def open_safetensors(path: Path, like: Deployed) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """The weights in a file in a net of the same kind, as a function of images [n, side, side, 3]."""
    loaded = copy.deepcopy(like)
    for parameter in loaded.net.state_dict().values():
        parameter.zero_()  # what the file lacks cannot be taken for read
    with safe_open(path, framework="pt") as file:
        loaded.net.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    return as_function(loaded)


def as_function(module: nn.Module) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """A net of images uint8 [n, side, side, 3] on arrays."""

    def run(images_nhwc: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            logits_nk: NDArray[np.float32] = module(torch.from_numpy(images_nhwc)).numpy()
        return logits_nk

    return run
