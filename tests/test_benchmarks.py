"""The benchmarks of throughput and the tuning of recipes, on a small scale."""

import csv
import importlib
import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import small

import onecycle

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SCRIPT = BENCHMARKS / "throughput.py"
COLUMNS = ["name", "value", "unit", "min", "max", "n", "reference", "ratio", "ratio_min", "ratio_max", "bar", "aim"]
ROWS = {
    "matmul_fp32",
    "matmul_bf16",
    "train_gflops",
    "matmul_beside_training",
    "train",
    "train_usual",
    "loop",
    "loop_beside_augmented",
    "loop_bare",
    "loop_bare_augmented",
    "augment_zeros_bf16",
    "augment_reflect_bf16",
    "augment_zeros_fp32",
    "augment_reflect_fp32",
    "augment_usual",
    "memory",
    "startup_help",
    "startup_import",
}
OF_THE_USUAL_WAY = {"train_usual", "augment_usual"}
HAS_ALBUMENTATIONS = importlib.util.find_spec("albumentations") is not None
SAYS_MISSING = "albumentations is not installed"


def throughput(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    # One thread: tiny operations on several wait for one another where the machine is busy.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ONECYCLE_DATA": "no such folder"} | variables
    command = [sys.executable, SCRIPT, "--quick", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def rows_in(folder: Path) -> dict[str, dict[str, str]]:
    [path] = folder.glob("throughput_*-1-thread.csv")
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        assert reader.fieldnames == COLUMNS
        return {row["name"]: row for row in reader}


def test_all_rows_are_measured(tmp_path):
    done = throughput("--out", tmp_path)

    assert done.returncode == 0, done.stderr
    assert "random images, as no CIFAR-10 was found" in done.stdout
    assert (SAYS_MISSING in done.stdout) != HAS_ALBUMENTATIONS
    rows = rows_in(tmp_path)
    assert set(rows) == (ROWS if HAS_ALBUMENTATIONS else ROWS - OF_THE_USUAL_WAY)
    for row in rows.values():
        numbers = [float(row[column]) for column in ("min", "value", "max")]
        assert all(math.isfinite(number) and number > 0 for number in numbers), row
        assert numbers == sorted(numbers), row
    [path] = tmp_path.glob("throughput_*-1-thread.json")
    record = json.loads(path.read_text())
    assert record["environment"]["threads"] == 1
    samples = record["samples"]
    assert {name: len(list(chain(*rounds))) for name, rounds in samples.items()} == {
        name: int(row["n"]) for name, row in rows.items()
    }
    for row in rows.values():
        assert_ratio_of_rounds(row, samples)


def assert_ratio_of_rounds(row: dict[str, str], samples: dict[str, list[list[float]]]) -> None:
    written = [row[name] for name in ("ratio_min", "ratio", "ratio_max")]
    if row["reference"] not in samples:
        assert written == ["", "", ""], row
        return
    both = zip(samples[row["name"]], samples[row["reference"]], strict=False)
    ratios = [statistics.median(ours) / statistics.median(theirs) for ours, theirs in both]
    expected = [min(ratios), statistics.median(ratios), max(ratios)]
    assert [float(number) for number in written] == pytest.approx(expected, rel=1e-4), row


def test_a_load_that_comes_and_goes_with_the_rounds_is_not_in_the_ratio(monkeypatch):
    table = script("measuring.table", monkeypatch)
    idle, busy = [100.0, 102.0], [300.0, 306.0]

    [ours, _] = table.results({"loop": [idle, busy, busy], "loop_bare": [idle, busy, busy, idle, idle]})

    assert [ours[name] for name in ("ratio_min", "ratio", "ratio_max")] == [1, 1, 1]
    assert (ours["value"], ours["n"]) == (300, 6)


def script(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of the benchmarks, fresh."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module(name)


def test_without_albumentations_the_usual_way_is_left_out(tmp_path):
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "albumentations.py").write_text("raise ImportError")

    done = throughput("--only", "augmentation", "--out", tmp_path, PYTHONPATH=str(hidden))

    assert done.returncode == 0, done.stderr
    assert SAYS_MISSING in done.stdout
    assert set(rows_in(tmp_path)) == {name for name in ROWS - OF_THE_USUAL_WAY if name.startswith("augment_")}


def test_a_data_folder_without_cifar10_is_refused(tmp_path):
    done = throughput("--data-dir", tmp_path)

    assert done.returncode == 2
    assert str(tmp_path) in done.stderr
    assert "Traceback" not in done.stderr


# --- the tuning of recipes ---------------------------------------------------------------------------------------

TINY: dict[str, Any] = {
    "data.batch_size": 20,
    "data.train_limit": 40,
    "evaluate_every": 0,
    "schedule.epochs": 1,
    "schedule.peak_epoch": 0.5,
}


@pytest.fixture
def tuning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    module = script("tune", monkeypatch)
    (tmp_path / "results").mkdir()
    monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    candidates = sys.modules["measuring.candidates"]
    tried = candidates.TUNINGS["custom_resnet"].candidates
    monkeypatch.setitem(candidates.TUNINGS, "custom_resnet", candidates.Tuning(TINY, tried))
    monkeypatch.setattr(sys.modules["measuring.held_out"], "HELD_OUT_IMAGES", 20)
    monkeypatch.setattr(onecycle.data, "cifar10", small.dataset)
    module.held_out_data.cache_clear()
    yield module
    module.held_out_data.cache_clear()


def tuned(module: ModuleType, runs: Path, *names: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, str]]:
    """Run the script; its table."""
    monkeypatch.setattr(sys, "argv", ["tune.py", "custom_resnet", str(runs), *names])
    module.main()
    [path] = module.RESULTS.iterdir()
    assert path.name.startswith("custom_resnet_tuning_")
    with path.open(newline="") as file:
        return {row["candidate"]: row for row in csv.DictReader(file)}


def test_tuning_judges_on_held_out_images_alone(tuning, tmp_path, monkeypatch):
    table = tuned(tuning, tmp_path, "bn_momentum", monkeypatch=monkeypatch)

    assert list(table) == ["bn_momentum"]
    run = onecycle.load(tmp_path / "bn_momentum")
    assert run.recipe.data.val_fraction == 0
    assert run.recipe.model.options["norm_momentum"] == 0.4
    assert run.recipe.optimizer.options["weight_decay"] == 0.2
    held_out, _ = onecycle.data.stratified_split(small.dataset().train.labels, 20, seed=0)
    assert run.predictions()["labels"].tolist() == small.dataset().train.labels[held_out].tolist()
    [last] = run.metrics()
    row = table["bn_momentum"]
    assert list(row) == [
        *("candidate", "changes", "train_loss", "train_accuracy"),
        *("held_out_loss", "held_out_accuracy", "held_out_accuracy_tta", "train_seconds"),
    ]
    assert float(row["held_out_accuracy"]) == last["test_accuracy"]
    assert float(row["train_seconds"]) == run.summary["train_seconds"]


def test_tuning_reads_what_is_done_and_goes_on_with_what_is_not(tuning, tmp_path, monkeypatch):
    earlier = onecycle.train(
        "custom_resnet",
        data=small.dataset(),
        out=tmp_path / "wd0.2",
        observer=onecycle.Observer(),
        **{**TINY, "data.val_fraction": 0.1},
    )
    tuned(tuning, tmp_path, "base", monkeypatch=monkeypatch)
    (tmp_path / "base" / "summary.json").unlink()  # as if it was interrupted

    table = tuned(tuning, tmp_path, "base", "wd0.2", monkeypatch=monkeypatch)

    assert list(table) == ["base", "wd0.2"]
    assert len(onecycle.load(tmp_path / "base").environment["resumed"]) == 1
    assert "resumed" not in earlier.environment
    assert float(table["wd0.2"]["held_out_loss"]) == round(earlier.metrics()[-1]["val_loss"], 4)


def test_a_line_of_tuning_whose_run_is_elsewhere_stays_while_it_is_of_these_changes(tuning, tmp_path, monkeypatch):
    tuned(tuning, tmp_path / "elsewhere", "wd0.2", "zeros", monkeypatch=monkeypatch)
    candidates = sys.modules["measuring.candidates"].TUNINGS["custom_resnet"].candidates
    monkeypatch.setitem(candidates, "zeros", {"augment.padding": "zeros"})

    table = tuned(tuning, tmp_path / "here", "base", monkeypatch=monkeypatch)

    assert list(table) == ["base", "wd0.2"]
    elsewhere = onecycle.load(tmp_path / "elsewhere" / "wd0.2")
    assert float(table["wd0.2"]["train_seconds"]) == elsewhere.summary["train_seconds"]


def test_tuning_knows_its_candidates(tuning, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        tuned(tuning, tmp_path, "wd0.2", "nonsense", monkeypatch=monkeypatch)

    assert "nonsense: no such candidate; there are base, wd0.2, wd0.4" in capsys.readouterr().err
    assert not (tmp_path / "wd0.2").exists()
