"""Reads the pickles of the CIFAR batch files without running what is in them.

The files were written by Python 2 (protocol 2). This is an interpreter of the opcodes that occur in them, and of no
others: it can build dictionaries, lists, tuples, numbers, byte strings and two-dimensional uint8 arrays. A name in the
file (GLOBAL) becomes a member of an enumeration, and REDUCE and BUILD compare with the three forms that are known. So
nothing is looked up, imported or called, whatever the file says; Python's own unpickler plays no part.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

# An official file has 30,098, CIFAR-100's largest 200,000; a limit, as each of one byte can cost a hundred of memory.
MAX_OPCODES: Final = 400_000
Text = TypeVar("Text", bytes, memoryview)


class BatchFormatError(ValueError):
    """The bytes are no batch file; the message says why, and never repeats what the file holds."""


def read_batch_pickle(content: bytes) -> dict[bytes, object]:
    """The dictionary that a batch file holds.

    Its values are int, bool, None, bytes (memoryview where longer than 255), list, dict and NDArray[uint8] [N, K], a
    read-only view of `content`. Which keys there are is for the caller to check. Raises BatchFormatError for all else.
    """
    if content[:2] != b"\x80\x02":
        raise BatchFormatError("does not begin as a pickle of protocol 2")
    try:
        result, end = _run(content)
    except (IndexError, KeyError, struct.error):
        # One of: bytes that end inside an opcode, an empty stack, a memo that was never put.
        raise BatchFormatError("is cut short or damaged") from None
    if end != len(content):
        raise BatchFormatError(f"goes on after its end at byte {end}")
    if type(result) is not dict:
        raise BatchFormatError(f"holds a {type(result).__name__} where a dict is needed")
    return result


class _Name(enum.Enum):
    """The names that occur in the files, as mere tokens."""

    RECONSTRUCT = enum.auto()
    NDARRAY = enum.auto()
    DTYPE = enum.auto()


_NAMES: Final = {
    b"numpy.core.multiarray\n_reconstruct\n": _Name.RECONSTRUCT,
    b"numpy._core.multiarray\n_reconstruct\n": _Name.RECONSTRUCT,  # the same, since NumPy 2
    b"numpy\nndarray\n": _Name.NDARRAY,
    b"numpy\ndtype\n": _Name.DTYPE,
}


class _Uint8:
    """Stands for numpy.dtype("u1")."""


@dataclass(eq=False)
class _Array:
    """Stands for an array; REDUCE makes it empty, BUILD fills it."""

    values: NDArray[np.uint8] | None = None


class _Op(enum.IntEnum):
    """Protocol 2's codes, under the names that pickletools gives them."""

    BININT1 = ord("K")
    SHORT_BINSTRING = ord("U")
    LONG_BINPUT = ord("r")
    BINPUT = ord("q")
    BINGET = ord("h")
    LONG_BINGET = ord("j")
    BININT = ord("J")
    BININT2 = ord("M")
    BINSTRING = ord("T")
    NONE = ord("N")
    NEWTRUE = 0x88
    NEWFALSE = 0x89
    MARK = ord("(")
    EMPTY_DICT = ord("}")
    SETITEM = ord("s")
    SETITEMS = ord("u")
    EMPTY_LIST = ord("]")
    APPEND = ord("a")
    APPENDS = ord("e")
    EMPTY_TUPLE = ord(")")
    TUPLE1 = 0x85
    TUPLE2 = 0x86
    TUPLE3 = 0x87
    TUPLE = ord("t")
    GLOBAL = ord("c")
    REDUCE = ord("R")
    BUILD = ord("b")
    STOP = ord(".")


_CONSTANTS: Final = {_Op.NONE: None, _Op.NEWTRUE: True, _Op.NEWFALSE: False, _Op.EMPTY_TUPLE: ()}


def _run(content: bytes) -> tuple[object, int]:
    """Interpret `content` after its PROTO; what is on the stack at STOP, and the position after it."""
    position = 2
    view = memoryview(content)  # what is long, the pixels, is not copied
    stack: list[object] = []
    below: list[list[object]] = []  # the stacks that open MARKs have put aside
    memo: dict[int, object] = {}  # a dict, so that a damaged index costs nothing
    # The four that make up nearly the whole of a file come first, compared with plain numbers.
    binint1, short_binstring, long_binput, binput = (
        int(op) for op in (_Op.BININT1, _Op.SHORT_BINSTRING, _Op.LONG_BINPUT, _Op.BINPUT)
    )
    for _ in range(MAX_OPCODES):
        code = content[position]
        position += 1
        if code == binint1:
            stack.append(content[position])
            position += 1
        elif code == short_binstring:
            position, text = _take(content, position + 1, content[position])
            stack.append(text)
        elif code == long_binput:
            memo[int.from_bytes(content[position : position + 4], "little")] = stack[-1]
            position += 4
        elif code == binput:
            memo[content[position]] = stack[-1]
            position += 1
        elif code == _Op.STOP:
            result = stack.pop()
            if stack or below:
                raise BatchFormatError("ends with values left over")
            return _finished(result), position
        elif code == _Op.MARK:
            below.append(stack)
            stack = []
        elif code in (_Op.TUPLE, _Op.APPENDS, _Op.SETITEMS):
            items, stack = stack, below.pop()
            if code == _Op.TUPLE:
                stack.append(tuple(items))
            elif code == _Op.APPENDS:
                _extend_list(stack[-1], items)
            else:
                _extend_dict(stack[-1], items)
        elif code == _Op.APPEND:
            item = stack.pop()
            _extend_list(stack[-1], [item])
        elif code == _Op.SETITEM:
            item, key = stack.pop(), stack.pop()
            _extend_dict(stack[-1], [key, item])
        elif code in (_Op.TUPLE1, _Op.TUPLE2, _Op.TUPLE3):
            values = [stack.pop() for _ in range(code - _Op.TUPLE1 + 1)]
            stack.append(tuple(reversed(values)))
        elif code == _Op.EMPTY_LIST:
            stack.append([])
        elif code == _Op.EMPTY_DICT:
            stack.append({})
        elif code in _CONSTANTS:
            stack.append(_CONSTANTS[_Op(code)])
        elif code == _Op.BININT2:
            stack.append(struct.unpack_from("<H", content, position)[0])
            position += 2
        elif code == _Op.BININT:
            stack.append(struct.unpack_from("<i", content, position)[0])
            position += 4
        elif code == _Op.BINSTRING:
            (length,) = struct.unpack_from("<i", content, position)
            position, long_text = _take(view, position + 4, length)
            stack.append(long_text)
        elif code == _Op.BINGET:
            stack.append(memo[content[position]])
            position += 1
        elif code == _Op.LONG_BINGET:
            stack.append(memo[struct.unpack_from("<I", content, position)[0]])
            position += 4
        elif code == _Op.GLOBAL:
            position, name = _global(content, position)
            stack.append(name)
        elif code == _Op.REDUCE:
            arguments, function = stack.pop(), stack.pop()
            stack.append(_reduce(function, arguments))
        elif code == _Op.BUILD:
            state = stack.pop()
            _build(stack[-1], state)
        else:
            raise BatchFormatError(f"has opcode 0x{code:02x} at byte {position - 1}, which no batch file has")
    raise BatchFormatError(f"has more than {MAX_OPCODES} opcodes")


def _take(content: Text, start: int, length: int) -> tuple[int, Text]:
    """The position after the `length` bytes at `start`, and these bytes."""
    end = start + length
    if length < 0 or end > len(content):
        raise BatchFormatError(f"is cut short: {length} bytes are announced at byte {start} of {len(content)}")
    return end, content[start:end]


def _global(content: bytes, position: int) -> tuple[int, _Name]:
    for text, name in _NAMES.items():
        if content.startswith(text, position):
            return position + len(text), name
    raise BatchFormatError(f"names something to import at byte {position}; a batch file needs NumPy's array alone")


def _extend_list(target: object, items: list[object]) -> None:
    if type(target) is not list:
        raise BatchFormatError("appends to what is no list")
    target.extend(_finished(item) for item in items)


def _extend_dict(target: object, items: list[object]) -> None:
    if type(target) is not dict or len(items) % 2:
        raise BatchFormatError("sets items of what is no dict")
    for key, item in zip(items[::2], items[1::2], strict=True):
        if type(key) is not bytes:
            raise BatchFormatError(f"has a {type(key).__name__} as a key; a byte string is needed")
        target[key] = _finished(item)


def _reduce(function: object, arguments: object) -> _Array | _Uint8:
    if function is _Name.RECONSTRUCT and arguments == (_Name.NDARRAY, (0,), b"b"):
        return _Array()
    if function is _Name.DTYPE and arguments == (b"u1", 0, 1):
        return _Uint8()
    raise BatchFormatError("builds something other than an array of uint8")


def _build(target: object, state: object) -> None:
    """Give `target` its state: (version, shape, dtype, Fortran order, bytes) for an array."""
    if type(target) is _Uint8 and state == (3, b"|", None, None, None, -1, -1, 0):
        return
    if type(target) is not _Array or target.values is not None or type(state) is not tuple or len(state) != 5:
        raise BatchFormatError("builds something other than an array of uint8")
    version, shape, dtype, fortran_order, values = state
    if version != 1 or type(dtype) is not _Uint8 or fortran_order is not False:
        raise BatchFormatError("has an array that is not uint8 in C order")
    if type(shape) is not tuple or len(shape) != 2 or not all(type(side) is int and side > 0 for side in shape):
        raise BatchFormatError("has an array that is not two-dimensional")
    rows, columns = shape
    if not isinstance(values, bytes | memoryview):
        raise BatchFormatError("has an array whose content is not bytes")
    if rows * columns != len(values):
        raise BatchFormatError(f"has an array of {rows} x {columns} in {len(values)} bytes")
    target.values = np.frombuffer(values, np.uint8).reshape(rows, columns)


def _finished(value: object) -> object:
    """What goes into a container or out of the reader: the array itself in place of what stood for it."""
    if type(value) is _Array:
        if value.values is None:
            raise BatchFormatError("has an array without content")
        return value.values
    if isinstance(value, _Uint8 | _Name | tuple):
        raise BatchFormatError("has something other than a value in a list or dict")
    return value
