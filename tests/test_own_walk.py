"""docs/own-data.md: its walk from photographs to a served net, its other commands, and its figures."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from benchmark_scripts import benchmark_script
from own_images import own_cache, write_images  # noqa: F401  # the fixture of every test
from served import needs_gradio
from sklearn.metrics import precision_score, recall_score
from small import images
from test_cli import call
from walk import Step, Walk, plain, steps

from onecycle import Run, registry
from onecycle.data import own_images
from onecycle.files import read_csv

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/own-data.md").read_text(encoding="utf-8")
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@needs_gradio
@pytest.mark.usefixtures("drawn")
def test_the_walk_from_photographs_to_a_served_net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    walk, said = Walk(), {}
    try:
        for step in steps(PAGE):
            said[step.command] = printed = walk.run(step)
            lines = {plain(line, NAMES) for line in printed.splitlines()}
            missing = [line for line in step.shown if plain(line, NAMES) not in lines]
            assert not missing, f"$ {step.command}\n{printed}"
    finally:
        walk.end()
    verbs = {command.split()[1] for command in said if command.startswith("onecycle ")}
    assert verbs >= {"data", "find-lr", "train", "evaluate", "explain", "predict", "export", "serve"}
    run = Run.open(Path("runs/photos"))
    assert run.summary["test"]["accuracy"] > 0.8
    assert (run.path / "report.html").exists() and (run.path / "plots/misclassified.png").exists()
    by_onecycle, by_onnxruntime, by_server = (
        dict(re.findall(r"^(new/\S+?):? +(\w+)", printed, re.M))
        for command, printed in said.items()
        if command.startswith(("onecycle predict", "python use.py", "python ask.py"))
    )
    assert len(by_onecycle) == 20 and len(by_onnxruntime) == len(by_server) == 2
    assert by_onnxruntime.items() <= by_onecycle.items() and by_server.items() <= by_onecycle.items()
    assert sum(Path(path).name.startswith(name) for path, name in by_onecycle.items()) > 14


def test_what_the_page_shows_is_held_to_what_is_printed() -> None:
    page = '```console\n$ onecycle a > b\nfour 12.5% of 3\n...\n$ c\n```\n```python title="d.py"\ne\n```\n'
    shown = ["four 12.5% of 3"]
    assert list(steps(page)) == [Step(command="onecycle a > b", shown=shown), Step(command="c"), Step("d.py", "e\n")]
    assert plain("four  >99.9% of 1,200", NAMES) == plain("six 12.5% of 3", NAMES) == "NAME 0 of 0"
    assert plain("four of 3 labels", NAMES) != plain("four of 3 images", NAMES)
    here, there = "a on b: bfloat16 on AMD EPYC, 1 thread", "a on b: float32 on Intel(R) Xeon(R) (AVX2), 1 thread"
    assert plain(here, NAMES) == plain(there, NAMES) != plain(there.replace("a on", "c on"), NAMES)


def test_the_other_commands_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = re.findall(r"^    (onecycle .*)$", PAGE, re.MULTILINE)
    assert len(commands) >= 5
    monkeypatch.setitem(registry.ENTRIES["recipe"], "custom_resnet", "own_images:docs_recipe")
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "photos", images(60, 0))
    for command in ("onecycle train custom_resnet --data ./photos --out runs/photos", *commands):
        assert call(*shlex.split(command)[1:]) == 0, command
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {
        "photos",
        "larger",
        "balanced",
        "folds",
        "tuned",
        "judged",
    }
    larger = Run.open(tmp_path / "runs/larger").recipe
    assert (larger.data.image_size, larger.data.fit, larger.data.damaged) == (48, "pad", "skip")
    assert Run.open(tmp_path / "runs/balanced").recipe.loss.class_weights == "balanced"
    (example,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
    names: dict[str, object] = {}
    exec(compile(example, "own-data.md", "exec"), names)


# --- the figures -------------------------------------------------------------------------------------------------


@pytest.fixture(name="benchmark")
def _benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, by a name that is not that of a module of the tests."""
    return benchmark_script("own_images", monkeypatch)


def test_the_tables_are_those_of_the_results(benchmark: ModuleType) -> None:
    (path,) = (ROOT / "benchmarks/results").glob("own_images_*.csv")
    rows = read_csv(path)
    assert {row["seed"] for row in rows} == set("01234")
    assert f"results/{path.name}" in PAGE
    assert [line for line in benchmark.tables(rows) if line not in PAGE.splitlines()] == []


def test_what_is_changed_and_what_is_found_is_counted_as_scikit_learn_does(
    benchmark: ModuleType, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    before = images(200)
    after, changed = benchmark.with_wrong_labels(before, 0.1, random)
    assert np.flatnonzero(after.labels != before.labels).tolist() == changed.tolist() and len(changed) == 20
    benchmark.write(tmp_path / "set/train", after)
    read = own_images(tmp_path / "set").train
    np.testing.assert_array_equal(read.labels, after.labels)
    np.testing.assert_array_equal(read.images_nhwc, after.images_nhwc)
    listed = np.sort(random.choice(200, 30, replace=False))
    is_changed, is_listed = np.isin(np.arange(200), changed), np.isin(np.arange(200), listed)
    found = benchmark.matched(listed, changed)
    assert found["precision"] == pytest.approx(precision_score(is_changed, is_listed))
    assert found["recall"] == pytest.approx(recall_score(is_changed, is_listed))
    assert benchmark.matched(listed[:0], changed)["precision"] == 1


def test_the_benchmark_runs(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["own_images.py", "--quick", "--out", str(tmp_path)])
    benchmark.main()
    (path,) = tmp_path.glob("own_images_*.csv")
    rows = read_csv(path)
    assert [row["way"] for row in rows if row["measure"] == "rare"] == ["none", "balanced"] * 2
    ways = {row["way"] for row in rows if row["study"] == "labels"}
    assert ways == {"cross-validation", "cleanlab", "cleanlab, its default", "explain"}
    assert all(0 <= float(row["value"]) <= 1 for row in rows if row["measure"] not in ("changed", "listed"))
    assert capsys.readouterr().out.endswith("\n".join(benchmark.tables(rows)) + "\n")
    monkeypatch.setattr(sys, "argv", ["own_images.py", "--seeds", "1"])
    with pytest.raises(SystemExit):
        benchmark.main()
    assert "--seeds 1 shows no spread; 2 or more" in capsys.readouterr().err
