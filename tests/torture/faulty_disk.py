"""A disk that fails when it is told to."""

from __future__ import annotations

import contextlib
import io
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock


@contextlib.contextmanager
def largest_file(limit: int) -> Iterator[None]:
    """Let this process write no file beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class Disk:
    """Counts the operations on a folder that can fail, and lets the one of number `at` fail, or all from there on.

    A write that fails has written half of its bytes, as on a disk that is full. Nothing is taken back, and unlinking
    always works.
    """

    def __init__(self, folder: Path, number: int = 0, at: int | None = None, *, lasting: bool = False) -> None:
        self.folder, self.number, self.at, self.lasting = str(folder), number, at, lasting
        self.done = 0

    def fails(self, path: Any) -> bool:
        """Count an operation; whether it is to fail."""
        if isinstance(path, int) or not os.fspath(path).startswith(self.folder):
            return False
        self.done += 1
        return self.at is not None and (self.done - 1 == self.at or (self.lasting and self.done > self.at))

    def check(self, path: Any) -> None:
        """Count an operation; raise where it is to fail."""
        if self.fails(path):
            raise OSError(self.number, os.strerror(self.number), str(path))

    @contextlib.contextmanager
    def watched(self) -> Iterator[Disk]:
        """While this lasts, the operations of this process are counted, and fail."""
        real = {name: getattr(os, name) for name in ("open", "mkdir", "replace", "fsync")}
        synced: dict[int, Any] = {}

        def opened(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
            if flags & os.O_CREAT:
                self.check(path)
            descriptor: int = real["open"](path, flags, *arguments, **options)
            synced[descriptor] = path
            return descriptor

        def made(path: Any, *arguments: Any, **options: Any) -> None:
            self.check(path)
            real["mkdir"](path, *arguments, **options)

        def replaced(source: Any, target: Any, **options: Any) -> None:
            self.check(target)
            real["replace"](source, target, **options)

        def fsynced(descriptor: int) -> None:
            self.check(synced.get(descriptor, -1))
            real["fsync"](descriptor)

        with (
            mock.patch("os.open", opened),
            mock.patch("os.mkdir", made),
            mock.patch("os.replace", replaced),
            mock.patch("os.fsync", fsynced),
            mock.patch("io.open", self._opener(io.open)),
            mock.patch("builtins.open", self._opener(io.open)),
        ):
            yield self

    def _opener(self, real: Any) -> Any:
        disk = self

        class File(io.FileIO):
            """Writes that count, and fail half-way: as the system does, one that is short comes first."""

            short = False

            def write(self, content: Any) -> int:
                half = memoryview(content).cast("B")[: len(content) // 2]
                if self.short:
                    raise OSError(disk.number, os.strerror(disk.number))
                if not disk.fails(self.name):
                    return super().write(content)
                self.short = True
                return super().write(half) if half else self.write(content)

        def opened(file: Any, mode: str = "r", buffering: int = -1, *arguments: Any, **options: Any) -> Any:
            if isinstance(file, int) or not os.fspath(file).startswith(disk.folder) or not set(mode) & set("wax+"):
                return real(file, mode, buffering, *arguments, **options)
            raw = File(file, mode.replace("b", "").replace("t", ""))
            whole = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            return whole if "b" in mode else io.TextIOWrapper(whole, *arguments, **options)

        return opened
