"""Pickles that lie: mutated byte by byte and opcode by opcode, gadgets that would run code, and bombs."""

from __future__ import annotations

import contextlib
import os
import pickle
import pickletools
import struct
from collections.abc import Callable
from pathlib import Path

from cifar_files import string
from numpy.random import Generator

Mutator = Callable[[bytes, Generator], bytes]


def mutated(content: bytes, random: Generator) -> bytes:
    """`content` with one to four mutations, of bytes or of opcodes."""
    for _ in range(random.integers(1, 5)):
        kind = MUTATORS[random.integers(len(MUTATORS))]
        content = kind(content, random)
    return content


def _place(content: bytes, random: Generator) -> int:
    """A position; half of them among the first or last 200 bytes, as most of a file is pixels."""
    if random.random() < 0.5:
        near = int(random.integers(0, min(200, len(content)) + 1))
        return near if random.random() < 0.5 else len(content) - near
    return int(random.integers(0, len(content) + 1))


def _slice(content: bytes, random: Generator) -> tuple[int, int]:
    start = _place(content, random)
    return start, min(start + int(random.integers(1, 64)), len(content))


def truncated(content: bytes, random: Generator) -> bytes:
    return content[: _place(content, random)]


def flipped(content: bytes, random: Generator) -> bytes:
    changed = bytearray(content)
    for _ in range(random.integers(1, 9) if changed else 0):
        changed[min(_place(content, random), len(content) - 1)] ^= 1 << random.integers(8)
    return bytes(changed)


def cut_out(content: bytes, random: Generator) -> bytes:
    start, end = _slice(content, random)
    return content[:start] + content[end:]


def repeated(content: bytes, random: Generator) -> bytes:
    start, end = _slice(content, random)
    return content[:end] + content[start:]


def inserted(content: bytes, random: Generator) -> bytes:
    start = _place(content, random)
    return content[:start] + random.bytes(int(random.integers(1, 16))) + content[start:]


def _opcodes(content: bytes) -> list[bytes]:
    """The opcodes with their arguments; what follows the last that can be read is one more."""
    starts: list[int] = []
    with contextlib.suppress(ValueError, UnicodeError):
        starts.extend(position for _, _, position in pickletools.genops(content) if position is not None)
    starts = starts or [0]
    return [content[start:end] for start, end in zip(starts, [*starts[1:], len(content)], strict=True)]


def opcodes_changed(content: bytes, random: Generator) -> bytes:
    """One opcode left out, doubled, swapped with another, replaced, or one more."""
    opcodes = _opcodes(content)
    place, other = (int(random.integers(len(opcodes))) for _ in range(2))
    new = POOL[random.integers(len(POOL))]
    match random.integers(5):
        case 0:
            del opcodes[place]
        case 1:
            opcodes.insert(place, opcodes[place])
        case 2:
            opcodes[place], opcodes[other] = opcodes[other], opcodes[place]
        case 3:
            opcodes[place] = new
        case _:
            opcodes.insert(place, new)
    return b"".join(opcodes)


_INTEGERS = (-(2**31), -1, 0, 1, 2, 9, 10, 99, 100, 255, 256, 1024, 3072, 3073, 65535, 65536, 2**31 - 1)
POOL = [
    *(bytes([code]) for code in b"()}]seautbR.N012QoIl d\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94"),
    *(b"J" + struct.pack("<i", value) for value in _INTEGERS),
    *(b"T" + struct.pack("<i", value) for value in _INTEGERS),  # BINSTRING that announces more than there is
    *(b"\x8b" + struct.pack("<i", value) for value in _INTEGERS),  # LONG4
    *(b"B" + struct.pack("<i", value) for value in _INTEGERS),  # BINBYTES
    *(code + struct.pack("<Q", 2**62) for code in (b"\x8d", b"\x8e", b"\x96", b"\x95")),  # of 8 bytes' length, FRAME
    *(code + bytes([number]) for code in (b"h", b"q", b"K", b"U", b"\x82") for number in (0, 1, 5, 255)),
    *(code + struct.pack("<I", number) for code in (b"j", b"r") for number in (0, 3, 2**32 - 1)),
    *(b"c" + name + b"\n" for name in (b"numpy\nndarray", b"numpy\ndtype", b"numpy.core.multiarray\n_reconstruct")),
    *(b"cos\nsystem\n", b"ios\nsystem\n", b"cbuiltins\neval\n", b"Pid\n", b"I99999999999\n", b"F1e999\n", b"L1L\n"),
]
MUTATORS: list[Mutator] = [truncated, flipped, flipped, cut_out, repeated, inserted, *[opcodes_changed] * 6]


def dictionary(**values: bytes) -> bytes:
    """A pickle of protocol 2 of a dict whose values are given as opcodes."""
    return b"\x80\x02}(" + b"".join(string(key.encode()) + value for key, value in values.items()) + b"u."


class Calls:
    """Pickled, it calls `function` when it is loaded, or has it called with a state."""

    def __init__(self, *reduced: object) -> None:
        self.reduced = reduced

    def __reduce__(self) -> tuple[object, ...]:
        return self.reduced


def gadgets(sentinel: Path) -> dict[str, bytes]:
    """Opcodes that leave one value on the stack, after creating the file `sentinel` where somebody runs them."""
    command, path = string(f"touch {sentinel}".encode()), string(str(sentinel).encode())
    code = string(f"open({str(sentinel)!r}, 'w').close()".encode())
    rebuilt, state = b"cnumpy.core.multiarray\n_reconstruct\n", b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00"
    one = {
        "os.system": b"cos\nsystem\n" + command + b"\x85R",
        "posix.system": b"cposix\nsystem\n" + command + b"\x85R",
        "os.popen": b"cos\npopen\n" + command + b"\x85R",
        "subprocess.getoutput": b"csubprocess\ngetoutput\n" + command + b"\x85R",
        "subprocess.Popen": b"csubprocess\nPopen\n](U\x05touch" + path + b"e\x85R",
        "builtins.eval": b"cbuiltins\neval\n" + code + b"\x85R",
        "builtins.exec": b"cbuiltins\nexec\n" + code + b"\x85R",
        "Python 2's eval": b"c__builtin__\neval\n" + code + b"\x85R",
        "pty.spawn": b"cpty\nspawn\n](U\x05touch" + path + b"e\x85R",
        "timeit": b"ctimeit\ntimeit\n(" + code + b"U\x04passctime\nperf_counter\nK\x01tR",
        "code.interact": b"ccode\nInteractiveInterpreter\n)R" + b"}b",
        "runpy": b"crunpy\n_run_code\n" + code + b"}\x86R",
        "importlib": b"cimportlib\nimport_module\nU\x0aantigravity\x85R",
        "ctypes": b"cctypes\nCDLL\nN\x85R",
        "operator.attrgetter": b"coperator\nattrgetter\nU\x06system\x85Rcos\n__dict__\n\x85R",
        "operator.methodcaller": b"coperator\nmethodcaller\nU\x06system" + command + b"\x86Rcposix\n__loader__\n\x85R",
        "functools.partial": b"cfunctools\npartial\ncos\nsystem\n" + command + b"\x86R)R",
        "functools.reduce": b"cfunctools\nreduce\ncos\nsystem\n](" + command + b"e\x86R",
        "map": b"cbuiltins\nlist\ncbuiltins\nmap\ncos\nsystem\n](" + command + b"e\x86R\x85R",
        "getattr": b"cbuiltins\ngetattr\nc__main__\n__builtins__\nU\x04eval\x86R" + code + b"\x85R",
        "INST": b"(" + command + b"ios\nsystem\n",
        "OBJ": b"(cos\nsystem\n" + command + b"o",
        "NEWOBJ": b"cos\nsystem\n" + command + b"\x85\x81",
        "NEWOBJ_EX": b"cos\nsystem\n" + command + b"\x85}\x92",
        "STACK_GLOBAL": b"U\x02osU\x06system\x93" + command + b"\x85R",
        "unicode STACK_GLOBAL": b"X\x02\0\0\0osX\x06\0\0\0system\x93" + command + b"\x85R",
        "EXT1": b"\x82\x01" + command + b"\x85R",
        "EXT2": b"\x83\x01\0" + command + b"\x85R",
        "EXT4": b"\x84\x01\0\0\0" + command + b"\x85R",
        "PERSID": b"Pos.system\n",
        "BINPERSID": command + b"Q",
        "numpy.load": b"cnumpy\nload\n" + path + b"N\x88\x87R",
        "numpy.memmap": b"cnumpy\nmemmap\n(" + path + b"U\x02u1U\x02w+K\x00K\x01tR",
        "numpy.savetxt": b"cnumpy\nsavetxt\n" + path + b"](K\x01e\x86R",
        "numpy.ndarray.tofile": b"cnumpy\nndarray.tofile\n" + path + b"\x85R",
        "numpy.fromfile": b"cnumpy\nfromfile\nU\x0b/etc/passwd\x85R",
        "numpy's runstring": b"cnumpy.testing._private.utils\nrunstring\n" + code + b"}\x86R",
        "numpy.f2py": b"cnumpy.f2py\ncompile\n" + code + b"\x85R",
        "_reconstruct of another": rebuilt + b"ccollections\nUserList\nK\x00\x85U\x01b\x87R",
        "_reconstruct of objects": rebuilt + b"cnumpy\nndarray\nK\x00\x85U\x01O\x87R",
        "dtype of objects": b"cnumpy\ndtype\nU\x01OK\x00K\x01\x87R",
        "dtype with metadata": b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNN" + state + b"}tb",
        "__setstate__": b"ccollections\nOrderedDict\n)R}U\x0c__setstate__cos\nsystem\nsb",
        "torch.load": b"ctorch\nload\n" + path + b"\x85R",
        "logging.config": b"clogging.config\nlisten\n)R",
        "webbrowser": b"cwebbrowser\nopen\nU\x10http://127.0.0.1\x85R",
        "Path.touch": b"cpathlib\nPath.touch\ncpathlib\nPosixPath\n" + path + b"\x85R\x85R",
        "pickle in pickle": b"cpickle\nloads\n" + string(b"\x80\x02cos\nsystem\n" + command + b"\x85R.") + b"\x85R",
        "copyreg": b"ccopyreg\n_reconstructor\ncos\nsystem\ncbuiltins\nobject\nN\x87R",
    }
    for protocol in range(6):
        call = pickle.dumps(Calls(os.system, (f"touch {sentinel}",)), protocol)
        one[f"written by Python, protocol {protocol}"] = call
    return one


def placed(gadget: bytes, good: bytes) -> dict[str, bytes]:
    """Whole files with the gadget in them, where `good` is a file that is read."""
    if gadget.endswith(b"."):  # a whole pickle as it is
        return {"alone": gadget}
    return {
        "alone": b"\x80\x02" + gadget + b".",
        "in protocol 4": b"\x80\x04" + gadget + b".",
        "first of all": b"\x80\x02" + gadget + b"0" + good[2:],
        "as the labels": dictionary(labels=gadget, fine_labels=gadget, label_names=gadget, fine_label_names=gadget),
        "as the pixels": dictionary(data=gadget),
        "as a label": dictionary(labels=b"](" + gadget + b"e"),
        "as a key": b"\x80\x02}" + gadget + b"Ns.",
        "memoized": b"\x80\x02" + gadget + b"q\x01}U\x01ah\x01s.",
        "in a shape": good.replace(b"(K\x01", b"(" + gadget, 1),
        "in a state": good.replace(b"NNN", gadget + b"NN", 1) if b"NNN" in good else b"\x80\x02}" + gadget + b"b.",
    }


def _array(rows: int, columns: int) -> bytes:
    sides = b"".join(b"J" + struct.pack("<i", side) for side in (rows, columns))
    rebuilt = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01" + sides + b"\x86"
    dtype = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    return dictionary(data=rebuilt + dtype + b"\x89" + string(bytes(6144)) + b"tb")


_HEAD = b"\x80\x02"
# Small files, or files of the size that is read, that make a reader work or fill the memory; made when called.
BOMBS: dict[str, Callable[[], bytes]] = {
    "deep lists": lambda: _HEAD + b"]" * 300_000 + b"a" * 299_999 + b".",
    "deep tuples": lambda: _HEAD + b")" + b"\x85" * 390_000 + b".",
    "deep tuple as arguments": lambda: _HEAD + b"cnumpy\ndtype\n)" + b"\x85" * 390_000 + b"R.",
    "deep dicts": lambda: _HEAD + b"}" * 100_000 + b"U\x01aNs" * 10 + b".",
    "billion laughs of tuples": lambda: _HEAD + b"(U\x03lolq\x01(" + (b"h\x01" * 9 + b"tq\x01(") * 1000 + b"t.",
    "billion laughs of lists": lambda: _HEAD + b"]q\x01" + b"](h\x01h\x01h\x01h\x01eq\x01" * 50_000 + b".",
    "billion laughs as arguments": lambda: (
        _HEAD + b"cnumpy\ndtype\n)q\x01" + b"0h\x01h\x01h\x01\x87q\x01" * 60_000 + b"R."
    ),
    "a list in itself": lambda: _HEAD + b"]q\x01" + b"h\x01a" * 100_000 + b".",
    "marks": lambda: _HEAD + b"(" * 399_999 + b".",
    "too many opcodes": lambda: _HEAD + b"N0" * 5_000_000,
    "memo at every index": lambda: (
        _HEAD + b"}" + b"".join(b"r" + struct.pack("<I", i * 65_537 % 2**32) for i in range(390_000))
    ),
    "keys in their thousands": lambda: dictionary(**{f"k{i}": b"N" for i in range(100_000)}),
    "texts of 255": lambda: _HEAD + b"](" + (b"U\xff" + bytes(255)) * 200_000 + b"e.",
    "LONG1": lambda: _HEAD + b"\x8a\xff" + b"\xff" * 255 + b".",
    "LONG4 of 2 GB": lambda: _HEAD + b"\x8b" + struct.pack("<i", 2**31 - 1) + b"\xff" * 1000,
    "LONG4 of 30 MB": lambda: _HEAD + b"\x8b" + struct.pack("<i", 30_000_000) + b"\xff" * 30_000_000 + b".",
    "INT of ten million digits": lambda: _HEAD + b"I" + b"9" * 10_000_000 + b"\n.",
    "BINBYTES of 2 GB": lambda: _HEAD + b"B" + struct.pack("<I", 2**31) + b"x" * 1000,
    "BINBYTES8 of 4 EB": lambda: _HEAD + b"\x8e" + struct.pack("<Q", 2**62) + b"x" * 1000,
    "BYTEARRAY8 of 4 EB": lambda: _HEAD + b"\x96" + struct.pack("<Q", 2**62) + b"x" * 1000,
    "BINUNICODE8 of 4 EB": lambda: _HEAD + b"\x8d" + struct.pack("<Q", 2**62) + b"x" * 1000,
    "FRAME of 4 EB": lambda: b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N.",
    "BINSTRING of 2 GB": lambda: _HEAD + b"T" + struct.pack("<i", 2**31 - 1) + b"x" * 1000,
    "shape of 4 EB": lambda: _array(2**31 - 1, 2**31 - 1),
    "shape with a zero": lambda: _array(0, 2**31 - 1),
    "negative shape": lambda: _array(-2, -3072),
    "nothing but zeros": lambda: bytes(60_000_000),
    "nothing but ones": lambda: b"\xff" * 60_000_000,
}
