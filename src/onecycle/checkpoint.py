"""Training state on disk: nested dictionaries of tensors and plain values in one safetensors file.

A file is written beside its place and renamed, carries a digest of all it holds, and is read without pickle.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from .errors import UserError
from .files import disk_errors, write_bytes

KEPT = 2  # checkpoints of a run: the newest, and one to fall back to
_FORMAT = "onecycle-state-1"
_HEADER_BYTES = 10_000_000  # at most: about 100,000 tensors; a million names alone take a minute to be taken in


class Damaged(UserError):
    """A checkpoint that is not what was written."""


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a state atomically: tensors, None, bool, int, finite float, str, and lists and dicts of these."""
    tensors: dict[str, Tensor] = {}
    described = json.dumps(_pack(state, tensors), allow_nan=False)
    metadata = {"format": _FORMAT, "state": described, "sha256": _digest(described, tensors)}
    write_bytes(path, save(tensors, metadata))


def load_state(path: Path) -> dict[str, Any]:
    """Read a state back, on the CPU. Raises `Damaged` naming the file where it is not whole or not of this kind."""
    try:
        with path.open("rb") as opened:
            check_header(opened.read(8))
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        if metadata.get("format") != _FORMAT:
            raise Damaged(f"{path}: not a checkpoint of this version; format {_FORMAT} is needed")
        if metadata["sha256"] != _digest(metadata["state"], tensors):
            raise Damaged(f"{path}: damaged; its content does not match the digest written with it")
        state = _unpack(json.loads(metadata["state"]), tensors)
        if not isinstance(state, dict):
            raise Damaged(f"{path}: damaged; it holds a {type(state).__name__} where a state is needed")
    except FileNotFoundError:
        raise Damaged(f"{path}: no such file") from None
    except (
        SafetensorError,
        OSError,
        ValueError,
        KeyError,
        TypeError,
        RuntimeError,
    ) as error:  # nested too deep: the last
        if isinstance(error, Damaged):
            raise
        raise Damaged(f"{path}: damaged; not readable as a checkpoint ({error})") from None
    return state


def check_header(content: bytes) -> None:
    """Raise ValueError where a safetensors file, which begins with its header's length, has too long a header."""
    length = int.from_bytes(content[:8], "little")
    if length > _HEADER_BYTES:
        raise ValueError(f"its header is of {length:,} bytes; at most {_HEADER_BYTES:,}")


class CheckpointFolder:
    """The checkpoints of one run, named by optimiser step; the last `KEPT` stay."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def paths(self) -> list[Path]:
        """All checkpoints, oldest first."""
        return sorted(self.path.glob("step-*.safetensors"))

    def save(self, step: int, state: dict[str, Any]) -> Path:
        """Write the state after `step` steps, then remove what is older than the last ones kept.

        What is of later steps goes too: it was damaged, or the training would not be here.
        """
        with disk_errors(self.path):
            self.path.mkdir(exist_ok=True)
        path = self.path / f"step-{step:08d}.safetensors"
        save_state(path, state)
        paths = self.paths()
        place = paths.index(path)
        for other in [*paths[: max(place + 1 - KEPT, 0)], *paths[place + 1 :]]:
            other.unlink()
        return path

    def newest(self, warn: Callable[[str], None]) -> dict[str, Any]:
        """The newest state that is whole; says through `warn` which damaged ones were passed over.

        Raises UserError where there is none.
        """
        paths = self.paths()
        for path in reversed(paths):
            try:
                return load_state(path)
            except Damaged as damage:
                warn(f"{damage}; going on from the checkpoint before it")
        found = f"none of the {len(paths)} checkpoints is whole" if paths else "there is no checkpoint"
        raise UserError(f"{self.path}: {found}; the training cannot go on, start it anew")


def _pack(value: Any, tensors: dict[str, Tensor], name: str = "state") -> Any:
    """Replace tensors by references; dicts become lists of pairs, as JSON would turn their integer keys into text."""
    if isinstance(value, Tensor):
        unique = f"{len(tensors)}:{name}"
        tensors[unique] = value.detach().to("cpu").contiguous().clone()
        return {"tensor": unique}
    if isinstance(value, dict):
        return {"dict": [[key, _pack(inner, tensors, f"{name}.{key}")] for key, inner in value.items()]}
    if isinstance(value, list | tuple):
        return [_pack(inner, tensors, f"{name}.{place}") for place, inner in enumerate(value)]
    assert value is None or isinstance(value, bool | int | float | str), f"{name}: {type(value)} in a checkpoint"
    return value


def _unpack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if "tensor" in value:
            return tensors[value["tensor"]]
        return {key: _unpack(inner, tensors) for key, inner in value["dict"]}
    return [_unpack(inner, tensors) for inner in value] if isinstance(value, list) else value


def _digest(described: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(described.encode())
    for name in sorted(tensors):
        # Viewed as bytes first: NumPy has no bfloat16.
        digest.update(tensors[name].flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
