"""No network but where it is asked for: every command with sockets forbidden, one tally a command.

`data fetch` alone may open one. A command that is new is a loss until it is in `COMMANDS` or in `MAY_CONNECT`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import click
from typer.main import get_command

from onecycle.cli import app
from torture.tally import Tally

MAY_CONNECT = {"data fetch", "serve"}
_SMALL = (
    *("model.name=tiny", "data.train_limit=60", "data.batch_size=30", "schedule.peak_epoch=1"),
    *("schedule.lr_min=0.001", "schedule.lr_max=0.02"),
)
_TINY = [f"--set={one}" for one in (*_SMALL, "schedule.epochs=2")]
_LONG = [f"--set={one}" for one in (*_SMALL, "schedule.epochs=12")]
_LIGHTNING = """
from pathlib import Path
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger
from onecycle import recipe
from onecycle.launch.lightning import ImageDataModule, LitClassifier
changes = {"data.train_limit": 60, "data.batch_size": 30, "schedule.peak_epoch": 1, "schedule.epochs": 2}
changes |= {"model.name": "tiny", "schedule.lr_min": 0.001, "schedule.lr_max": 0.02}
tiny = recipe("digits", **changes)
trainer = Trainer(accelerator="cpu", max_epochs=2, logger=CSVLogger("lightning"), default_root_dir="lightning")
trainer.fit(LitClassifier(tiny), datamodule=ImageDataModule(tiny))
"""
# Longer than onnxruntime keeps its telemetry back.
_ONNX = """
import time
from pathlib import Path
import numpy as np
from onecycle.exporting.onnx_file import open_onnx
net = open_onnx(Path("one/export/model.onnx"))
net(np.zeros((1, 32, 32, 3), np.uint8))
time.sleep(25)
"""
# Opened as a person would, from the disk; what the page asks for would be a request.
_BROWSER = """
from pathlib import Path
from chromium import EXECUTABLE
from playwright.sync_api import sync_playwright
asked = []
with sync_playwright() as started:
    browser = started.chromium.launch(executable_path=EXECUTABLE, args=["--no-sandbox", "--disable-gpu"])
    tab = browser.new_page()
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(Path("one/report.html").absolute().as_uri(), wait_until="networkidle")
    browser.close()
asked = [one for one in asked if not one.startswith(("file:", "data:"))]
assert not asked, asked
"""

_SPACE = """
from pathlib import Path
Path("space.yaml").write_text("schedule.lr_max: [0.01, 0.02]")
"""


@dataclass(frozen=True)
class Command:
    """Arguments of `onecycle`, or ["python", CODE], run in a folder where those before have left their runs."""

    name: str
    argv: list[str]
    interrupt_at: str | None = None  # the file that, once there, brings a SIGINT
    code: int = 0


COMMANDS = [
    Command("--help", ["--help"]),
    Command("recipes", ["recipes"]),
    Command("recipes show", ["recipes", "show", "custom_resnet"]),
    Command("models summary", ["models", "summary", "custom_resnet"]),
    Command("data info", ["data", "info", "digits"]),
    Command("data info, data missing", ["data", "info", "cifar10", "--data-dir", "nowhere"], code=2),
    Command("data preview", ["data", "preview", "digits", "--out", "preview.png"]),
    Command("find-lr", ["find-lr", "digits", *_TINY, "--sweeps", "1", "--steps", "20", "--out", "found"]),
    Command("train", ["train", "digits", *_TINY, "--out", "one"]),
    Command("train, stopped", ["train", "digits", *_LONG, "--out", "stopped"], "stopped/steps.csv", 130),
    Command("train --resume", ["train", "--resume", "stopped"]),
    Command("train --tensorboard", ["train", "digits", *_TINY, "--seed", "1", "--tensorboard", "--out", "two"]),
    Command("evaluate", ["evaluate", "one"]),
    Command("explain", ["explain", "one", "--count", "4"]),
    Command("report", ["report", "one"]),
    Command("predict", ["predict", "one", "preview.png"]),
    Command("export --format onnx", ["export", "one"]),
    Command("export --format pt2", ["export", "one", "--format", "pt2"]),
    Command("exported ONNX in use", ["python", _ONNX]),
    Command("space of the search", ["python", _SPACE]),
    Command("trials", ["trials", "digits", *_TINY, "--seeds", "2", "--out", "seeds"]),
    Command("search", ["search", "digits", "--space", "space.yaml", *_TINY, "--trials", "2", "--out", "found_best"]),
    Command("serve, no run", ["serve", "nowhere"], code=2),
    Command("compare", ["compare", "one", "two", "--out", "comparison.html"]),
    Command("Lightning", ["python", _LIGHTNING]),
]
_NEEDS = {  # extras
    "export --format onnx": "onnxscript",
    "exported ONNX in use": "onnxscript",
    "search": "optuna",
    "train --tensorboard": "tensorboard",
    "Lightning": "lightning",
}


def attacks(folder: Path, seed: int, share: float) -> Iterator[Tally]:
    """The attacks of this part; see the package. The whole is the least that there is: `share` changes nothing.

    Each command has a process of its own, so that its imports are watched too.
    """
    yield every_command_is_here()
    for command in commands():
        yield from run([command], folder)
    yield _browser(folder)


def commands() -> list[Command]:
    """Those for which everything is installed."""
    return [one for one in COMMANDS if one.name not in _NEEDS or find_spec(_NEEDS[one.name])]


def run(commands: list[Command], folder: Path) -> list[Tally]:
    """Run commands one after the other in one process, in `folder`; a tally each."""
    asked, results = folder / "commands.json", folder / "results.jsonl"
    asked.write_text(json.dumps([asdict(one) for one in commands]))
    results.write_text("")
    process = subprocess.run(
        [sys.executable, "-m", "torture.no_network", str(asked), str(results)],
        cwd=folder,
        env=_environment(folder),
        capture_output=True,
        text=True,
        timeout=600,
    )
    found = {one["name"]: one for one in map(json.loads, results.read_text().splitlines())}
    tallies = []
    for command in commands:
        result, tally = found.get(command.name), Tally(command.name)
        if result is None:
            tally.add(f"the process ended with {process.returncode}: {process.stderr[-600:]}")
        elif result["events"]:
            tally.add(f"it tried {result['events'][:3]}")
        else:
            tally.add(None if result["code"] == command.code else f"it ended with {result['code']}: {result['said']}")
        tallies.append(tally)
    return tallies


def every_command_is_here() -> Tally:
    """Whether each command of the command line is tried, or may open sockets."""
    tally, tried = Tally("commands that are tried"), {" ".join(one.argv[:2]) for one in COMMANDS}
    for name in _names(get_command(app)):
        here = name in MAY_CONNECT or any(one == name or one.startswith(f"{name} ") for one in tried)
        tally.add(None if here else f"onecycle {name} is not tried")
    return tally


def _names(group: click.Command, before: str = "") -> Iterator[str]:
    for name, command in getattr(group, "commands", {}).items():
        full = f"{before} {name}".strip()
        if getattr(command, "commands", None):
            yield from _names(command, full)
        else:
            yield full


def _browser(folder: Path) -> Tally:
    """The page of the run "one", opened in Chromium, which may make sockets but no request."""
    from chromium import EXECUTABLE

    tally = Tally("report, opened in Chromium")
    if EXECUTABLE is None or find_spec("playwright") is None:
        tally.figure = "no Chromium, or no playwright"
        return tally
    process = subprocess.run(
        [sys.executable, "-c", _BROWSER],
        cwd=folder,
        env=_environment(folder),
        capture_output=True,
        text=True,
        timeout=300,
    )
    tally.add(None if process.returncode == 0 else process.stderr[-600:])
    return tally


def _environment(folder: Path) -> dict[str, str]:
    """A home of its own, so that no cache stands in for a download, and no setting of the user's for a default."""
    kept = {name: os.environ[name] for name in ("PATH", "OMP_NUM_THREADS", "LD_LIBRARY_PATH") if name in os.environ}
    tests = str(Path(__file__).parents[1])
    return {**kept, "HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache"), "PYTHONPATH": tests}
