"""Odd command lines over every command and option, and odd trainings of a few small images."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import typer
from hypothesis import strategies as st

import onecycle
from onecycle import Dataset, ImageSet, registry
from onecycle.api import data as api_data
from onecycle.api import explanation, inspection, pictures
from onecycle.api import exporting as api_exporting
from onecycle.api import training as api_training
from onecycle.cli import app
from onecycle.plots import Figure
from onecycle.run import Run
from onecycle.serving import starting
from onecycle.studies import LocalEngine
from onecycle.studies.tuning import searching
from torture import odd
from torture.calling import call, check_refusal

_SECONDS = 10.0  # for a training of two epochs, or the report of one
RUN, FOLDER, FILE, SPACE = "Run", "Folder", "File.yaml", "Space.yaml"  # there before each case


def tiny(*, data_dir: Path | None = None, image_size: int = 32) -> Dataset:
    """24 training and 12 test images in the place of every registered set."""
    sets = []
    for seed, count in ((0, 24), (1, 12)):
        pixels = np.random.default_rng(seed).integers(0, 256, (count, image_size, image_size, 3), dtype=np.uint8)
        sets.append(ImageSet(pixels, np.arange(count) % 10, tuple("0123456789")))
    return Dataset(*sets)


@contextlib.contextmanager
def safely(folder: Path, *, training: bool = False) -> Iterator[None]:
    """Small data under the usual names, a finished run; nothing is drawn, fetched, exported, served or trained.

    With `training`, trainings alone are what is wanted.
    """
    data = dict.fromkeys(registry.names("data"), f"{__name__}:tiny")
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.dict(registry.ENTRIES["data"], data))
        stack.enter_context(mock.patch.object(pictures, "finish", lambda *arguments, **options: None))
        if not training:
            small = {"data.batch_size": 8, "schedule.epochs": 1, "schedule.peak_epoch": 0.5}
            onecycle.train(
                "digits", model="compact", out=folder / RUN, device="cpu", observer=onecycle.Observer(), **small
            )
            (folder / FOLDER).mkdir()
            (folder / FILE).write_text(onecycle.recipe("digits").to_yaml())
            (folder / SPACE).write_text("schedule.lr_max: [0.01, 0.02]")
            stack.enter_context(mock.patch.object(Run, "create", _begun))
            stack.enter_context(mock.patch.object(searching, "alone", _begun))
            stack.enter_context(mock.patch.object(api_training.lr_range, "find", _begun))
            stack.enter_context(mock.patch.object(api_data.fetching, "fetch", _begun))
            stack.enter_context(mock.patch.object(api_data.plots, "augmented", lambda *a, **b: Figure(1, 1)))
            stack.enter_context(mock.patch.object(explanation.Explanation, "figures", _one_figure))
            stack.enter_context(mock.patch.object(api_exporting, "write_export", _begun))
            stack.enter_context(mock.patch.object(starting, "listen", _begun))
            stack.enter_context(mock.patch.object(LocalEngine, "run", _begun))
            stack.enter_context(mock.patch.object(inspection, "write_report", _write_page))
            stack.enter_context(mock.patch.object(pictures, "write_report", _write_page))
        yield


def commands(folder: Path) -> st.SearchStrategy[list[str]]:
    """Command lines: mostly of known commands and options, with values that fit or do not."""
    root: Any = typer.main.get_command(app)
    found: list[tuple[list[str], list[Any]]] = []

    def walk(command: Any, path: list[str]) -> None:
        found.append((path, command.params))
        for name, inner in getattr(command, "commands", {}).items():
            walk(inner, [*path, name])

    walk(root, [])
    one_of_them = st.integers(0, len(found) - 1).flatmap(lambda number: _line(*found[number]))
    return st.one_of(*[one_of_them] * 9, st.lists(_words, max_size=6))


_paths = st.sampled_from(
    [
        *(RUN, RUN, FOLDER, FOLDER, FILE, "", ".", "..", "/dev/null", "/dev/full", "/dev/stdin", "/dev/null/x"),
        *("new", "new/new", "new.png", "new.yaml", f"{FOLDER}/new.png", f"{FOLDER}/no/new.png", f"{FILE}/new"),
        *(f"{RUN}/recipe.yaml", "a\0b", "a\nb", "\udcff\udcfe", "\udcff.png", "x" * 300, "x/" * 3000),
        *("~", "-", "--", "\x1b[31m", "runs", "/"),
    ]
)
_recipes = st.sampled_from(["digits", "digits", "era1_s10_compact", "compact", FILE, FOLDER, "digitz", ""]) | _paths
_words = st.one_of(
    _paths, _recipes, odd.letters, odd.assignments, odd.numbers.map(odd.yaml_text), st.sampled_from(odd.NAMES)
)
_fitting: dict[str, st.SearchStrategy[str]] = {
    "RECIPE": _recipes,
    "[RECIPE]": _recipes,
    "RUN": st.just(RUN),
    "RUN RUN ...": st.just(RUN),
    "NET": st.sampled_from(registry.names("model")),
    "NAME": st.sampled_from(registry.names("data")),
    "KEY=VALUE": odd.assignments,
    "FILE": st.just(SPACE),
}


def _line(path: list[str], parameters: list[Any]) -> st.SearchStrategy[list[str]]:
    arguments = [one for one in parameters if not hasattr(one, "is_flag")]
    options = [one for one in parameters if hasattr(one, "is_flag")]
    parts = [st.one_of(*[_value(one)] * 3, _words).map(lambda text: [text]) for one in arguments]
    given = st.lists(st.sampled_from(options).flatmap(_option), max_size=4) if options else st.just([])
    stray = st.lists(_words | st.sampled_from(["--help", "--debug", "--bogus", "--sed", "--seeds"]), max_size=1)
    rare = st.one_of(*[st.just([])] * 5, stray)
    tail = st.tuples(*parts, given.map(lambda all_of: [word for one in all_of for word in one]), rare)
    return tail.map(lambda found: [*path, *(word for part in found for word in part)])


def _option(option: Any) -> st.SearchStrategy[list[str]]:
    name = st.sampled_from(option.opts)
    if option.is_flag:
        return name.map(lambda text: [text])
    value = st.one_of(*[_value(option)] * 4, _words)
    apart = st.tuples(name, value).map(list)
    return st.one_of(apart, apart, apart, apart.map(lambda both: ["=".join(both)]), name.map(lambda text: [text]))


def _value(parameter: Any) -> st.SearchStrategy[str]:
    kind = parameter.type_descriptor.annotation
    if parameter.metavar in _fitting:
        return _fitting[parameter.metavar]
    if kind is int:
        return st.one_of(st.integers(-2, 200), st.integers(), odd.large).map(str) | st.just("9" * 5000)
    if kind is float:
        return st.floats().map(str) | odd.numbers.map(odd.yaml_text)
    if kind is Path:
        return _paths
    named = st.sampled_from([*"0123456789", "6", "6.0", "minimum", "valley", "onset", "grad_cam", "grad_cam++", "cpu"])
    return named | st.sampled_from(
        [*registry.names("data"), "cuda", "cuda:9", "cpu:3", "meta", "layer", "block4", "auto"]
    )


def try_command(arguments: list[str]) -> None:
    """A command line: 0 and nothing on stderr but progress, or a clear refusal that leaves nothing behind."""
    before = _there()
    called = call(arguments, _SECONDS)
    if called.code == 2 and "--debug" in arguments:
        return  # with its traceback
    if called.code != 0:
        check_refusal(called)
        assert _there() == before, f"left behind: {_there() ^ before}"
    if "--debug" not in arguments:
        assert "Traceback" not in called.err, called.err


trainings = st.tuples(
    st.sampled_from(["digits", "fast94", "era1_s10_compact", "eva6_s9_sgd_plateau"]),
    st.lists(odd.assignments | odd.possible, min_size=1, max_size=3),
    st.integers(1, 24),
    st.sampled_from([8, 9, 16, 20, 32]),
)


def try_training(case: tuple[str, list[str], int, int]) -> None:
    """Two epochs of the compact net, or another one's few weights, on a few images: 0, 2, or 3 for bad numbers."""
    name, pairs, batch_size, image_size = case
    fixed = [f"data.batch_size={batch_size}", f"data.image_size={image_size}", "schedule.epochs=2"]
    narrow = "{name: whitened_convnet, widths: [8, 8, 8]}"
    fixed.append(f"model={narrow if name == 'fast94' else '{name: compact}'}")
    if name not in ("fast94", "eva6_s9_sgd_plateau"):
        fixed.append("schedule.peak_epoch=1")
    sets = [part for pair in [*fixed, *pairs] for part in ("--set", pair)]
    called = call(["train", name, "--device", "cpu", "--out", "new", "--json", *sets], _SECONDS)
    if called.code == 3:
        assert "onecycle: error: " in called.err and ("finite" in called.err or "the loss is" in called.err), called.err
    elif called.code != 0:
        refused = called.err[called.err.find("onecycle: error: ") :]
        check_refusal(type(called)(called.code, called.out, refused))
    assert "Traceback" not in called.err, called.err


def _there() -> set[str]:
    return {str(path) for path in Path().rglob("*") if not path.is_relative_to(RUN)}


def _begun(*arguments: Any, **options: Any) -> None:
    """In the place of what would take long: the command line was fit for it."""
    raise SystemExit(0)


def _one_figure(*arguments: Any, **options: Any) -> dict[str, Figure]:
    return {"misclassified": Figure(1, 1)}


def _write_page(run: Run, sets: Any, net: Any, device: Any, out: Path | None = None, **options: Any) -> Path:
    page = out or run.path / "report.html"
    onecycle.files.write_text(page, "page")
    return page
