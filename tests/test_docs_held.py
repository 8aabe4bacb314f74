"""Pages that state figures or files say what the code does."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from types import ModuleType

import pytest
from benchmark_scripts import benchmark_script
from doc_examples import run_examples
from small import dataset, files, net, small_recipe

import onecycle
from onecycle.files import read_csv

ROOT = Path(__file__).parents[1]


@pytest.fixture
def on_paper(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """benchmarks/scale_on_paper.py as a module."""
    return benchmark_script("scale_on_paper", monkeypatch)


def test_how_it_works_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert run_examples("how-it-works.md") > 40


def test_the_pages_of_scale_are_up_to_date(on_paper: ModuleType) -> None:
    known = on_paper.counted()
    assert on_paper.PAGE.read_text(encoding="utf-8") == on_paper.page(known), "run python benchmarks/scale_on_paper.py"
    rows = [{key: str(value) for key, value in row.items()} for row in on_paper.table(known)]
    assert read_csv(on_paper.CSV) == rows


def test_the_model_of_scale(on_paper: ModuleType) -> None:
    paper = sys.modules["measuring.paper"]
    fast, slow = (paper.Cluster(paper.Network("", bandwidth)) for bandwidth in (160e9, 10e9))
    net = paper.Net(flop=2e9, gradient_bytes=26e6, hidden=0.4, last=0.1)
    task = paper.Task("", 50_000, 3072, net, epochs=24, batch=512, critical=2000)
    assert fast.all_reduce(1, 26e6) == 0
    assert fast.all_reduce(8, 26e6) == pytest.approx(2 * 7 / 8 * 26e6 / 230e9 + 14 * 3.4e-6)  # a ring, by hand
    assert slow.all_reduce(512, 26e6) == pytest.approx(2 * 511 / 512 * 26e6 / 10e9 + 2 * (7 + 6) * 28e-6)  # trees
    assert task.epochs_at(512) == 24 and task.epochs_at(2000) == pytest.approx(24 * 2 / 1.256)
    one = paper.Plan(task, fast, 1, 512)
    assert one.step == pytest.approx(512 * 2e9 / (312e12 * 0.35)) and one.exposed == one.reading == 0
    assert one.seconds == pytest.approx(30 + 24 * 50_000 / 512 * one.step)
    assert paper.Plan(task, fast, 64, 512).step >= 2e-3  # the host's calls
    plans = [paper.best(task, fast, gpus) for gpus in (1, 8, 64, 512)]
    assert all(plan.seconds <= other.seconds * 1.05 for other, plan in itertools.pairwise(plans))
    assert paper.efficiency(plans[0]) == 1 and paper.efficiency_of_epochs(plans[0]) == 1
    assert paper.pays_until(task, fast, paper.efficiency) < paper.pays_until(task, fast, paper.efficiency_of_epochs)
    larger = paper.Task("", 100_000_000, 12_288, net, epochs=3, batch=1024, critical=50_000)
    assert paper.Plan(larger, fast, 8, 1024).reading == pytest.approx(128 * 12_288 / (3e9 / 8))  # it fits no GPU


def test_the_page_of_the_run_folder_has_every_file(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "reference" / "run-folder.md").read_text(encoding="utf-8")
    recipe = small_recipe(**{"data.val_fraction": 0.1, "tta": "flip"})
    run = onecycle.train(recipe, model=net(), data=dataset(), out=tmp_path / "run", observer=onecycle.Observer())
    named = files(run.path) - {".lock"}
    assert len(named) > 8
    assert [name for name in named if f"`{name}`" not in page and not name.startswith("checkpoints/step-")] == []
    assert "`checkpoints/step-*.safetensors`" in page
    for columns in (run.metrics()[0], run.steps()[0], run.summary, run.summary["test"]):
        assert [key for key in columns if f"`{key}`" not in page] == []
