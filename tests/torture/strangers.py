"""Files from strangers: images, weights, checkpoints, predictions and texts, mutated and made to hurt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from onecycle.data import decode
from torture import stranger_runs as runs
from torture import stranger_texts as texts
from torture.hostile_pictures import HOSTILE
from torture.hostile_weights import checkpoints, predictions, weights
from torture.pictures import mutant
from torture.tally import Tally, at_least
from torture.worker import cases

MUTANTS = 30_000
MUTANT_SECONDS, MUTANT_MEGABYTES = 5, 2000  # of processor time; a header that was changed may announce MAX_PIXELS
FUZZED = (("weights", "mutated", 3000), ("predictions", "mutated", 2000), ("checkpoint", "mutated", 3000))
FUZZED += (("checkpoint", "state", 200),)
_SIDE = 32


def attacks(folder: Path, seed: int, share: float) -> Iterator[Tally]:
    """All of it, a tally a kind of file."""
    yield supervised("images, mutated", f"{__name__}:image_mutated", folder, seed, at_least(MUTANTS, share, 300))
    yield supervised("images, hostile", f"{__name__}:image_hostile", folder, seed, len(HOSTILE))
    for attack, collection in (("weights", weights), ("predictions", predictions), ("checkpoint", checkpoints)):
        count = runs.count_of(folder, collection)
        yield supervised(f"{attack}, hostile", f"{runs.__name__}:{attack}_hostile", folder, seed, count)
    for attack, of, count in FUZZED:
        yield supervised(f"{attack}, {of}", f"{runs.__name__}:{attack}_{of}", folder, seed, at_least(count, share, 10))

    for attack, count in texts.COUNTS.items():
        yield supervised(f"hostile text, {attack}", f"{texts.__name__}:{attack}", folder, seed, count)


def supervised(attack: str, function: str, folder: Path, seed: int, count: int) -> Tally:
    """The tally of `count` cases, each judged in a process that it may end."""
    tally, seconds, megabytes = Tally(attack), 0.0, 0.0
    for case in cases(function, folder, seed, count):
        failure = case.failure
        if function.endswith(":image_mutated") and not failure:
            failure = _cost(case.seconds, case.megabytes)
        tally.add(failure and f"{function} seed {seed} case {case.number}: {failure}")
        seconds, megabytes = max(seconds, case.seconds), max(megabytes, case.megabytes)
    tally.figure = f"at most {seconds:.2f} s of processor time and {megabytes:,.0f} MB a case"
    return tally


def image_mutated(folder: Path, seed: int, number: int) -> str | None:
    """What is wrong with how a mutated file is read."""
    what, content = mutant(seed, number)
    _, failure = read(content)
    return failure and f"{what}: {failure}"


def image_hostile(folder: Path, seed: int, number: int) -> str | None:
    """What is wrong with how one of the collection is read."""
    what, make, expected = HOSTILE[number]
    outcome, failure = read(make())
    if failure or expected in ("either", outcome):
        return failure and f"{what}: {failure}"
    return f"{what}: {outcome}, where {expected} is expected"


def read(content: bytes) -> tuple[str, str | None]:
    """Whether it is an image or refused, and what is wrong with that."""
    fits: Sequence[decode.Fit] = ("crop", "pad", "squash")
    fit = fits[len(content) % 3]
    try:
        image = decode.decode(content, side=_SIDE, fit=fit)
    except decode.BadImage as reason:
        text = str(reason)
        clear = text and text.isprintable() and len(text) < 200 and "object at" not in text
        return "refused", None if clear else f"an unclear reason {text!r}"
    whole = image.shape == (_SIDE, _SIDE, 3) and image.dtype == np.uint8 and image.flags.c_contiguous
    return "image", None if whole else f"{image.dtype} {image.shape}"


def _cost(seconds: float, megabytes: float) -> str | None:
    within = seconds < MUTANT_SECONDS and megabytes < MUTANT_MEGABYTES
    return None if within else f"{seconds:.1f} s of processor time, {megabytes:,.0f} MB"
