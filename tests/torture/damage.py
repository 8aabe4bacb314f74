"""Each file of a run is damaged, and every verb that reads a run is asked for its answer.

It must be the answer of the whole run, or one line with exit code 2 that names the file; a training that goes on may
say instead what it passed over. Not tried: changed digits in the tables of a training under way when a page of it is
written, as these rows get a digest with the next checkpoint.
"""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import small

from onecycle import api, checkpoint
from onecycle.run import Run
from torture import small_runs
from torture.small_runs import Listener, said, unlike
from torture.tally import Tally, at_least

Damage = Callable[[Path, np.random.Generator], None]

VERBS = ("evaluate", "explain", "load", "compare", "report", "resume")
FLIPS, CUTS = 12, 8  # of each file, in the long version
TABLES = ("metrics.csv", "steps.csv")


def attacks(folder: Path, seed: int, share: float) -> Iterator[Tally]:
    """A tally for finished and for unfinished runs, each for damaged and for unreadable files."""
    with small_runs.quickly():
        for name, make in (("an ended run", _ended), ("a stopped run", _stopped)):
            bench = Bench(folder / name.replace(" ", "-"), make)
            yield bench.damaged(f"files of {name} damaged", seed, share)
            yield bench.unreadable(f"files of {name} unreadable", seed, share)
            yield bench.undigested(f"files of {name} damaged, without digests", seed, share)


class Bench:
    """A run, what every verb says of it, and copies to damage in its place, as the paths are part of the answers."""

    def __init__(self, folder: Path, make: Callable[[Path], object]) -> None:
        folder.mkdir(parents=True)
        self.path, self.whole, self.other = folder / "run", folder / "whole", folder / "other"
        make(self.path)
        shutil.copytree(self.path, self.whole)
        self.ended = (self.path / "summary.json").exists()
        expected = folder / "expected"
        shutil.copytree(self.path, expected)
        self.expected = small_runs.resume(expected)
        shutil.copytree(expected, self.other)
        self.answers: dict[str, Any] = {}
        self.names = sorted(str(path.relative_to(self.whole)) for path in self.whole.rglob("*") if path.is_file())
        self.names.remove(".lock")

    def ask(self, verb: str) -> Any:
        """The answer of a verb; a string where it refuses as it should, raises where it does not."""
        run = Run(self.path)
        try:
            if verb == "evaluate":
                return api.evaluate(run).to_dict()
            if verb == "explain":
                return api.explain(run, data=small_runs.data(), model=small.net()).to_dict()
            if verb == "load":
                return _loaded(api.load(self.path))
            if verb == "compare":
                return api.compare(self.other, run).to_dict()
            assert verb == "report"
            return api.report(run, data=small_runs.data(), model=small.net()).read_text(encoding="utf-8")
        except Exception as error:
            message, wrong = said(error)
            if wrong is not None:
                raise AssertionError(wrong) from error
            return f"refused: {message}"

    def case(self, name: str, verb: str, damage: contextlib.AbstractContextManager[object]) -> str | None:
        """What is wrong with a verb's answer while the file of that name is damaged."""
        self.restore()
        if verb != "resume" and verb not in self.answers:
            self.answers[verb] = self.ask(verb)
        with damage:
            return self.judged(name, verb)

    def judged(self, name: str, verb: str) -> str | None:
        """What is wrong with a verb's answer where the file of that name is damaged."""
        try:
            if verb == "resume":
                return self.resumed(name)
            answer = self.ask(verb)
        except AssertionError as error:
            return str(error)
        if answer == self.answers[verb]:
            return None
        if isinstance(answer, str):
            # A missing summary makes of an ended run one that has not ended, and says how it goes on.
            named = name.split("/")[-1] in answer or (name == "summary.json" and f"--resume {self.path}" in answer)
            return None if named else f"an answer that does not name the file: {answer[:300]}"
        return "another answer, and nothing is said"

    def resumed(self, name: str) -> str | None:
        """As `case`, of going on: what was passed over must be said."""
        listener = Listener()
        # A checkpoint that is not there may never have been: the one before it is the newest.
        gone = not os.path.lexists(self.path / name)
        try:
            run = small_runs.resume(self.path, listener)
            assert run.summary  # which the command prints
        except Exception as error:
            message, wrong = said(error)
            place = name if "/" not in name else name.split("/")[0]
            return wrong or (None if place in message else f"an error that does not name the file: {message}")
        if not self.ended:
            told = any(name.split("/")[-1] in message for message in listener.messages)
            newest = max(path for path in self.names if path.startswith("checkpoints/"))
            missed = name in TABLES or (name == newest and not gone)
            if not told and missed and (self.whole / name).read_bytes() != b"":
                return f"went on without a word on {name}"
            if told and name in TABLES:
                return _other_weights(run, self.expected)
        elif name in (*TABLES, "best.safetensors", "model.safetensors", "predictions.npz", "lr_range.json"):
            return None  # it stays as it is, and every verb that reads it says so
        return unlike(run, self.expected)

    def restore(self) -> None:
        """Put the run back as it was."""
        shutil.rmtree(self.path)
        shutil.copytree(self.whole, self.path)

    def verbs_of(self, name: str) -> list[str]:
        """The verbs whose answer may be asked for where that file is damaged."""
        return [verb for verb in VERBS if self.ended or name not in TABLES or verb not in ("report", "load")]

    def damaged(self, attack: str, seed: int, share: float) -> Tally:
        """Every file, every damage, every verb."""
        tally = Tally(attack)
        cases: list[tuple[str, Damage]] = [(kind, damage) for kind, damage in DAMAGES.items()]
        cases += [("cut", _cut)] * (CUTS - 1) + [("flipped", _flip)] * (FLIPS - 1)
        every = list(itertools.product(self.names, enumerate(cases)))
        random = np.random.default_rng((seed, 1))
        chosen = random.permutation(len(every))[: at_least(len(every), share)]
        for case in sorted(chosen):
            name, (number, (kind, damage)) = every[case]
            for verb in self.verbs_of(name):
                random = np.random.default_rng((seed, 2, case))
                failure = self.case(name, verb, _damaged(damage, self.path / name, random))
                tally.add(failure and f"{name} {kind} ({number}, case {case}), {verb}: {failure}")
        self.restore()
        return tally

    def undigested(self, attack: str, seed: int, share: float) -> Tally:
        """As `damaged`, of runs as they were before files had digests: any answer will do, or one line."""
        tally = Tally(attack)
        random = np.random.default_rng((seed, 4))
        kinds = list(DAMAGES)
        for number in range(at_least(400, share)):
            name, kind = str(random.choice(self.names)), str(random.choice(kinds))
            verb = str(random.choice(VERBS[:-1]))
            self.restore()
            DAMAGES[kind](self.path / name, random)
            failure = None
            with _no_digests():
                try:
                    self.ask(verb)
                except AssertionError as error:
                    failure = str(error)
            tally.add(failure and f"{name} {kind} ({number}), {verb}: {failure}")
        self.restore()
        return tally

    def unreadable(self, attack: str, seed: int, share: float) -> Tally:
        """Every file, EIO and EACCES where it is opened, every verb."""
        tally = Tally(attack)
        every = list(itertools.product(self.names, (errno.EIO, errno.EACCES), VERBS))
        random = np.random.default_rng((seed, 3))
        for case in sorted(random.permutation(len(every))[: at_least(len(every), share)]):
            name, number, verb = every[case]
            failure = self.case(name, verb, _unreadable(self.path / name, number))
            tally.add(failure and f"{name} {errno.errorcode[number]}, {verb}: {failure}")
        self.restore()
        return tally


def _ended(path: Path) -> None:
    small_runs.train(path, **{"schedule.lr_max": "find"})
    (path / "plots").mkdir(exist_ok=True)


def _stopped(path: Path) -> None:
    small_runs.stopped(path, 5)


def _loaded(run: Run) -> Any:
    """What a user of the Python interface reads, in a form that can be compared."""
    found = [run.recipe.to_yaml(), run.environment, run.metrics(), run.steps(), run.classes, run.summary]
    arrays = {**run.predictions(), **{name: value.numpy() for name, value in run.weights().items()}}
    return [*found, {name: (value.shape, value.tobytes()) for name, value in arrays.items()}]


def _other_weights(run: Run, expected: Run) -> str | None:
    """The first file of results that is not bit-equal."""
    for name in ("model.safetensors", "predictions.npz", "best.safetensors"):
        if (run.path / name).read_bytes() != (expected.path / name).read_bytes():
            return f"ended otherwise: {name}"
    return None


@contextlib.contextmanager
def _damaged(damage: Damage, path: Path, random: np.random.Generator) -> Iterator[None]:
    damage(path, random)
    yield


def _cut(path: Path, random: np.random.Generator) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: random.integers(0, max(len(content), 1))])


def _flip(path: Path, random: np.random.Generator) -> None:
    content = bytearray(path.read_bytes())
    content[random.integers(0, len(content))] ^= 1 << int(random.integers(0, 8))
    path.write_bytes(content)


def _empty(path: Path, random: np.random.Generator) -> None:
    path.write_bytes(b"")


def _delete(path: Path, random: np.random.Generator) -> None:
    path.unlink()


def _folder(path: Path, random: np.random.Generator) -> None:
    path.unlink()
    path.mkdir()


def _link(path: Path, random: np.random.Generator) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def _noise(path: Path, random: np.random.Generator) -> None:
    path.write_bytes(random.bytes(int(random.integers(1, 4096))))


def _zeros(path: Path, random: np.random.Generator) -> None:
    path.write_bytes(bytes(path.stat().st_size))  # as a crash leaves a file that had grown


DAMAGES: dict[str, Damage] = {
    "cut": _cut,
    "flipped": _flip,
    "emptied": _empty,
    "deleted": _delete,
    "made a folder": _folder,
    "made a link to nowhere": _link,
    "overwritten with noise": _noise,
    "overwritten with zeros": _zeros,
}


@contextlib.contextmanager
def _no_digests() -> Iterator[None]:
    with (
        mock.patch.object(Run, "_digests", lambda run: {}),
        mock.patch("onecycle.run.check_sealed_text", lambda path: None),
        mock.patch("onecycle.sealing._digest_of_values", lambda value: mock.ANY),
    ):
        yield


@contextlib.contextmanager
def _unreadable(path: Path, number: int) -> Iterator[None]:
    """Let every opening of a file for reading fail."""
    real, safe_open = io.open, checkpoint.safe_open

    def check(file: Any, mode: str) -> None:
        if isinstance(file, str | os.PathLike) and Path(file) == path and "r" in mode:
            raise OSError(number, os.strerror(number), str(path))

    def opened(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        check(file, mode)
        return real(file, mode, *arguments, **options)

    def safely_opened(file: Any, **options: Any) -> Any:
        check(file, "r")
        return safe_open(file, **options)

    with (
        mock.patch("io.open", opened),
        mock.patch("builtins.open", opened),
        mock.patch.object(checkpoint, "safe_open", safely_opened),
    ):
        yield
