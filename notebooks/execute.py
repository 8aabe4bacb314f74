"""Executes the quickstart notebook and stores it with its outputs.

    python notebooks/execute.py                                   as its second cell says
    python notebooks/execute.py EPOCHS=8 TRAIN_LIMIT=10_000       with other settings, which are stored too

It runs in notebooks/, where it leaves its run in runs/. CIFAR-10 is looked for as the notebook says.
"""

from __future__ import annotations

import argparse
import ast
import base64
import io
import re
import time
from collections.abc import Mapping
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

NOTEBOOK = Path(__file__).parent / "quickstart.ipynb"
SETTINGS = 1  # the place of the cell with the settings


def execute(settings: Mapping[str, str], folder: Path) -> NotebookNode:
    """The notebook, executed in `folder` with these settings; the values are Python expressions.

    Raises ValueError where there is no such setting or its value is none, CellExecutionError where a cell fails.
    """
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cell = notebook.cells[SETTINGS]
    for name, value in settings.items():
        ast.parse(value, mode="eval")
        setting = re.compile(rf"^{re.escape(name)} = .*?(?=  #|$)", re.MULTILINE)
        if not setting.search(cell.source):
            raise ValueError(f"{name} is no setting of {NOTEBOOK.name}; its second cell has:\n{cell.source}")
        cell.source = setting.sub(lambda _, line=f"{name} = {value}": line, cell.source, count=1)  # type: ignore[misc]
    client = NotebookClient(notebook, timeout=None, record_timing=False, resources={"metadata": {"path": str(folder)}})
    executed: NotebookNode = client.execute()
    executed.metadata["language_info"] = {"name": "python"}  # not the patch version of this machine
    return executed


def shrink(notebook: NotebookNode) -> None:
    """Store the pictures with 256 colours each, a third of the size; hardly to be seen."""
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        picture = output.get("data", {}).get("image/png")
        if picture:
            smaller = io.BytesIO()
            image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
            image.quantize(256).save(smaller, format="png", optimize=True)
            output["data"]["image/png"] = base64.b64encode(smaller.getvalue()).decode()


def main() -> None:
    """Execute with the settings of the command line and store the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", metavar="NAME=VALUE")
    parser.add_argument("--out", type=Path, default=NOTEBOOK, help="where to store it; by default in its place")
    asked = parser.parse_args()
    pairs = [pair.partition("=") for pair in asked.settings]
    started = time.monotonic()
    try:
        notebook = execute({name: value for name, _, value in pairs}, NOTEBOOK.parent)
    except (ValueError, SyntaxError) as error:
        parser.error(str(error))
    shrink(notebook)
    nbformat.write(notebook, asked.out)
    size = asked.out.stat().st_size
    print(f"{asked.out}: executed in {time.monotonic() - started:,.0f} s, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
