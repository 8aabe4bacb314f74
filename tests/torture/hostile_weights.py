"""Weights, checkpoints and predictions made to hurt: safetensors, pickles and archives that lie."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from torture.pickles import Calls, gadgets

FORMAT = "onecycle-state-1"


def safetensors(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    """A file with this header, JSON unless it is bytes, which may announce another length."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def _one(dtype: object = "F32", shape: object = (2,), offsets: object = (0, 8), **more: object) -> dict[str, Any]:
    return {"0.weight": {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}}


def weights(canary: Path, good: bytes) -> dict[str, Callable[[], bytes]]:
    """Files by name; `good` is the one in whose place they come, `canary` what a gadget would touch."""
    pair = {"a": _one()["0.weight"], "b": _one(offsets=[4, 12])["0.weight"]}
    eight = bytes(8)
    found: dict[str, Callable[[], bytes]] = {
        "nothing": lambda: b"",
        "seven bytes": lambda: bytes(7),
        "no header": lambda: bytes(8),
        "header of 2^63": lambda: safetensors({}, length=2**63),
        "header of 2^64 - 1": lambda: safetensors({}, length=2**64 - 1),
        "header longer than the file": lambda: safetensors({}, length=10**6),
        "header of 200 MB": lambda: safetensors(b"{" + b" " * (200 * 10**6) + b"}"),
        "header of 90 MB of blanks": lambda: safetensors(b"{" + b" " * (90 * 10**6) + b"}"),
        "a list": lambda: safetensors([]),
        "not JSON": lambda: safetensors(b"{'a': 1}"),
        "NaN": lambda: safetensors(b'{"a": NaN}'),
        "not UTF-8": lambda: safetensors(b'{"\xff": {}}'),
        "nested": lambda: safetensors(b'{"a":' * 10**5 + b"1" + b"}" * 10**5),
        "nested lists": lambda: safetensors(b'{"a":' + b"[" * 10**6 + b"]" * 10**6 + b"}"),
        "duplicate keys": lambda: safetensors(
            b'{"0.weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
            b'"0.weight":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
            eight,
        ),
        "overlap": lambda: safetensors(pair, bytes(12)),
        "hole": lambda: safetensors(_one(offsets=[8, 16]), bytes(16)),
        "data left over": lambda: safetensors(_one(), bytes(100)),
        "data missing": lambda: safetensors(_one()),
        "negative shape": lambda: safetensors(_one(shape=[-2]), eight),
        "negative offsets": lambda: safetensors(_one(offsets=[-8, 0]), eight),
        "offsets the wrong way": lambda: safetensors(_one(offsets=[8, 0]), eight),
        "offsets of 2^64": lambda: safetensors(_one(offsets=[2**64 - 8, 2**64]), eight),
        "shape that overflows": lambda: safetensors(_one(shape=[2**32, 2**32, 2]), eight),
        "shape of 2^62 and nothing": lambda: safetensors(_one(shape=[2**62, 2, 0], offsets=[0, 0])),
        "shape of floats": lambda: safetensors(_one(shape=[2.0]), eight),
        "shape of text": lambda: safetensors(_one(shape="2"), eight),
        "shape of 10,000 dimensions": lambda: safetensors(_one(shape=[1] * 10_000 + [2]), eight),
        "dtype that lies": lambda: safetensors(_one("F64"), eight),
        "dtype of none": lambda: safetensors(_one("OBJECT"), eight),
        "dtype with an escape": lambda: safetensors(_one("\x1b]0;owned\x07\x1b[2J"), eight),
        "dtype null": lambda: safetensors(_one(None), eight),
        "another key": lambda: safetensors(_one(code="import os"), eight),
        "metadata a number": lambda: safetensors({"__metadata__": 3}),
        "metadata nested": lambda: safetensors({"__metadata__": {"a": {"b": "c"}}}),
        "metadata of 20 MB": lambda: safetensors({"__metadata__": {"a": "x" * 20_000_000}}),
        "100,000 tensors": lambda: safetensors(
            {f"t{i}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for i in range(100_000)}
        ),
        "1,000,000 tensors": lambda: safetensors(
            {f"t{i}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for i in range(1_000_000)}
        ),
        "a name of 1 MB": lambda: safetensors({"x" * 10**6: _one()["0.weight"]}, eight),
        "a name with escapes": lambda: safetensors({"\x1b[2J\n\r\x07": _one()["0.weight"]}, eight),
        "another net": lambda: save({"other": torch.zeros(3)}),
        "no tensors": lambda: save({}),
        "zip": lambda: _zipped(b"x"),
        "whole, twice": lambda: good + good,
        "cut short": lambda: good[:-1],
    }
    for dtype in ("F4", "F6_E2M3", "F8_E4M3", "F8_E8M0", "C64", "BF16", "U64", "I8", "BOOL"):
        found[f"all of {dtype}"] = lambda d=dtype: _retyped(good, d)
    for name, gadget in gadgets(canary).items():
        found[f"pickle, {name}"] = lambda g=gadget: b"\x80\x02" + g + b"."
    found["torch's pickle"] = lambda: _torch_file(canary)
    found["torch's old pickle"] = lambda: _torch_file(canary, _use_new_zipfile_serialization=False)
    return found


def predictions(canary: Path, good: bytes) -> dict[str, Callable[[], bytes]]:
    """In the place of predictions.npz."""
    logits, labels = np.zeros((60, 4), np.float32), np.zeros(60, np.int64)
    arrays = {"logits": logits, "labels": labels, "index": np.arange(60)}
    objects = np.array([Calls(__import__("os").system, (f"touch {canary}",))], dtype=object)

    def npz(**changed: Any) -> Callable[[], bytes]:
        return lambda: _npz({**arrays, **changed})

    def header(text: str) -> Callable[[], bytes]:
        body = text.encode() + b"\n"
        return lambda: _members({"logits.npy": b"\x93NUMPY\x01\x00" + struct.pack("<H", len(body)) + body})

    described = "{'descr': %s, 'fortran_order': False, 'shape': %s, }"
    found: dict[str, Callable[[], bytes]] = {
        "nothing": lambda: b"",
        "objects": npz(logits=objects),
        "labels as objects": npz(labels=objects),
        "a pickle": lambda: pickle.dumps(objects),
        "an npy": lambda: _npy(logits),
        "an npy of objects": lambda: _npy(objects),
        "text": npz(logits=np.array([["a"] * 4] * 60)),
        "complex": npz(logits=logits.astype(np.complex64)),
        "a structure": npz(logits=np.zeros((60, 4), [("a", "<f4")])),
        "no images": npz(logits=logits[:0], labels=labels[:0], index=labels[:0]),
        "no classes": npz(logits=logits[:, :0]),
        "other classes": npz(logits=np.zeros((60, 9), np.float32)),
        "one dimension": npz(logits=logits[:, 0]),
        "a scalar": npz(logits=np.float32(3)),
        "NaN": npz(logits=np.full((60, 4), np.nan, np.float32)),
        "infinity": npz(logits=np.full((60, 4), np.inf, np.float32)),
        "labels outside": npz(labels=labels + 9),
        "labels below": npz(labels=labels - 1),
        "labels as floats": npz(labels=labels.astype(np.float32)),
        "too few labels": npz(labels=labels[:9]),
        "a bomb": lambda: _npz({**arrays, "logits": np.zeros((100_000_000, 4), bool)}, compressed=True),
        "10^12 rows": header(described % ("'<f4'", (10**12, 4))),
        "10^30 rows": header(described % ("'<f4'", (10**30, 4))),
        "rows below zero": header(described % ("'<f4'", (-1, 4))),
        "code for a shape": header(described % ("'<f4'", "__import__('os').system('touch x')")),
        "nested": header("(" * 5000 + ")" * 5000),
        "nested lists": header("[" * 9000),
        "descr of objects": header(described % ("'|O'", (1,))),
        "descr of nonsense": header(described % ("[('a', '<f4', (99999999, 99999999))]", (9,))),
        "version 9": lambda: _members({"logits.npy": b"\x93NUMPY\x09\x00" + bytes(80)}),
        "not arrays": lambda: _members(dict.fromkeys(("logits.npy", "labels.npy", "index.npy"), b"hello")),
        "encrypted": lambda: _flagged(good, 1),
        "a way of packing that there is none": lambda: _packed_as(good, 99),
        "outside": lambda: _members({"../../logits.npy": _npy(logits), "/etc/labels.npy": b""}),
        "a comment": lambda: good[:-2] + b"\xff\xff" + b"x" * 9,
    }
    return found


def sealed_checkpoint(state: object, tensors: dict[str, torch.Tensor] | None = None, text: str | None = None) -> bytes:
    """A checkpoint whose digest is right, so that what it holds is looked at."""
    described = json.dumps(state) if text is None else text
    digest = hashlib.sha256(described.encode())
    tensors = tensors or {}
    for name in sorted(tensors):
        digest.update(tensors[name].flatten().view(torch.uint8).numpy().data)
    return save(tensors, {"format": FORMAT, "state": described, "sha256": digest.hexdigest()})


def checkpoints(canary: Path, good: bytes) -> dict[str, Callable[[], bytes]]:
    """In the place of every checkpoint of a run."""
    shape = {"dict": [["step", 1], ["epoch", 0]]}
    found = {name: make for name, make in weights(canary, good).items() if "200 MB" not in name}
    texts = {
        "deep lists": "[" * 10**5 + "]" * 10**5,
        "deep dicts": '{"dict":[["a",' * 10**4 + "1" + "]]}" * 10**4,
        "NaN": "NaN",
        "a huge number": "1" + "0" * 10**5,
        "Infinity": '{"dict":[["step",Infinity]]}',
        "not JSON": "state",
        "half of a character": '"\\ud800"',
    }
    states: dict[str, object] = {
        "null": None,
        "a number": 3,
        "a list": [1, 2],
        "text": "state",
        "too little": shape,
        "a dict of a number": {"dict": 3},
        "a dict of triples": {"dict": [[1, 2, 3]]},
        "a key that is a list": {"dict": [[[1], 2]]},
        "a dict of other keys": {"a": 1},
        "a tensor that is not there": {"tensor": "x"},
        "a tensor by a list": {"tensor": [1]},
    }
    for name, text in texts.items():
        found[f"state, {name}"] = lambda t=text: sealed_checkpoint(None, text=t)
    for name, state in states.items():
        found[f"state, {name}"] = lambda s=state: sealed_checkpoint(s)
    return found


def with_state(good: bytes, change: Callable[[dict[str, Any]], None], folder: Path) -> bytes:
    """A checkpoint whose state was changed, digest and all."""
    from onecycle.checkpoint import load_state, save_state

    path = folder / "changed.safetensors"
    path.write_bytes(good)
    state = load_state(path)
    change(state)
    save_state(path, state)
    content = path.read_bytes()
    path.unlink()
    return content


def _retyped(good: bytes, dtype: str) -> bytes:
    """Whole weights whose first tensor says it is of another type."""
    length = struct.unpack("<Q", good[:8])[0]
    header = json.loads(good[8 : 8 + length])
    first = next(name for name in header if name != "__metadata__")
    header[first]["dtype"] = dtype
    return safetensors(header, good[8 + length :])


def _torch_file(canary: Path, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save({"0.weight": Calls(__import__("os").system, (f"touch {canary}",))}, file, **options)
    return file.getvalue()


def _npz(arrays: dict[str, Any], *, compressed: bool = False) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **arrays)
    return file.getvalue()


def _npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _zipped(content: bytes) -> bytes:
    return _members({"data.pkl": content})


def _members(contents: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return file.getvalue()


def _flagged(good: bytes, flag: int) -> bytes:
    """An archive whose members say that they are encrypted."""
    changed = bytearray(good)
    for signature, place in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        start = changed.find(signature)
        while start >= 0:
            changed[start + place] |= flag
            start = changed.find(signature, start + 1)
    return bytes(changed)


def _packed_as(good: bytes, method: int) -> bytes:
    changed = bytearray(good)
    for signature, place in ((b"PK\x01\x02", 10), (b"PK\x03\x04", 8)):
        start = changed.find(signature)
        while start >= 0:
            changed[start + place : start + place + 2] = struct.pack("<H", method)
            start = changed.find(signature, start + 1)
    return bytes(changed)
