"""Lightning that is missing, and what stands in its way."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from onecycle import UserError
from onecycle.launch import importing


@pytest.fixture
def fresh_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if onecycle.launch.lightning had not been imported yet."""
    for name in [name for name in sys.modules if name.startswith("onecycle.launch.lightning")]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.usefixtures("fresh_import")
def test_a_missing_lightning_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("lightning", "lightning.pytorch"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError) as told:
        importlib.import_module("onecycle.launch.lightning")
    assert told.value.problems == ("onecycle.launch.lightning needs the extra: pip install 'onecycle[lightning]'",)


def test_a_broken_torchvision_is_named(tmp_path: Path) -> None:
    """In a process of its own: torchmetrics imports torchvision when it is itself imported for the first time."""
    broken_torchvision(tmp_path)
    code = """
import onecycle
try:
    import onecycle.launch.lightning
except onecycle.UserError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.count("\n") == 1
    assert "torchvision is broken (RuntimeError: operator torchvision::nms does not exist)" in done.stdout
    assert (
        f"pip uninstall torchvision, or install the one made for torch {torch.__version__.split('+')[0]}" in done.stdout
    )


def test_what_else_may_be_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    other = importing.explanation(ImportError("libfoo.so\nis missing"), "lightning")
    assert "lightning is installed but cannot be imported (ImportError: libfoo.so is missing)" in other
    description = tmp_path / "torchvision-0.1.0.dist-info" / "METADATA"  # what is left of it where files were removed
    description.parent.mkdir()
    description.write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.1.0\n")
    left = importing.explanation(ModuleNotFoundError("No module named 'torchvision'", name="torchvision"), "lightning")
    assert "torchvision is broken" in left


def broken_torchvision(folder: Path) -> None:
    """One that fails as it does beside another torch, https://github.com/Lightning-AI/torchmetrics/issues/3098."""
    (folder / "torchvision").mkdir()
    (folder / "torchvision" / "__init__.py").write_text(
        'raise RuntimeError("operator torchvision::nms does not exist")'
    )
