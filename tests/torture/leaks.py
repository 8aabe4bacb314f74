"""Memory, hooks, threads, files and settings that are left over, after what ends well and what does not."""

from __future__ import annotations

import contextlib
import gc
import io
import itertools
import math
import shutil
import signal
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

import small
import torch

import onecycle
from onecycle import Observer, OnecycleError, Progress, Stopped
from torture.holdings import changed, holdings, resident_bytes
from torture.tally import Tally, at_least

MOST_GROWTH = 0.02
TIMES, EPOCHS, EXPLANATIONS, TRAININGS = 10, 200, 500, 50
_DRAWN = 5  # one training in so many is drawn and reported
_PICTURED = 25  # one explanation in so many is drawn


def attacks(folder: Path, seed: int, share: float) -> Iterator[Tally]:
    """All of them."""
    yield nothing_left(folder, at_least(TIMES, share))
    yield epochs(folder, seed, at_least(EPOCHS, share, 20))
    yield explanations(folder, at_least(EXPLANATIONS, share, 50))
    yield trainings(folder, seed, at_least(TRAININGS, share, 10))


def nothing_left(folder: Path, times: int, without: Collection[str] = ()) -> Tally:
    """Compare what the process holds before and after each thing that it can do; the first time does not count.

    What is named in `without` is not done.
    """
    tally = Tally("nothing is left")
    with _own_folder_for_temporary_files(folder):
        warm = {}
        for name, do in deeds(folder / "deeds").items():
            if name in without:
                continue
            try:
                do()
                warm[name] = do
            except AssertionError as error:
                tally.add(f"{name}: {error}")
        with _looking_at_what_is_new():
            before = holdings()
            for number, (name, do) in itertools.product(range(times), warm.items()):
                do()
                after = holdings()
                difference = changed(before, after)
                tally.add(difference and f"{name}, time {number + 1}: {difference}")
                before = after
    return tally


def deeds(folder: Path) -> dict[str, Callable[[], object]]:
    """What is done with small nets and images, by its name: ends well, ends in an error, is interrupted."""
    data, changes = small.dataset(), {"schedule.epochs": 1, "schedule.peak_epoch": 0.5}
    run, other = (
        onecycle.train(small.small_recipe(**changes), model=small.net(), data=data, out=folder / name, **_QUIET)
        for name in ("run", "other")
    )
    fresh = (folder / f"new-{number}" for number in itertools.count())
    handed = {"model": small.net(), "data": data}

    def train(**options: object) -> None:
        given = {"observer": Observer(), "model": small.net(), "data": data, **options}
        onecycle.train(small.small_recipe(**changes), out=next(fresh), device="cpu", **given)

    def train_without_numbers() -> None:
        net = small.net()
        torch.nn.init.constant_(net.get_submodule("9").bias, math.inf)
        train(model=net)

    def find_rates() -> None:
        with contextlib.suppress(OnecycleError):  # so few steps may show nothing
            onecycle.find_lr(small.small_recipe(), model=small.net(), data=data, sweeps=1, steps=20)

    def stopped(by: int = signal.SIGINT) -> Path:
        out = next(fresh)
        with contextlib.suppress(Stopped):
            onecycle.train(small.small_recipe(), out=out, model=small.net(), data=data, observer=small.StopAt(4, by))
        assert not (out / "summary.json").exists()
        return out

    def resume() -> None:
        out = stopped()
        onecycle.resume(out, model=small.net(), data=data, observer=Observer())

    return {
        "train": _silent(train),
        "train with the usual progress": _silent(lambda: train(observer=None)),
        "train a registered net": _silent(lambda: train(model="compact")),
        "train, loss not finite": _silent(train_without_numbers, OnecycleError),
        "train, images missing": _silent(lambda: onecycle.train("custom_resnet", data_dir=folder), OnecycleError),
        "train, observer fails": _silent(lambda: train(observer=Failing()), ZeroDivisionError),
        "train, SIGINT": _silent(stopped),
        "train, SIGTERM": _silent(lambda: stopped(signal.SIGTERM)),
        "train, KeyboardInterrupt": _silent(lambda: train(observer=Failing(KeyboardInterrupt)), KeyboardInterrupt),
        "resume": _silent(resume),
        "find rates": _silent(find_rates),
        "evaluate": _silent(lambda: run.evaluate()),
        "evaluate other images": _silent(lambda: onecycle.evaluate(run, data=data, model=small.net())),
        "explain and draw": _silent(lambda: run.explain(**handed, count=4).save(folder / "pictures")),
        "explain, no such layer": _silent(lambda: run.explain(**handed, layer="no such"), OnecycleError),
        "explain, not a layer of maps": _silent(lambda: run.explain(**handed, layer="9"), OnecycleError),
        "report": _silent(lambda: run.report(**handed)),
        "compare": _silent(lambda: onecycle.compare(run, other, out=folder / "page.html")),
        "load what is no run": _silent(lambda: onecycle.load(folder / "none"), OnecycleError),
    }


def epochs(folder: Path, seed: int, count: int) -> Tally:
    """Memory over the epochs of a training."""
    watched = Watched()
    wanted = small.small_recipe(seed=seed, **{"schedule.epochs": count})
    with contextlib.redirect_stderr(io.StringIO()):
        onecycle.train(wanted, model=small.net(), data=small.dataset(), out=folder / "epochs", observer=watched)
    return _grown("epochs of a training", watched.bytes)


def explanations(folder: Path, count: int) -> Tally:
    """Memory over explanations, some of them drawn."""
    data, net = small.dataset(), small.net()
    wanted = small.small_recipe(**{"schedule.epochs": 1, "schedule.peak_epoch": 0.5})  # which still makes mistakes
    run = onecycle.train(wanted, model=net, data=data, out=folder / "explained", **_QUIET)
    sizes = []
    with contextlib.redirect_stderr(io.StringIO()):
        for number in range(count):
            found = run.explain(count=4, data=data, model=net)
            if number % _PICTURED == 0:
                found.save(folder / "pictures")
            sizes.append(resident_bytes())
    return _grown("explanations", sizes)


def trainings(folder: Path, seed: int, count: int) -> Tally:
    """Memory over trainings, some of them with their pictures and report."""
    sizes = []
    with contextlib.redirect_stderr(io.StringIO()):
        for number in range(count):
            out = folder / "one of many"
            wanted = small.small_recipe(seed=seed + number)
            with contextlib.nullcontext() if number % _DRAWN == 0 else _undrawn():
                onecycle.train(wanted, model=small.net(), data=small.dataset(), out=out, **_QUIET)
            shutil.rmtree(out)
            sizes.append(resident_bytes())
    return _grown("trainings", sizes)


class Watched(Observer):
    """Notes the memory after each epoch."""

    def __init__(self) -> None:
        self.bytes: list[int] = []

    def on_epoch(self, row: Mapping[str, float | None], seconds_left: float) -> None:
        self.bytes.append(resident_bytes())


class Failing(Observer):
    """Raises an error in the midst of a training."""

    def __init__(self, error: type[BaseException] = ZeroDivisionError) -> None:
        self.error = error

    def on_progress(self, progress: Progress) -> None:
        raise self.error


_QUIET = {"observer": Observer(), "device": "cpu"}


def _grown(what: str, sizes: list[int]) -> Tally:
    """The first fifth warms up; what comes later may not exceed its largest by more than the bound."""
    warm = max(len(sizes) // 5, 1)
    base, most = max(sizes[:warm]), max(sizes[warm:])
    growth = most / base - 1
    figure = f"{growth:+.1%} of {base / 1e6:.0f} MB"
    lost = [f"{figure} over {len(sizes)} {what}"] if growth > MOST_GROWTH else []
    return Tally(f"memory over {what}", len(sizes), lost, figure)


def _silent(do: Callable[[], object], expected: type[BaseException] | None = None) -> Callable[[], None]:
    """Say nothing, and let what is expected to go wrong go wrong."""

    def done() -> None:
        with contextlib.redirect_stderr(io.StringIO()):
            if expected is None:
                do()
                return
            try:
                do()
            except expected:
                return
        raise AssertionError(f"no {expected.__name__} came")

    return done


@contextlib.contextmanager
def _undrawn() -> Iterator[None]:
    from onecycle.api import pictures

    drawn = pictures.finish
    pictures.finish = lambda *arguments, **options: None
    try:
        yield
    finally:
        pictures.finish = drawn


@contextlib.contextmanager
def _looking_at_what_is_new() -> Iterator[None]:
    """The objects that are there already are passed over: the hundreds of thousands of imported packages take long."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextlib.contextmanager
def _own_folder_for_temporary_files(folder: Path) -> Iterator[None]:
    """So that what others leave in the usual one is not counted."""
    before, temporary = tempfile.tempdir, folder / "temporary"
    temporary.mkdir(exist_ok=True)
    tempfile.tempdir = str(temporary)
    try:
        yield
    finally:
        tempfile.tempdir = before
