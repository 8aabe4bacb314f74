"""A page's walk as a program: its files, its commands in order, and what it shows of what they print."""

from __future__ import annotations

import contextlib
import io
import os
import re
import runpy
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from onecycle import cli

_BLOCK = re.compile(r'^```(?:python title="(?P<file>[^"]+)"|(?P<console>console))\n(?P<text>.*?)^```', re.M | re.S)
_PORT = 7860
_SECONDS = 120


@dataclass
class Step:
    """A file to write, or a command and the lines that the page shows of what it prints; `...` stands for others."""

    file: str = ""
    text: str = ""
    command: str = ""
    shown: list[str] = field(default_factory=list)


def steps(page: str) -> Iterator[Step]:
    """The steps of a page, in order."""
    for block in _BLOCK.finditer(page):
        if block["file"]:
            yield Step(file=block["file"], text=block["text"])
            continue
        first, *commands = re.split(r"^\$ ", re.sub(r"\\\n *", "", block["text"]), flags=re.M)
        assert not first, f"output without a command: {first}"
        for one in commands:
            command, *shown = one.splitlines()
            yield Step(command=command, shown=[line for line in shown if line not in ("", "...")])


class Walk:
    """Runs steps in the working folder; servers live until `end`, on a free port in the place of 7860."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._servers: list[subprocess.Popen[str]] = []

    def run(self, step: Step) -> str:
        """What the step prints, on stdout and then on stderr."""
        if step.file:
            Path(step.file).write_text(self._here(step.text), encoding="utf-8")
            return ""
        command, _, target = step.command.partition(" > ")
        words = shlex.split(self._here(command))
        if words[:2] == ["onecycle", "serve"]:
            return self._serve(words)
        if words[0] == "curl":
            done = subprocess.run(words, capture_output=True, text=True, timeout=_SECONDS, check=True)
            return done.stdout
        out, err = _in_process(words)
        if target:
            Path(target).write_text(out, encoding="utf-8")
            out = ""
        return out + err

    def end(self) -> None:
        """Stop the servers as Ctrl-C does."""
        for server in self._servers:
            with server:
                server.send_signal(signal.SIGINT)
                assert server.wait(30) == 130

    def _serve(self, words: list[str]) -> str:
        environment = os.environ | {"XDG_CACHE_HOME": str(Path("cache").absolute()), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", *words, "--port", str(self._port)]
        with Path("server.txt").open("w") as errors:
            server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
        self._servers.append(server)
        assert server.stdout is not None
        said = server.stdout.readline()
        assert said, Path("server.txt").read_text()
        return said.replace(str(self._port), str(_PORT))

    def _here(self, text: str) -> str:
        return text.replace(f"127.0.0.1:{_PORT}", f"127.0.0.1:{self._port}")


def _in_process(words: list[str]) -> tuple[str, str]:
    """onecycle, or a script of Python, without the seconds that a process needs to begin."""
    program: dict[str, Callable[[], object]] = {
        "onecycle": lambda: cli.main(words[1:]),
        "python": lambda: runpy.run_path(words[1], run_name="__main__"),
    }
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", words[1:])
        try:
            program[words[0]]()
        except SystemExit as left:
            assert not left.code, f"{shlex.join(words)}: {left.code}: {err.getvalue()}"
    return out.getvalue(), err.getvalue()


def plain(line: str, names: tuple[str, ...]) -> str:
    """A line without what is otherwise on another processor: numbers, which of the names it is, and its own name."""
    line = re.sub(rf"\b({'|'.join(names)})\b", "NAME", line)
    line = re.sub(r"\b(?:float32|bfloat16) on .+?(?=, \d+ thread)", "float32 on PROCESSOR", line)
    line = re.sub(r"[<>]?[-+]?\d[\d.,:]*(?:e[-+]\d+)?%?", "0", line)
    return " ".join(line.replace("errors", "error").replace("mistakes", "mistake").split())
