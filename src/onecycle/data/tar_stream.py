"""Reads named files out of a .tar.gz in memory, in bounded time and memory, whatever the archive holds.

Python's tarfile is made for archives that are trusted: PAX headers in their millions, nested headers and sparse members
make it run for minutes, fill the memory or end in a RecursionError. What is needed here is less: the regular members of
the POSIX ustar format, https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html#tag_20_92_13_06; members of
every other kind (links, devices, PAX and GNU headers, sparse files) are passed over unread.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection
from typing import IO, Final

MAX_UNPACKED_BYTES: Final = 256 * 2**20  # CIFAR's archives have 186 million
_BLOCK: Final = 512
_CHUNK: Final = 2**20
_REGULAR: Final = (b"0", b"\0")
_OCTAL: Final = frozenset(b"01234567")


class TarFormatError(ValueError):
    """The bytes are no such archive; the message says why, and never repeats what it holds."""


def read_members(file: IO[bytes], wanted: Collection[bytes], max_bytes: int) -> dict[bytes, bytes]:
    """The content of the regular members whose full names are in `wanted`; of members of one name, the first.

    Reading ends once all are found, at the archive's end, or where it is cut off behind a member. Raises TarFormatError
    or zlib.error where the archive is damaged, one of these members has more than `max_bytes`, or what is read unpacks
    to more than MAX_UNPACKED_BYTES; OSError where the file cannot be read.
    """
    unpacked = _Unpacked(file)
    found: dict[bytes, bytes] = {}
    while len(found) < len(wanted):
        header = unpacked.read(_BLOCK)
        if not header.strip(b"\0"):  # no bytes left, or the block of zeros that ends an archive
            break
        name, kind, size = _parsed(header)
        if kind in _REGULAR and name in wanted and name not in found:
            if size > max_bytes:
                raise TarFormatError(f"{name.decode()} has {size} bytes; at most {max_bytes} are read")
            found[name] = unpacked.read(size)
            if len(found[name]) < size:
                raise TarFormatError(f"cut off in {name.decode()}")
        else:
            unpacked.skip(size)
        unpacked.skip(-size % _BLOCK)
    return found


def _parsed(header: bytes) -> tuple[bytes, bytes, int]:
    """Name, kind and size in bytes of the member that a header block describes."""
    if len(header) < _BLOCK:
        raise TarFormatError("cut off in a header")
    if sum(header[:148]) + sum(b" " * 8) + sum(header[156:]) != _number(header[148:156]):
        raise TarFormatError("a header's checksum is wrong")
    name, prefix = header[:100].partition(b"\0")[0], header[345:500].partition(b"\0")[0]
    ustar = header[257:263] == b"ustar\0"  # GNU's older form has other fields in place of the prefix
    return (prefix + b"/" + name if ustar and prefix else name), header[156:157], _number(header[124:136])


def _number(field: bytes) -> int:
    """An octal number, with spaces before it and a space or NUL after it."""
    digits = field.partition(b"\0")[0].strip(b" ")
    if not digits or not _OCTAL.issuperset(digits):
        raise TarFormatError("a header holds no octal number where one is needed")
    return int(digits, 8)


class _Unpacked:
    """The bytes of a gzip file's first stream, unpacked no further than they are asked for."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._inflate = zlib.decompressobj(wbits=31)  # gzip's header and checksum
        self._left = MAX_UNPACKED_BYTES
        self._packed_left = MAX_UNPACKED_BYTES  # a stream can be endless and unpack to nothing
        self._chunk = b""
        self._position = 0  # in the chunk

    def read(self, count: int) -> bytes:
        """The next `count` bytes, fewer only at the end of the stream."""
        parts = []
        while count > 0 and (self._position < len(self._chunk) or self._advance()):
            part = self._chunk[self._position : self._position + count]
            self._position += len(part)
            count -= len(part)
            parts.append(part)
        return b"".join(parts)

    def skip(self, count: int) -> None:
        """Pass over `count` bytes, or what is left."""
        while count > 0 and (part := self.read(min(count, _CHUNK))):
            count -= len(part)

    def _advance(self) -> bool:
        """Unpack the next chunk; False at the end. Raises TarFormatError where the file ends before its stream does."""
        while not self._inflate.eof:
            packed = self._inflate.unconsumed_tail
            if not packed:
                packed = self._file.read(_CHUNK)
                self._packed_left -= len(packed)
            self._chunk, self._position = self._inflate.decompress(packed, _CHUNK), 0
            self._left -= len(self._chunk)
            if min(self._left, self._packed_left) < 0:
                raise TarFormatError(f"more than {MAX_UNPACKED_BYTES} bytes")
            if self._chunk:
                return True
            if not packed:
                raise TarFormatError("the file is cut off")
        return False
