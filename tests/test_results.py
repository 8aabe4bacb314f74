"""The tables of results say what the files of the runs say."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
import scipy.stats
from benchmark_scripts import benchmark_script
from small import dataset, net, small_recipe

import onecycle
from onecycle.files import read_json

ROOT = Path(__file__).parents[1]


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module."""
    return benchmark_script("results", monkeypatch)


def test_the_pages_are_up_to_date(results: ModuleType) -> None:
    for path, text in results.pages().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run python benchmarks/results.py"


def test_every_kept_run_is_in_the_page_and_whole(results: ModuleType) -> None:
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    for one in results.kept():
        summary = one.summary
        assert f"benchmarks/results/{one.folder.name})" in page
        assert one.folder.name.startswith(f"{summary['recipe']}_")
        assert one.folder.name.endswith(f"_s{summary['seed']}")
        last = (one.folder / "metrics.csv").read_text().splitlines()[-1].split(",")
        assert int(last[0]) == summary["epochs"]
        assert onecycle.recipe(one.folder / "recipe.yaml").epochs == summary["epochs"]
        assert read_json(one.folder / "environment.json")["git_commit"]


def test_the_small_files_of_a_finished_run_are_kept(
    results: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    recipe = small_recipe(seed=3)
    run = onecycle.train(recipe, model=net(), data=dataset(), out=tmp_path / "run", observer=onecycle.Observer())
    folder = results.keep(run)
    assert folder.name.startswith("custom_resnet_") and folder.name.endswith("_s3")
    names = {"summary.json", "metrics.csv", "environment.json", "recipe.yaml"}
    assert {path.name for path in folder.iterdir()} == names
    assert all((folder / name).read_bytes() == (run.path / name).read_bytes() for name in names)
    before = (folder / "metrics.csv").read_bytes()
    other = recipe.evolve(augment={"cutout": 0})
    again = onecycle.train(other, model=net(), data=dataset(), out=tmp_path / "other", observer=onecycle.Observer())
    with pytest.raises(onecycle.UserError, match=r"holds a run of another recipe than .*other; move one of them away"):
        results.keep(again)
    assert (folder / "metrics.csv").read_bytes() == before


def test_seeds_become_one_line_with_an_interval(results: ModuleType) -> None:
    one, *_ = [each for each in results.kept() if each.summary["recipe"] == "digits"]
    accuracies = [91.0, 92.5, 91.75, 93.0]
    seconds = [30.0, 20.0, 900.0, 20.0]
    changes = [
        {"seed": seed, "test": {"accuracy": accuracies[seed] / 100}, "train_seconds": seconds[seed]}
        for seed in range(4)
    ]
    runs = [results.Result(one.folder, {**one.summary, **each}) for each in changes]
    (line,) = results.table(runs, Path()).splitlines()[2:]
    mean = sum(accuracies) / 4
    low, high = scipy.stats.t.interval(0.95, 3, loc=mean, scale=scipy.stats.sem(accuracies))
    assert f"{mean:.2f} (sd " in line and f", {low:.2f} to {high:.2f})" in line
    assert "4, seeds 0, 1, 2, 3" in line and "| 25 s |" in line  # the median: a busy machine's run says nothing


def test_a_run_of_another_recipe_than_the_shipped_one_says_in_what(results: ModuleType, tmp_path: Path) -> None:
    one, *_ = [each for each in results.kept() if each.summary["recipe"] == "digits"]
    assert one.label == "digits"
    wanted = onecycle.recipe(one.folder / "recipe.yaml").evolve(seed=1, optimizer={"weight_decay": 0.25})
    (tmp_path / "recipe.yaml").write_text(wanted.to_yaml())
    other = results.Result(tmp_path, {**one.summary, "seed": 1})
    assert other.label == "digits --set optimizer.weight_decay=0.25" and other.group != one.group
    assert results.run_line(other).endswith("`onecycle train digits --set optimizer.weight_decay=0.25 --seed 1` |")


def test_accuracy_with_test_time_augmentation_stands_beside_the_other(results: ModuleType) -> None:
    one, *_ = [each for each in results.kept() if each.summary["recipe"] == "digits"]
    tests = [{"accuracy": 0.925, "accuracy_tta": 0.9375, "images": 400, "loss": 0.5}, {**one.summary["test"]}]
    augmented, plain = (results.Result(one.folder, {**one.summary, "test": test}) for test in tests)
    assert "| 92.50; with test-time augmentation 93.75 |" in results.table([augmented], Path())
    assert "augmentation" not in results.table([plain], Path())
    assert "| 92.50 of 400, 93.75 with test-time augmentation |" in results.run_line(augmented)
    assert "augmentation" not in results.run_line(plain)


def test_sides_become_lines_with_their_intervals(results: ModuleType) -> None:
    alone = {"side": "fast", "seeds": "0", "accuracy": "0.9", "accuracy_tta": "0.91234", "seconds": "1234.5"}
    alone |= {"pflop": "0.0512", "hardware": "a machine"}
    several = {**alone, "seeds": "0 1 2", "seconds_to_airbench94_muon": "0.5"}
    for key, half in (("accuracy_tta", 0.001), ("seconds", 100.0), ("seconds_to_airbench94_muon", 0.02)):
        several |= {f"{key}_low": str(float(several[key]) - half), f"{key}_high": str(float(several[key]) + half)}
    several["accuracy_tta_sd"] = "0.0004"
    assert "airbench94_muon's" not in results.fast_table([alone])
    one, more = results.fast_table([alone, several]).splitlines()[2:]
    assert one == "| `fast` | 0 | 91.23 | 90.00 | 1,234 | 0.051 |  | a machine |"
    assert "| 91.23 (sd 0.04, 91.13 to 91.33) | 90.00 | 1,234 (1,134 to 1,334) | 0.051 | 0.50 (0.48 to 0.52) |" in more


def test_the_ways_of_a_step_become_lines_each_beside_the_one_above(results: ModuleType) -> None:
    keys = (
        "machine",
        "recipe",
        "way",
        "ms",
        "images_per_second",
        "faster",
        "faster_min",
        "faster_max",
        "share_of_matrix",
    )
    ways = [
        ("EPYC", "one", "float32, channels first", "8000.4", "64.2", "", "", "", "0.55"),
        ("EPYC", "one", "channels last", "4000", "128", "2", "1.9", "2.125", "0.9"),
        ("EPYC", "two", "float32, channels first", "3000", "171", "", "", "", "0.4"),
        ("Xeon", "two", "float32, channels first", "1500", "342", "", "", "", "0.4"),
    ]
    table = results.steps_table([dict(zip(keys, values, strict=True)) for values in ways]).splitlines()
    assert table[2:] == [
        "| EPYC | `one` | float32, channels first | 8,000 | 64 |  | 55% |",
        "|  |  | + channels last | 4,000 | 128 | 2.00 (1.90 to 2.12) | 90% |",
        "|  | `two` | float32, channels first | 3,000 | 171 |  | 40% |",
        "| Xeon | `two` | float32, channels first | 1,500 | 342 |  | 40% |",
    ]
