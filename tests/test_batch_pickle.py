"""Batch files that are damaged or would run something, and the reader of their pickles."""

from __future__ import annotations

import builtins
import contextlib
import hashlib
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cifar_files import (
    CLASSES,
    FOLDER,
    batch_bytes,
    failure,
    meta_bytes,
    string,
    write_cifar10,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from onecycle.data import batch_pickle, cifar
from onecycle.data.batch_pickle import BatchFormatError, read_batch_pickle
from onecycle.data.cifar import cifar10

OFFICIAL = cifar.LAYOUT.files

# --- damaged batch files: every one ends in a line that names the file -------------------------------------------


PIXELS = np.arange(2 * 3072, dtype=np.uint8).reshape(2, 3072)
GOOD = batch_bytes(PIXELS, [1, 2])
ARRAY = GOOD[GOOD.index(b"cnumpy.core") : GOOD.index(b"U\x09filenames")]


def dictionary(**values: bytes) -> bytes:
    """A pickle of a dict whose values are given as opcodes."""
    return b"\x80\x02}(" + b"".join(string(key.encode()) + value for key, value in values.items()) + b"u."


def changed(old: bytes, new: bytes) -> bytes:
    assert GOOD.count(old) == 1
    return GOOD.replace(old, new)


DAMAGED = {
    "empty": b"",
    "text": b"<!DOCTYPE html><html>not found</html>",
    "protocol 4": pickle.dumps({b"data": 1}, protocol=4),
    "cut in the pixels": GOOD[: len(GOOD) // 2],
    "cut at the end": GOOD[:-1],
    "more after the end": GOOD + b"x",
    "no dict": b"\x80\x02].",
    "nothing at all": b"\x80\x02.",
    "two values": b"\x80\x02}}.",
    "open mark": b"\x80\x02(}.",
    "memo never put": b"\x80\x02h\x05.",
    "unknown opcode": b"\x80\x02\xff.",
    "persistent id": b"\x80\x02U\x01aQ.",
    "negative length": b"\x80\x02T\xff\xff\xff\xff.",
    "length beyond the end": b"\x80\x02T\xff\xff\xff\x7fabc.",
    "unhashable key": b"\x80\x02}]Ns.",
    "odd items": b"\x80\x02}(U\x01au.",
    "no data": dictionary(labels=b"](K\x01e"),
    "data is text": dictionary(labels=b"](K\x01e", data=string(bytes(3072))),
    "data is None": dictionary(labels=b"](K\x01e", data=b"N"),
    "no labels": dictionary(data=ARRAY),
    "labels are an array": dictionary(data=ARRAY, labels=ARRAY),
    "too few labels": batch_bytes(PIXELS, [1]),
    "too many labels": batch_bytes(PIXELS, [1, 2, 3]),
    "label 10": batch_bytes(PIXELS, [1, 10]),
    "label -1": batch_bytes(PIXELS, [1, -1]),
    "labels of text": dictionary(data=ARRAY, labels=b"](U\x011U\x012e"),
    "labels of lists": dictionary(data=ARRAY, labels=b"](]]e"),
    "labels of bool": dictionary(data=ARRAY, labels=b"](\x88\x88e"),
    "narrow rows": batch_bytes(PIXELS[:, :1024], [1, 2]),
    "no rows": batch_bytes(PIXELS[:0], []),
    "shape beyond the bytes": changed(b"(K\x01K\x02M\x00\x0c\x86", b"(K\x01K\x03M\x00\x0c\x86"),
    "negative shape": changed(b"(K\x01K\x02M\x00\x0c\x86", b"(K\x01J\xfe\xff\xff\xffJ\x00\xf4\xff\xff\x86"),
    "one dimension": changed(b"(K\x01K\x02M\x00\x0c\x86", b"(K\x01M\x00\x18\x85"),
    "dtype f4": changed(b"U\x02u1", b"U\x02f4"),
    "dtype object": changed(b"U\x02u1", b"U\x02O8"),
    "big-endian state": changed(b"U\x01|NNN", b"U\x01>NNN"),
    "dtype with fields": changed(b"U\x01|NNN", b"U\x01|N]N"),
    "Fortran order": changed(b"tb\x89", b"tb\x88"),
    "array never filled": dictionary(data=ARRAY[: ARRAY.index(b"R") + 1]),
    "array filled twice": changed(b"tbU\x09filenames", b"tbNbU\x09filenames"),
    "a bare name": dictionary(data=b"cnumpy\nndarray\n"),
    "dtype as a value": dictionary(data=b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"),
    "array in a tuple": dictionary(data=ARRAY + b"\x85"),
    "deep": b"\x80\x02" + b"]" * 20_000 + b"a" * 19_999 + b".",
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_batch_files(tmp_path: Path, content: bytes) -> None:
    folder = write_cifar10(tmp_path, 1)
    (folder / "data_batch_2").write_bytes(content)
    message = failure(lambda: cifar10(data_dir=tmp_path))
    assert message.startswith(f"{folder / 'data_batch_2'}: ")
    assert f"MD5 {hashlib.md5(content).hexdigest()}; the official file has {OFFICIAL['data_batch_2'][1]}" in message
    assert len(message) < 1000


def test_pixels_that_differ_in_a_file_of_official_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_cifar10(tmp_path, 1)
    monkeypatch.setitem(OFFICIAL, "test_batch", ((folder / "test_batch").stat().st_size, "0" * 32))
    message = failure(lambda: cifar10(data_dir=tmp_path))
    assert message.startswith(f"{folder / 'test_batch'}: damaged; ")
    assert f"the official file has {'0' * 32}" in message


META = {
    "nine": meta_bytes(CLASSES[:9]),
    "twice": meta_bytes([*CLASSES[:9], "cat"]),
    "not UTF-8": meta_bytes().replace(b"horse", b"h\xffrse"),
    "not text": dictionary(label_names=b"](" + b"K\x01" * 10 + b"e"),
    "not a list": dictionary(label_names=b"N"),
    "none": dictionary(),
}


@pytest.mark.parametrize("content", META.values(), ids=META.keys())
def test_damaged_names(tmp_path: Path, content: bytes) -> None:
    folder = write_cifar10(tmp_path, 1)
    (folder / "batches.meta").write_bytes(content)
    assert failure(lambda: cifar10(data_dir=tmp_path)).startswith(f"{folder / 'batches.meta'}: ")


# --- files that try to run something -----------------------------------------------------------------------------


class Gadget:
    """Pickled, it calls `function` when it is loaded."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def gadgets(sentinel: Path) -> dict[str, bytes]:
    command = f"touch {sentinel}"
    python = f"__import__('pathlib').Path({str(sentinel)!r}).touch()"
    call = b"cos\nsystem\n" + string(command.encode()) + b"\x85R"
    return {
        "os.system": pickle.dumps(Gadget(os.system, command), protocol=2),
        "os.system, protocol 0": pickle.dumps(Gadget(os.system, command), protocol=0),
        "builtins.eval": pickle.dumps(Gadget(builtins.eval, python), protocol=2),
        "builtins.exec": pickle.dumps(Gadget(builtins.exec, python), protocol=2),
        "subprocess.call": pickle.dumps(Gadget(__import__("subprocess").call, ["touch", str(sentinel)]), protocol=2),
        "numpy.load": pickle.dumps(Gadget(np.load, str(sentinel), None, True), protocol=2),
        "Path.touch": pickle.dumps(Gadget(Path.touch, sentinel), protocol=2),
        "as data": dictionary(data=call, labels=b"](K\x01e"),
        "in the labels": dictionary(data=ARRAY, labels=b"](" + call + b"e"),
        "in the array's state": changed(b"(K\x01K\x02M", b"(" + call + b"K\x02M"),
        "in the shape": changed(b"K\x02M\x00\x0c\x86", call + b"M\x00\x0c\x86"),
        "in the dtype's state": changed(b"U\x01|NNN", b"U\x01|" + call + b"NN"),
        "as a key": b"\x80\x02}" + call + b"Ns.",
        "popped again": b"\x80\x02" + call + b"0" + GOOD[2:],
        "instance": b"\x80\x02(" + string(command.encode()) + b"ios\nsystem\n.",
        "object": b"\x80\x02(cos\nsystem\n" + string(command.encode()) + b"o.",
        "new object": b"\x80\x02cos\nsystem\n" + string(command.encode()) + b"\x85\x81.",
        "extension": b"\x80\x02\x82\x01" + string(command.encode()) + b"\x85R.",
        "stack global": b"\x80\x04U\x02osU\x06system\x93" + string(command.encode()) + b"\x85R.",
        "another of numpy's": dictionary(data=b"cnumpy\nload\n" + string(str(sentinel).encode()) + b"\x85R"),
        "name with more after": changed(b"cnumpy\nndarray\n", b"cnumpy\nndarray.tofile\n"),
        "called array class": dictionary(data=b"cnumpy\nndarray\n(K\x02K\x02\x86\x85R"),
        "state on a name": dictionary(data=b"cnumpy\nndarray\n}U\x01aK\x01sb"),
        "other function rebuilt": changed(b"K\x00\x85U\x01b\x87R", b"K\x00\x85U\x01O\x87R"),
    }


@pytest.mark.parametrize("name", gadgets(Path("/")))
@pytest.mark.parametrize("file", ["data_batch_1", "batches.meta"])
def test_nothing_in_a_file_is_run(tmp_path: Path, name: str, file: str) -> None:
    folder = write_cifar10(tmp_path, 1)
    (folder / file).write_bytes(gadgets(tmp_path / "was_run")[name])
    assert failure(lambda: cifar10(data_dir=tmp_path)).startswith(f"{folder / file}: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == [FOLDER]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_gadgets_would_run_in_an_ordinary_unpickler(tmp_path: Path) -> None:
    sentinel = tmp_path / "was_run"
    for name in ("os.system", "builtins.eval", "as data", "in the dtype's state"):
        # Python's unpickler may refuse the file in the end, but the command has been run by then.
        with contextlib.suppress(Exception):
            pickle.loads(gadgets(sentinel)[name], encoding="bytes")
        assert sentinel.exists(), name
        sentinel.unlink()


# --- the reader --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_the_reader_reads_what_pickle_reads(module: bytes) -> None:
    content = batch_bytes(PIXELS, [1, 2], module=module, filenames=[b"a.png", b"b" * 300])
    found = read_batch_pickle(content)
    assert list(found) == [b"batch_label", b"labels", b"data", b"filenames"]
    assert found[b"batch_label"] == b"training batch 1 of 5"
    assert found[b"labels"] == [1, 2]
    assert found[b"filenames"] == [b"a.png", b"b" * 300]
    assert np.array_equal(np.asarray(found[b"data"]), PIXELS)


def test_the_other_opcodes_of_python_2() -> None:
    content = b"\x80\x02}(U\x01aq\x01K\x01h\x01j\x01\x00\x00\x00U\x01b]q\x02K\x05aU\x01c\x88U\x01dM\x01\x02u."
    with pytest.raises(BatchFormatError):  # a memoized text and its own name: an odd number of items
        read_batch_pickle(content.replace(b"K\x01h", b"h"))
    assert read_batch_pickle(content) == {b"a": b"a", b"b": [5], b"c": True, b"d": 513}


def test_the_number_of_opcodes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_pickle, "MAX_OPCODES", 1000)
    with pytest.raises(BatchFormatError, match="more than 1000 opcodes"):
        read_batch_pickle(b"\x80\x02" + b"]" * 2000)


def test_a_huge_memo_index_costs_nothing() -> None:
    assert read_batch_pickle(b"\x80\x02}r" + struct.pack("<I", 2**32 - 1) + b".") == {}


@settings(max_examples=150, deadline=None)
@given(flips=st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(1, 255)), min_size=1, max_size=4))
def test_flipped_bits_read_as_data_or_as_an_error(flips: list[tuple[int, int]]) -> None:
    content = bytearray(GOOD)
    for position, mask in flips:
        content[position] ^= mask
    only_data_or_error(bytes(content))


@settings(max_examples=150, deadline=None)
@given(position=st.integers(2, 110), mask=st.integers(1, 255))
def test_flipped_bits_among_the_opcodes(position: int, mask: int) -> None:
    content = bytearray(GOOD)
    content[position] ^= mask
    only_data_or_error(bytes(content))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                *(bytes([code]) for code in b"()}]seautbR.N0QoI\x81\x85\x86\x87\x88\x89"),
                *(b"K\x01", b"U\x01a", b"q\x01", b"h\x01", b"cnumpy\nndarray\n", b"cnumpy\ndtype\n"),
                *(b"cos\nsystem\n", b"ios\nsystem\n", ARRAY),
            ]
        ),
        max_size=30,
    )
)
def test_opcodes_in_any_order(opcodes: list[bytes]) -> None:
    only_data_or_error(b"\x80\x02" + b"".join(opcodes) + b".")


def only_data_or_error(content: bytes) -> None:
    allowed = (int, bool, type(None), bytes, memoryview, list, dict, np.ndarray)
    try:
        found = read_batch_pickle(content)
    except BatchFormatError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 200
        return
    seen: set[int] = set()
    pending: list[object] = [found]
    while pending:
        value = pending.pop()
        assert type(value) in allowed
        if id(value) not in seen:
            seen.add(id(value))
            pending += value if isinstance(value, list) else value.values() if isinstance(value, dict) else []
