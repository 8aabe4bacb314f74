"""The disk is full, or fails, at every operation that a training does on it, and two processes want one folder.

What is tried must end in one line with exit code 2, leave no temporary file and nothing half-written, and once there is
room the training goes on and ends bit-equal to one that always had it.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import small
import torch

import onecycle
from onecycle import Observer, Progress, Run, Stopped, api, cli, plots, training
from onecycle.api import pictures
from onecycle.api.pictures import finish
from onecycle.preparation import images_of
from torture import small_runs
from torture.faulty_disk import Disk, largest_file
from torture.full_downloads import fetched
from torture.small_runs import Listener, left_over, said, unlike
from torture.tally import Tally, at_least

FULL = (errno.ENOSPC, errno.EDQUOT)
TMPFS_KIB = (16, 24, 32, 48, 64, 80, 96, 128)
CPU = torch.device("cpu")
TINY = ("data.train_limit=40", "data.batch_size=20", "schedule.epochs=2", "schedule.peak_epoch=1", "model.name=compact")


def attacks(folder: Path, seed: int, share: float) -> Iterator[Tally]:
    """A tally a way to fail."""
    folder.mkdir(parents=True, exist_ok=True)
    with small_runs.quickly():
        bench = Bench(folder)
        yield bench.operations(seed, share)
        yield bench.file_sizes(seed, share)
        yield bench.small_file_systems(seed, share)
        yield bench.results(seed, share)
        yield fetched(folder, seed, share)
        yield bench.two_on_one_folder(seed, share)
        yield two_processes(folder, share)


class Bench:
    """An undisturbed training, its operations counted, and how one that was disturbed compares."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "disk" / "run"
        self.path.parent.mkdir()
        with Disk(self.path.parent).watched() as disk:
            small_runs.train(self.path)
        self.count = disk.done
        self.sizes = sorted(path.stat().st_size for path in self.path.rglob("*") if path.is_file())
        self.expected = Run(folder / "expected")
        self.path.rename(self.expected.path)

    def case(self, disturbance: contextlib.AbstractContextManager[Any]) -> str | None:
        """What did not hold in a training under a disturbance, and after it."""
        shutil.rmtree(self.path, ignore_errors=True)
        try:
            with disturbance:
                small_runs.train(self.path)
        except Exception as error:
            wrong = said(error)[1]
            if wrong is not None:
                return wrong
        return self.held()

    def held(self) -> str | None:
        """What did not hold after a failure: no temporary file, and a training that goes on to the same end."""
        if left_over(self.path):
            return f"left over: {', '.join(left_over(self.path))}"
        try:
            return unlike(small_runs.resume(self.path), self.expected)
        except Exception as error:
            message, wrong = said(error)
            begun = (self.path / "recipe.yaml").exists()
            return wrong or (f"does not go on: {message}" if begun else None)

    def operations(self, seed: int, share: float) -> Tally:
        """Each operation fails, alone or with all that follow."""
        kinds = [(errno.EIO, False), *itertools.product(FULL, (True,)), (errno.ENOSPC, False)]
        every = list(itertools.product(range(self.count), kinds))
        random = np.random.default_rng((seed, 1))
        tally = Tally("an operation fails", figure=f"{self.count} operations in a training")
        for case in sorted(random.permutation(len(every))[: at_least(len(every), share, 4)]):
            at, (number, lasting) = every[case]
            failure = self.case(Disk(self.path.parent, number, at, lasting=lasting).watched())
            where = f"{errno.errorcode[number]} at operation {at}{' and after' if lasting else ''}"
            tally.add(failure and f"{where}: {failure}")
        return tally

    def file_sizes(self, seed: int, share: float) -> Tally:
        """The system lets no file grow beyond a limit."""
        random = np.random.default_rng((seed, 2))
        tally = Tally("no file may be larger")
        for number in range(at_least(60, share, 2)):
            limit = int(np.exp(random.uniform(0, np.log(self.sizes[-1]))))
            failure = self.case(largest_file(limit))
            tally.add(failure and f"limit {limit} ({number}): {failure}")
        return tally

    def small_file_systems(self, seed: int, share: float) -> Tally:
        """A file system in memory that is too small, then larger."""
        tally = Tally("a small file system")
        random = np.random.default_rng((seed, 3))
        for number in range(at_least(40, share, 2)):
            kib = int(random.choice(TMPFS_KIB)) + 4 * int(random.integers(0, 4))
            place = self.folder / "small"
            place.mkdir(exist_ok=True)
            mount = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(place)]
            if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
                tally.figure = "not tried: this process may not mount a file system"
                break
            before, self.path = self.path, place / "run"
            try:
                failure = self.case(contextlib.nullcontext())
                if failure and "disk is full" in failure and "does not go on" in failure:
                    subprocess.run(["mount", "-o", "remount,size=16m", place], check=True)
                    failure = self.held()
                tally.add(failure and f"{kib} KiB ({number}): {failure}")
            finally:
                self.path = before
                subprocess.run(["umount", place], check=True)
        return tally

    def results(self, seed: int, share: float) -> Tally:
        """Pictures, report, and the range test's folder."""
        tally = Tally("an operation fails in pictures, report and find-lr")
        random = np.random.default_rng((seed, 4))
        ended = self.folder / "disk" / "ended"
        shutil.copytree(self.expected.path, ended)
        run = onecycle.load(ended)
        drawn = {"one": lambda: plots.Figure(1, 1), "two": lambda: plots.Figure(1, 1)}
        sets = images_of(run, data=small_runs.data())
        with mock.patch.object(pictures, "_pictures", lambda *arguments: drawn), _few_sweeps():
            for write in (_pictured(run, sets), functools.partial(_found, ended.parent / "found")):
                with Disk(ended.parent).watched() as disk:
                    write()
                if not disk.done:
                    tally.add("nothing was written")
                for at in random.permutation(disk.done)[: at_least(disk.done, share)]:
                    tally.add(_failing(write, Disk(ended.parent, errno.ENOSPC, int(at), lasting=True), ended.parent))
        return tally

    def two_on_one_folder(self, seed: int, share: float) -> Tally:
        """While a training goes on, a second one in its folder is refused, and does not disturb it."""
        random = np.random.default_rng((seed, 5))
        tally = Tally("a second training in the folder")
        for number in range(at_least(20, share, 2)):
            shutil.rmtree(self.path, ignore_errors=True)
            second = Second(self.path, int(random.integers(1, small_runs.STEPS)))
            failure = unlike(small_runs.train(self.path, second), self.expected) or second.failure
            tally.add(failure and f"after step {second.step} ({number}): {failure}")
        return tally


class Second(Observer):
    """Tries to train where a training is under way, after that step."""

    def __init__(self, path: Path, step: int) -> None:
        self.path, self.step = path, step
        self.failure: str | None = "nobody tried"

    def on_progress(self, progress: Progress) -> None:
        if progress.step != self.step:
            return
        self.failure = None
        for attempt, needed in ((small_runs.resume, "another process is training here"), (small_runs.train, "exists")):
            try:
                attempt(self.path)
                self.failure = f"{attempt.__name__} was let in"
            except Exception as error:
                message, wrong = said(error)
                self.failure = self.failure or wrong or (None if needed in message else f"said: {message}")


@contextlib.contextmanager
def _few_sweeps() -> Iterator[None]:
    """The drawing of a range test is as slow as three of the tests."""
    with mock.patch.object(plots, "lr_range", lambda found: plots.Figure(1, 1)):
        yield


def _found(folder: Path) -> str:
    """A range test that is kept."""
    shutil.rmtree(folder, ignore_errors=True)
    api.find_lr(small.small_recipe(), model=small.net(), data=small_runs.data(), out=folder, sweeps=1, steps=20)
    return ""


def _pictured(run: onecycle.Run, sets: Any) -> Callable[[], str]:
    """Draw and report a run that has ended; what its user is told."""

    def write() -> str:
        listener = Listener()
        finish(run, sets, small.net(), CPU, listener)
        return " ".join(listener.messages)

    return write


def _failing(write: Callable[[], Any], disk: Disk, folder: Path) -> str | None:
    """What did not hold where the disk fails while something is written, and afterwards does not."""
    message = ""
    try:
        with disk.watched():
            message = str(write())
    except Exception as error:
        message, wrong = said(error)
        if wrong is not None:
            return f"operation {disk.at}: {wrong}"
    if "disk is full" not in message:
        return f"operation {disk.at}: nobody said that the disk is full: {message}"
    if left_over(folder):
        return f"operation {disk.at}: left over: {', '.join(left_over(folder))}"
    again = str(write())
    return f"operation {disk.at}, with room again: {again}" if "disk is full" in again else None


def two_processes(folder: Path, share: float) -> Tally:
    """Two commands go on with one run at once: one ends it, the other is told, or finds it ended."""
    tally = Tally("two processes resume at once")
    settings = [part for key in TINY for part in ("--set", key)]
    command = [sys.executable, "-m", "onecycle", "train"]
    for number in range(at_least(4, share)):
        path = folder / f"two-{number}"
        end = Stopped("stopped", signal.SIGINT)
        with mock.patch.object(training._Training, "evaluate_epoch", side_effect=end), contextlib.suppress(SystemExit):
            cli.main(["train", "digits", "--out", str(path), *settings])
        pipes: dict[str, Any] = {"stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL, "text": True}
        both = [subprocess.Popen([*command, "--resume", str(path)], **pipes) for _ in range(2)]
        ends = [(process.communicate()[1], process.returncode) for process in both]
        told = [error for error, code in ends if code == 2 and "another process is training here" in error]
        held = sorted(code for _, code in ends) in ([0, 0], [0, 2]) and len(told) == sum(code == 2 for _, code in ends)
        whole = (path / "summary.json").exists() and Run.open(path).predictions()
        tally.add(None if held and whole else f"{number}: {ends}")
    return tally
