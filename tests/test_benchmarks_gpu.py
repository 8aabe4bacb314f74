"""The script for a GPU, tried out on a processor with tiny settings."""

import json
import time

import pytest
import small
from speed_benchmarks import CPU, run, script, table, tiny

import onecycle

pytest_plugins = ["speed_fixtures"]
pytestmark = pytest.mark.usefixtures("modules_forgotten")


def test_the_script_for_a_gpu_runs_on_a_cpu(folder, tmp_path, monkeypatch, capsys, traced):
    out, runs = tmp_path / "out", tmp_path / "runs"
    monkeypatch.setenv("OUT", str(out))
    words = (
        tiny(tmp_path),
        tiny(tmp_path, "slower"),
        "--device",
        "cpu",
        "--quick",
        "--runs",
        runs,
        "--airbench",
        folder,
        "--modes",
        "default",
        "reduce-overhead",
    )

    run("gpu", monkeypatch, *words)

    modes = table(next(out.glob("gpu_*_modes.csv")))
    assert [(row["recipe"], row["compile"], row["side"], row["epochs"]) for row in modes] == [
        ("fast_tiny", "default", "16", "1"),
        ("fast_tiny", "default", "32", "1"),
    ]
    made = onecycle.load(runs / "fast_tiny_s1")
    assert made.recipe.compile == "default" and made.summary["compile_seconds"] > 0
    assert onecycle.load(runs / "slower_s0").recipe.compile == "none"

    rows = table(next(out.glob("gpu_*-1-thread.csv")))
    assert {(row["side"], row["seed"]) for row in rows} == {
        (side, seed) for side in ("fast_tiny", "slower", "airbench94_muon") for seed in "01"
    }
    record = json.loads(next(out.glob("gpu_*.json")).read_text())
    assert set(record["matrix_gflops"]) == {"fp32", "bf16"}
    assert record["quick"]
    said = capsys.readouterr().out
    assert "Not all of it" not in said
    assert "fast_tiny: compile reduce-overhead records CUDA graphs, which cpu has not" in said


def test_the_fastest_mode_is_that_of_the_whole_plan(monkeypatch):
    fastest = script("measuring.modes", monkeypatch).fastest
    times = {"none": {16: 5.0, 32: 20.0}, "default": {16: 1.0, 32: 21.0}, "max-autotune": {16: 0.1}}
    epochs = {16: 1, 32: 3}
    rows = [
        {"compile": mode, "side": side, "epochs": epochs[side], "ms": ms}
        for mode, own in times.items()
        for side, ms in own.items()
    ]
    assert fastest(rows) == "default"  # 64 against 65; the third did not work on both sides
    epochs[16] = 0
    assert fastest([row | {"epochs": epochs[row["side"]]} for row in rows]) == "none"


def test_the_script_for_a_gpu_ends_in_time_and_goes_on(tmp_path, monkeypatch, capsys):
    words = (tiny(tmp_path), "--device", "cpu", "--quick", "--runs", tmp_path / "runs", "--out", tmp_path / "out")
    run("gpu", monkeypatch, *words, "--minutes", "0")
    assert "Not all of it; the same command goes on." in capsys.readouterr().out

    run("gpu", monkeypatch, *words)

    assert len(table(next((tmp_path / "out").glob("gpu_*-1-thread.csv")))) == 2


def test_a_training_that_is_late_is_saved(tmp_path, monkeypatch):
    sides = script("measuring.sides", monkeypatch)
    recipe = onecycle.recipe(tiny(tmp_path), **{"schedule.epochs": 3})
    ours = sides.Ours(recipe, CPU, small.dataset())

    with pytest.raises(onecycle.Stopped):
        ours.train(0, tmp_path / "late", time.perf_counter() - 1)
    found = ours.train(0, tmp_path / "late", None)

    assert found["resumed"] == 1
    assert onecycle.load(tmp_path / "late").finished
