import csv
import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "throughput.py"
COLUMNS = ["name", "value", "unit", "min", "max", "n", "reference", "ratio", "bar", "aim"]
ROWS = {
    "matmul_fp32",
    "matmul_bf16",
    "train_gflops",
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
    [path] = folder.glob("throughput_*-threads.csv")
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
        if row["reference"] in rows:
            # Both are rounded to five digits.
            ratio = float(row["value"]) / float(rows[row["reference"]]["value"])
            assert float(row["ratio"]) == pytest.approx(ratio, rel=2e-4), row
        else:
            assert row["ratio"] == "", row
    [path] = tmp_path.glob("throughput_*-threads.json")
    record = json.loads(path.read_text())
    assert record["environment"]["threads"] == 1
    assert {name: len(samples) for name, samples in record["samples"].items()} == {
        name: int(row["n"]) for name, row in rows.items()
    }


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
