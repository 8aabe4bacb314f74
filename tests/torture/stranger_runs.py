"""A run of a stranger, in which any file may be another, all digests made right: it opens, or one line says why."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import shutil
import signal
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import small
import torch

import onecycle
from onecycle import Observer, UserError, api, training
from onecycle.api import pictures, resuming
from onecycle.checkpoint import load_state
from onecycle.run import Run
from onecycle.sealing import read_sealed_json, write_sealed_json
from torture.guarded import caught, watched
from torture.hostile_weights import checkpoints, predictions, weights, with_state
from torture.pickles import mutated

# Of what Python says before it does it; imports and the like are our own when something is used first.
_FORBIDDEN = ("pickle.find_class", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "subprocess.")
_FORBIDDEN += ("socket.connect", "ctypes.dlopen", "webbrowser.")
_OWN_LIBRARY = "ctypes.dlopen (None,)"  # the C library's settings of memory, before a training
_SUMMARY = "summary.json"


@functools.cache
def finished(folder: Path) -> Run:
    """A trained run, one a process."""
    torch.set_num_threads(1)
    with contextlib.redirect_stderr(io.StringIO()):
        return _finished(folder)


def _finished(folder: Path) -> Run:
    run = api.train(
        small.small_recipe(**{"schedule.epochs": 1, "schedule.peak_epoch": 0.5}),
        model=small.net(),
        data=small.dataset(),
        out=_fresh(folder, "finished"),
        device="cpu",
        observer=Observer(),
    )
    api.evaluate(run, data=small.images(60, 1), model=small.net(), device="cpu")  # what is imported is imported
    return run


@functools.cache
def stopped(folder: Path) -> Run:
    """A run that was interrupted in its second epoch, one a process."""
    torch.set_num_threads(1)
    path = _fresh(folder, "stopped")
    arguments: dict[str, Any] = {"model": small.net(), "data": small.dataset(), "device": "cpu"}
    observer = small.StopAt(5, signal.SIGTERM)
    # So that it is told of every step; and what it says of the signal goes nowhere.
    with mock.patch.object(training, "FLUSH_SECONDS", 0.0), mock.patch.object(os, "write"):
        _, left = caught(lambda: api.train(small.small_recipe(), out=path, observer=observer, **arguments))
    assert isinstance(left, onecycle.Stopped), left
    return Run.open(path)


def weights_hostile(folder: Path, seed: int, number: int) -> str | None:
    """One of the collection in the place of model.safetensors, opened by `evaluate`."""
    return _hostile(folder, number, "model.safetensors", weights)


def predictions_hostile(folder: Path, seed: int, number: int) -> str | None:
    """One of the collection in the place of predictions.npz."""
    return _hostile(folder, number, "predictions.npz", predictions)


def weights_mutated(folder: Path, seed: int, number: int) -> str | None:
    """Weights with a header that was changed."""
    random = np.random.default_rng((seed, 2, number))
    run = finished(folder)
    content = _changed(_good(run.path / "model.safetensors"), random)
    return _opened(run, "model.safetensors", content, folder, lambda: onecycle.load(run.path).weights())


def predictions_mutated(folder: Path, seed: int, number: int) -> str | None:
    """Predictions of which some bytes are others."""
    random = np.random.default_rng((seed, 3, number))
    run = finished(folder)
    content = mutated(_good(run.path / "predictions.npz"), random)
    return _opened(run, "predictions.npz", content, folder, lambda: api.evaluate(run.path, device="cpu"))


def checkpoint_hostile(folder: Path, seed: int, number: int) -> str | None:
    """One of the collection in the place of both checkpoints, which `resume` has to take or to refuse."""
    run = stopped(folder)
    paths = run.checkpoints.paths()
    found = checkpoints(folder / "canary", _good(paths[-1]))
    name, make = list(found.items())[number]
    failure = _resumed(run, make(), folder)
    return failure and f"checkpoint, {name}: {failure}"


def checkpoint_state(folder: Path, seed: int, number: int) -> str | None:
    """A checkpoint, whole by its digest, in which one value is another."""
    run = stopped(folder)
    random = np.random.default_rng((seed, 4, number))
    said = []

    def change(state: dict[str, Any]) -> None:
        said.append(_changed_value(state, random))

    content = with_state(_good(run.checkpoints.paths()[-1]), change, folder)
    failure = _resumed(run, content, folder)
    return failure and f"checkpoint, {said}: {failure}"


def checkpoint_mutated(folder: Path, seed: int, number: int) -> str | None:
    """A checkpoint with a header that was changed."""
    random = np.random.default_rng((seed, 5, number))
    path = folder / "mutated.safetensors"
    path.write_bytes(_changed(_good(stopped(folder).checkpoints.paths()[-1]), random))
    return _judged(lambda: load_state(path), path, folder)


def count_of(folder: Path, collection: Callable[[Path, bytes], dict[str, Any]]) -> int:
    """How many there are."""
    return len(collection(folder / "canary", bytes(100)))


def _hostile(
    folder: Path, number: int, file: str, collection: Callable[[Path, bytes], dict[str, Callable[[], bytes]]]
) -> str | None:
    run = finished(folder)
    name, make = list(collection(folder / "canary", _good(run.path / file)).items())[number]
    images, net = small.images(60, 1), small.net()

    def use() -> None:
        api.evaluate(run.path, data=images if file.startswith("model") else None, model=net, device="cpu")

    failure = _opened(run, file, make(), folder, use)
    return failure and f"{file}, {name}: {failure}"


def _opened(run: Run, file: str, content: bytes, folder: Path, use: Callable[[], object]) -> str | None:
    """What is wrong with how a run is used in which a file is another."""
    path = run.path / file
    good, summary = _good(path), _good(run.path / _SUMMARY)
    path.write_bytes(content)
    _seal(run)
    try:
        return _judged(use, path, folder)
    finally:
        path.write_bytes(good)
        (run.path / _SUMMARY).write_bytes(summary)


def _resumed(run: Run, content: bytes, folder: Path) -> str | None:
    """What is wrong with how a run goes on whose checkpoints are all this one."""
    copy = folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(run.path, copy)
    for path in Run(copy).checkpoints.paths():
        path.write_bytes(content)
    model, data = small.net(), small.dataset()

    def use() -> None:
        api.resume(copy, model=model, data=data, device="cpu", observer=Observer())

    # Which asks git for the version, and which draws: neither reads the checkpoint.
    with mock.patch.object(resuming, "environment", lambda device: {}), mock.patch.object(pictures, "finish"):
        return _judged(use, copy / "checkpoints", folder)


def _judged(use: Callable[[], object], path: Path, folder: Path) -> str | None:
    """None where something is used or refused as it has to be."""
    with watched() as watch, contextlib.redirect_stderr(io.StringIO()) as said:
        _, error = caught(use)
    if "Warning" in said.getvalue():
        return f"warned: {said.getvalue()[:300]}"
    ran = [event for event in watch.events if event.startswith(_FORBIDDEN) and event != _OWN_LIBRARY]
    if ran or (folder / "canary").exists():
        (folder / "canary").unlink(missing_ok=True)
        return f"code was run: {ran}"
    if error is None or isinstance(error, onecycle.TrainingFailed):
        return None
    text = str(error)
    if not isinstance(error, UserError):
        return f"{type(error).__name__}: {text[:200]}"
    clear = str(path) in text and text.isprintable() and len(text) < 2000
    return None if clear else f"an unclear line: {text[:300]!r}"


def _seal(run: Run) -> None:
    """Write the digests anew, as a stranger does."""
    summary = read_sealed_json(run.path / _SUMMARY)
    summary.pop("files", None)
    if (run.path / _SUMMARY).exists():
        run.write_summary(summary)


def _changed(content: bytes, random: np.random.Generator) -> bytes:
    """A file of tensors, mutated in its header as JSON or as bytes, or anywhere."""
    if random.random() < 0.3:
        return mutated(content, random)
    length = struct.unpack("<Q", content[:8])[0]
    header, data = content[8 : 8 + length], content[8 + length :]
    if random.random() < 0.3:
        header = mutated(header, random)
    else:
        values = json.loads(header)
        _changed_value(values, random)
        header = json.dumps(values).encode()
    return struct.pack("<Q", len(header)) + header + data


_VALUES: tuple[Any, ...] = (None, True, 0, -1, 1, 2**31, 2**63, 2**64, 1e308, "", "x", "F64", "I8", [], [0], {}, [[]])


def _changed_value(value: Any, random: np.random.Generator) -> str:
    """Another value at some place in nested dicts and lists; says which."""
    place = ""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = keys[random.integers(len(keys))]
        place += f"[{key!r}]"
        inner = value[key]
        if isinstance(inner, dict | list) and inner and random.random() < 0.8:
            value = inner
            continue
        new = torch.zeros(3) if isinstance(inner, torch.Tensor) else _VALUES[random.integers(len(_VALUES))]
        if isinstance(inner, torch.Tensor) and random.random() < 0.5:
            new = 3
        if isinstance(value, dict) and random.random() < 0.2:
            del value[key]
            return f"without {place}"
        value[key] = new
        return f"{place} = {new!r:.50}"


def _good(path: Path) -> bytes:
    return path.read_bytes()


def _fresh(folder: Path, name: str) -> Path:
    path = folder / name
    shutil.rmtree(path, ignore_errors=True)
    return path


def edited(run: Run, file: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a sealed JSON file, and seal it anew."""
    value = read_sealed_json(run.path / file)
    change(value)
    write_sealed_json(run.path / file, value)
