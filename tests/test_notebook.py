"""The quickstart notebook runs, on a small CIFAR-10 of made-up images, and is stored as it should be."""

from __future__ import annotations

import base64
import importlib.util
import os
from pathlib import Path
from types import ModuleType

import nbformat
import numpy as np
import pytest
from cifar_files import BATCHES, FOLDER, batch_bytes, meta_bytes
from nbformat import NotebookNode

from onecycle import recipe

SCRIPT = Path(__file__).parents[1] / "notebooks" / "execute.py"


@pytest.fixture(scope="module")
def execute() -> ModuleType:
    specification = importlib.util.spec_from_file_location("execute", SCRIPT)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def write_learnable_cifar10(folder: Path, images_per_file: int) -> None:
    """Noise with a bright stripe that tells the class."""
    random = np.random.default_rng(0)
    (folder / FOLDER).mkdir(parents=True)
    (folder / FOLDER / "batches.meta").write_bytes(meta_bytes())
    for name in BATCHES:
        labels = [number % 10 for number in range(images_per_file)]
        pixels = random.integers(0, 120, (images_per_file, 3, 32, 32), np.uint8)
        for number, label in enumerate(labels):
            pixels[number, :, 3 * label : 3 * label + 3] += 130
        (folder / FOLDER / name).write_bytes(batch_bytes(pixels.reshape(images_per_file, -1), labels))


def test_the_notebook_runs(execute: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_learnable_cifar10(tmp_path, images_per_file=20)
    monkeypatch.setenv("ONECYCLE_DATA", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SCRIPT.parents[1] / "src")]))
    net = {"model": {"name": "compact"}, "data.batch_size": 20, "augment.crop_padding": 2, "precision": "fp32"}
    (tmp_path / "small.yaml").write_text(recipe("custom_resnet", **net).to_yaml())
    settings = {
        "RECIPE": "'small.yaml'",
        "EPOCHS": "2",
        "PEAK_EPOCH": "1",
        "TRAIN_LIMIT": "80",
        "FIND": "{'sweeps': 1, 'steps': 20}",
    }
    notebook = execute.execute(settings, tmp_path)
    assert "TRAIN_LIMIT = 80  # train on" in notebook.cells[1].source
    assert_whole(notebook)
    (table,) = [cell for cell in notebook.cells if cell.source.startswith("run = onecycle.train")]
    assert len(table.outputs[0]["data"]["text/plain"].splitlines()) == 7  # title, header, two epochs, three of advice
    assert (next((tmp_path / "runs").iterdir()) / "summary.json").exists()


def test_settings_that_are_none(execute: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="EPOCH is no setting"):
        execute.execute({"EPOCH": "1"}, tmp_path)
    with pytest.raises(SyntaxError):
        execute.execute({"EPOCHS": "1 +"}, tmp_path)


def test_the_stored_notebook_has_its_outputs_and_is_small(execute: ModuleType) -> None:
    assert execute.NOTEBOOK.stat().st_size < 1.5e6
    assert_whole(nbformat.read(execute.NOTEBOOK, as_version=4))


def assert_whole(notebook: NotebookNode) -> None:
    """Every cell ran in order; each has at most a table and a picture; nothing is left of bars and warnings."""
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    pictures = 0
    for cell in cells:
        assert len(cell.outputs) <= 2, cell.source
        for output in cell.outputs:
            assert output.output_type in ("display_data", "execute_result") or output.get("name") == "stdout", output
            shown = output.get("data", {})
            assert "<progress" not in shown.get("text/html", "")
            if "image/png" in shown:
                pictures += 1
                assert base64.b64decode(shown["image/png"]).startswith(b"\x89PNG")
                assert output.metadata["image/png"]["width"] <= 1300
    assert pictures == 9
