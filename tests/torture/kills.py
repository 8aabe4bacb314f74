"""A training that is killed and signalled anywhere goes on, and ends as if nobody had touched it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import small

from torture.children import PATIENCE_SECONDS, Child
from torture.subject import TRAIN, command, content, difference, half_written, settings
from torture.tally import Tally, at_least

SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143}
SAVED_SECONDS = 2.0  # from a signal to the exit, in which the step under way, the checkpoint and the exit must fit
_DEEPEST = 5  # kills of one run
_AN_HOUR = 3600.0
_TRIES = 3  # for one moment, as some come when all is done
_FIRST_OPERATIONS = 30  # in which the folder gets its recipe; without it there is nothing to resume
_REAL = [
    *("train", "digits"),
    *settings("model.name=compact", "data.train_limit=120", "schedule.epochs=2", "schedule.peak_epoch=1"),
    *settings("checkpoint.every_seconds=0.000001"),
]


def attacks(folder: Path, seed: int, share: float) -> Iterator[Tally]:
    """All that this part does to a training."""
    plain, drawn = Victims(folder / "plain", drawn=False), Victims(folder / "drawn", drawn=True)
    yield at_operations(plain, "a training", 0, seed, share)
    yield at_operations(drawn, "pictures and report", drawn.operations.index("rename summary.json") + 1, seed, share)
    yield at_random(plain, seed, at_least(200, share))
    yield again_and_again(plain, seed, at_least(20, share))
    for number in SIGNALS:
        yield signalled(plain, number, "a training", seed, at_least(30, share))
        yield signalled(drawn, number, "a training with pictures and report", seed, at_least(20, share))
    yield real_command(folder / "real", seed, at_least(4, share), drawn=True)


class Victims:
    """Trainings of one command line, each in a folder of its own, and how one ends undisturbed.

    `drawn`: with pictures and report. `unsafe`: with files that are not written atomically, to see that it shows.
    """

    def __init__(self, folder: Path, *, drawn: bool = False, unsafe: bool = False) -> None:
        folder.mkdir()
        self.folder, self.options = folder, {"drawn": drawn, "unsafe": unsafe}
        self._count = 0
        whole = self.new()
        child = self.start(whole)
        assert child.wait() == 0, child.said
        self.seconds = time.perf_counter() - child.began
        self.operations = whole.with_suffix(".operations").read_text().splitlines()
        self.content, self.names = content(whole), names(whole)

    def new(self) -> Path:
        """A folder that is not there yet."""
        self._count += 1
        return self.folder / f"run{self._count}"

    def start(self, run: Path, **death: Any) -> Child:
        """Begin a training, which `death` ends as `Operations` says."""
        return self._child(run, [*TRAIN, "--out", str(run)], death)

    def resume(self, run: Path, **death: Any) -> Child:
        """Go on with one."""
        return self._child(run, ["train", "--resume", str(run), "--device", "cpu"], death)

    def signal(self, child: Child, number: signal.Signals, random: np.random.Generator) -> float | None:
        """Send a signal at a random moment of a training, and say how late; None where it had ended before."""
        seconds = random.uniform(0, self.seconds)
        if child.signal(number, seconds):
            return seconds
        child.wait()
        self.seconds = min(self.seconds, time.perf_counter() - child.began)  # the machine has less to do by now
        return None

    def gone_on(self, run: Path) -> str | None:
        """What is wrong with a run that was disturbed once it was resumed; None where nothing is."""
        if not run.exists():
            return None  # nothing was written yet, so nothing is lost
        wrong = half_written(run)
        if wrong:
            return f"before resuming: {wrong}"
        begun = (run / "recipe.yaml").exists()
        for part in run.rglob(".*.part"):
            os.utime(part, (time.time() - _AN_HOUR,) * 2)
        child = self.resume(run)
        code, said = child.wait(), child.said
        if not begun:
            told = said.startswith(f"onecycle: error: {run}: holds no recipe.yaml; where a training was killed")
            return None if code == 2 and told and said.count("\n") == 1 else f"without a recipe: {code}, {said}"
        if code != 0:
            return f"resuming ended with {code}: {said}"
        if names(run) != self.names:
            return f"other files: {', '.join(sorted(names(run) ^ self.names))}"
        return half_written(run) or difference(self.content, content(run))

    def _child(self, run: Path, arguments: list[str], death: dict[str, Any]) -> Child:
        said = run.with_suffix(".said")
        return Child(command, run, arguments, said=said, **self.options, **death)


def at_operations(victims: Victims, what: str, first: int, seed: int, share: float) -> Tally:
    """Killed before every operation on a file from number `first` on, and in the midst of every write, or a share."""
    tally = Tally(f"SIGKILL before each file operation of {what}, and inside each write")
    for inside in (False, True):
        writes = [number for number, name in enumerate(victims.operations) if name.startswith("write")]
        numbers = [one for one in (writes if inside else range(len(victims.operations))) if one >= first]
        random = np.random.default_rng((seed, inside, first))
        for number in sorted(random.choice(numbers, at_least(len(numbers), share), replace=False).tolist()):
            run = victims.new()
            wrong = killed(victims.start(run, die_at=number, inside=inside)) or victims.gone_on(run)
            where = f"{'inside' if inside else 'before'} operation {number}, {victims.operations[number]}"
            tally.add(wrong and f"{where}: {wrong}")
    tally.figure = f"{len(victims.operations) - first} operations"
    return tally


def at_random(victims: Victims, seed: int, count: int) -> Tally:
    """Killed from outside, at any moment."""
    tally = Tally("SIGKILL at random moments")
    for case in range(_TRIES * count):
        if tally.tried == count:
            break
        run = victims.new()
        child = victims.start(run)
        seconds = victims.signal(child, signal.SIGKILL, np.random.default_rng((seed, 2, case)))
        if seconds is None:
            continue
        wrong = killed(child) or victims.gone_on(run)
        tally.add(wrong and f"case {case}, after {seconds:.3f} s: {wrong}")
    return tally


def again_and_again(victims: Victims, seed: int, count: int) -> Tally:
    """Killed at a random operation, and the resumed training too, up to five times."""
    tally = Tally("SIGKILL again and again while resuming")
    kills = 0
    for case in range(count):
        random = np.random.default_rng((seed, 3, case))
        run, wrong = victims.new(), None
        for number in random.integers(_FIRST_OPERATIONS, len(victims.operations), random.integers(2, _DEEPEST + 1)):
            begin = victims.resume if run.exists() else victims.start
            wrong = wrong or killed(begin(run, die_at=int(number), inside=bool(random.integers(2))))
            kills += 1
        wrong = wrong or victims.gone_on(run)
        tally.add(wrong and f"case {case}: {wrong}")
    tally.figure = f"{kills} kills"
    return tally


def signalled(victims: Victims, number: signal.Signals, what: str, seed: int, count: int) -> Tally:
    """Asked to stop at any moment: range test, training, evaluation, checkpoint, results, pictures, report."""
    tally = Tally(f"{number.name} at random moments of {what}")
    slowest = 0.0
    for case in range(_TRIES * count):
        if tally.tried == count:
            break
        run = victims.new()
        child = victims.start(run)
        seconds = victims.signal(child, number, np.random.default_rng((seed, 4, number, case)))
        if seconds is None:
            continue
        sent = time.perf_counter()
        code = child.wait()
        took = time.perf_counter() - sent
        if run.exists() and names(run) == victims.names and code in (0, -number):
            continue  # it came when all was done
        slowest = max(slowest, took)
        wrong = misanswered(child.said, code, SIGNALS[number]) or victims.gone_on(run)
        if wrong is None and took > SAVED_SECONDS:
            wrong = f"it took {took:.1f} s"
        tally.add(wrong and f"case {case}, after {seconds:.3f} s: {wrong}")
    tally.figure = f"at most {slowest:.2f} s from the signal to the exit"
    return tally


def real_command(folder: Path, seed: int, count: int, *, drawn: bool) -> Tally:
    """The same with `python -m onecycle`, the handwritten digits and a net that is shipped."""
    undrawn = [] if drawn else ["--no-report"]
    tally = Tally("python -m onecycle killed and signalled")
    folder.mkdir()
    whole = folder / "whole"
    began = time.perf_counter()
    process = _onecycle([*_REAL, *undrawn, "--out", str(whole)])
    said = _said(process)
    assert process.returncode == 0, said
    seconds, undisturbed = time.perf_counter() - began, content(whole)
    for case in range(count):
        number = (signal.SIGKILL, *SIGNALS)[case % 3]
        random = np.random.default_rng((seed, 5, case))
        after = random.uniform(0, seconds)
        run = folder / f"run{case}"
        process = _onecycle([*_REAL, *undrawn, "--out", str(run)])
        try:
            process.wait(after)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
        said = _said(process)
        wrong = None
        if run.exists():
            if number in SIGNALS and process.returncode:
                wrong = misanswered(said, process.returncode, SIGNALS[number])
            again = _onecycle(["train", "--resume", str(run), *undrawn])
            said = _said(again)
            wrong = wrong or (f"resuming: {said}" if again.returncode else difference(undisturbed, content(run)))
        tally.add(wrong and f"case {case}, {number.name} after {after:.3f} s: {wrong}")
    return tally


def killed(child: Child) -> str | None:
    """What is wrong with how a child ended that was to be killed, if not before its end."""
    code = child.wait()
    return None if code in (0, -signal.SIGKILL) else f"ended with {code}: {child.said}"


def misanswered(said: str, code: int, right: int) -> str | None:
    """What is wrong with the answer to a signal: the exit code, and one line that says what was done."""
    errors = [line for line in said.splitlines() if line.startswith("onecycle: error: ")]
    if code != right:
        return f"exit code {code}, not {right}: {said}"
    # An interrupt inside another package's constructor may make Python tell of what that package's __del__ met.
    ours = said.count("Traceback") - said.count("Exception ignored in")
    return None if len(errors) == 1 and not ours else f"not one line: {said}"


def names(run: Path) -> set[str]:
    """The files of a run, but its lock, which stays."""
    return small.files(run) - {".lock"}


def _onecycle(arguments: Sequence[str]) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command_line = [sys.executable, "-m", "onecycle", *arguments, "--device", "cpu"]
    return subprocess.Popen(command_line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def _said(process: subprocess.Popen[str]) -> str:
    return process.communicate(timeout=PATIENCE_SECONDS)[0]
