"""Recipes, `--set` values and command lines that are odd: a valid recipe, or exit code 2 and a clear line a problem.

The command runs in this process. What is valid must read back to the same value, and must be possible: rates that are
finite, a net and an optimiser that can be built, a training that ends well or says why not.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis import strategies as st

import onecycle
from torture import lines, odd, planning
from torture.calling import Called, call, check_refusal, workshop
from torture.tally import Tally, at_least

Case = TypeVar("Case")

FULL = {"recipe files": 9000, "--set values": 9000, "command lines": 2500, "odd trainings": 400}
_CHUNK = 200  # cases of one search, which ends with its first loss, made as small as can be

_sets = st.tuples(
    st.sampled_from(["custom_resnet", "digits", "fast94"]),
    st.lists(odd.assignments, min_size=1, max_size=3),
)


def attacks(folder: Path, seed: int, share: float) -> Iterator[Tally]:
    """All of them."""
    counts = {name: at_least(full, share, 20) for name, full in FULL.items()}
    planning.check_plan(onecycle.recipe("digits"))  # what is imported on the way takes seconds
    with workshop():
        tally = search("recipe files", odd.files, try_file, counts["recipe files"], seed)
    yield tally
    with workshop():
        tally = search("--set values", _sets, try_set, counts["--set values"], seed)
    yield tally
    with workshop() as here, lines.safely(here):
        tally = search("command lines", lines.commands(here), lines.try_command, counts["command lines"], seed)
    yield tally
    with workshop() as here, lines.safely(here, training=True):
        tally = search("odd trainings", lines.trainings, lines.try_training, counts["odd trainings"], seed)
    yield tally


def search(attack: str, cases: st.SearchStrategy[Case], holds: Callable[[Case], None], count: int, seed: int) -> Tally:
    """Try `count` cases that the seed decides; the smallest of each search's losses is told."""
    tally = Tally(attack)
    for chunk in range(0, count, _CHUNK):
        _search_chunk(tally, cases, holds, min(_CHUNK, count - chunk), f"{seed}/{chunk}")
    return tally


def try_file(content: bytes) -> None:
    """Show a recipe file of this content."""
    Path("case.yaml").write_bytes(content)
    _check_shown(call(["recipes", "show", "case.yaml"]))
    _check_left({"case.yaml"})


def try_set(case: tuple[str, list[str]]) -> None:
    """Show a shipped recipe with these changes."""
    name, pairs = case
    _check_shown(call(["recipes", "show", name, *(part for pair in pairs for part in ("--set", pair))]))
    _check_left(set())


def _check_left(expected: set[str]) -> None:
    found = {path.name for path in Path().iterdir()}
    assert found == expected, f"left behind: {found - expected}"


def _check_shown(called: Called) -> None:
    if called.code == 0:
        assert not called.err, f"stderr has {called.err[:300]!r}"
        planning.check_recipe(called.out)
    else:
        check_refusal(called)


def _search_chunk(
    tally: Tally, cases: st.SearchStrategy[Case], holds: Callable[[Case], None], count: int, seed: str
) -> None:
    failed, last = False, ""

    @hypothesis.seed(seed)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
        report_multiple_bugs=False,
        verbosity=Verbosity.quiet,
    )
    @hypothesis.given(cases)
    def trial(case: Case) -> None:
        nonlocal failed, last
        last = ascii(case)
        tally.tried += not failed  # what only makes a loss smaller is not counted
        try:
            holds(case)
        except BaseException:
            failed = True
            raise
        finally:
            _sweep()

    try:
        trial()
    except Exception as error:  # whatever it is, the case is lost
        tally.lost.append(f"seed {seed}: {last[:400]}: {type(error).__name__}: {' '.join(str(error).split())[:400]}")


def _sweep() -> None:
    """Take away what a case made, but for what was there before, which begins with a capital letter."""
    for path in Path().iterdir():
        if path.name[0].isupper():
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
