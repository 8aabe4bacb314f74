"""Progress as a notebook shows it."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
from progress_samples import AT, NAME, ODD, ROW

from onecycle import Run, TerminalObserver, recipe
from onecycle.progress import (
    NotebookObserver,
    default_observer,
    download_progress,
    notebook,
)


class Display:
    """What IPython's display does to the output of a cell."""

    def __init__(self) -> None:
        self.outputs: list[Any] = []
        self.drawn = 0

    def display(self, shown: Any, *, display_id: bool) -> Any:
        assert display_id
        self.outputs.append(shown)
        self.drawn += 1
        place = len(self.outputs) - 1

        def update(later: Any) -> None:
            self.drawn += 1
            self.outputs[place] = later

        return types.SimpleNamespace(update=update)


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Display:
    """A notebook's cell: IPython with a kernel's shell, of which Colab's is a subclass."""
    shell = type("Shell", (type("ZMQInteractiveShell", (), {}),), {})()
    shown = Display()
    ipython, display = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    vars(ipython)["get_ipython"] = lambda: shell
    vars(display)["display"] = shown.display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setattr(notebook, "SECONDS_APART", 0.0)
    return shown


def test_the_observer_is_that_of_the_place(cell: Display, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(default_observer(), NotebookObserver)
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: type("TerminalInteractiveShell", (), {})())
    assert isinstance(default_observer(), TerminalObserver)
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: None)
    assert isinstance(default_observer(), TerminalObserver)
    monkeypatch.delitem(sys.modules, "IPython")
    assert isinstance(default_observer(), TerminalObserver)
    assert "IPython" not in sys.modules


def test_a_training_is_one_output_of_a_cell(cell: Display, capsys: pytest.CaptureFixture[str]) -> None:
    observer = NotebookObserver()
    observer.on_start(recipe("digits").evolve(name=NAME, precision="fp32"), Run(Path(ODD)), "the <CPU>", 0)
    observer.on_progress(AT)
    (during,) = cell.outputs
    assert '<progress value="1200" max="2352"' in during._repr_html_()
    assert "epoch 13/24  loss 1.2346  acc 45.67%" in repr(during)
    observer.on_epoch(ROW, 754.0)
    observer.on_message("a <b> & c")
    observer.on_end()
    (after,) = cell.outputs
    assert "<progress" not in after._repr_html_()
    assert after._repr_html_().count("<tr>") == 2
    assert "<td>50.00%</td><td>-</td>" in after._repr_html_()
    assert "a &lt;b&gt; &amp; c" in after._repr_html_()
    assert "the &lt;CPU&gt;, into x[/b] y[red]z" in after._repr_html_()
    title, header, row, message = repr(after).splitlines()
    assert title == f"{NAME} on digits, seed 0: float32 on the <CPU>, into {ODD}"
    assert header.split()[:2] == ["epoch", "lr"] and "left" not in header
    assert row.split() == ["13", "1.00e-01", "1.2000", "50.00%", "-", "-", "12,345", "1:01"]
    assert message == "a <b> & c"
    assert capsys.readouterr() == ("", "")
    observer.on_start(recipe("digits").evolve(precision="fp32"), Run(Path("b")), "the CPU", 40)
    observer.on_end()
    assert len(cell.outputs) == 2
    assert repr(cell.outputs[1]) == "digits on digits, seed 0: float32 on the CPU, into b, going on after step 40"


def test_a_training_with_a_held_out_part_has_its_columns(cell: Display) -> None:
    observer = NotebookObserver()
    wanted = recipe("digits", **{"data.val_fraction": 0.1}).evolve(precision="fp32")
    observer.on_start(wanted, Run(Path("a")), "the CPU", 0)
    observer.on_epoch({**ROW, "val_loss": 0.5, "val_accuracy": 0.25}, 754.0)
    assert "<th>val loss</th><th>val acc</th>" in cell.outputs[0]._repr_html_()
    assert "<td>0.5000</td><td>25.00%</td>" in cell.outputs[0]._repr_html_()


def test_a_notebook_is_not_flooded(cell: Display, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebook, "SECONDS_APART", 1000.0)
    observer = NotebookObserver()
    observer.on_start(recipe("digits").evolve(precision="fp32"), Run(Path("a")), "the CPU", 0)
    for epoch in range(200):
        observer.on_progress(AT)
        observer.on_epoch({**ROW, "epoch": epoch + 1}, 754.0)
    assert cell.drawn == 1
    observer.on_end()
    assert cell.drawn == 2
    (after,) = cell.outputs
    assert after._repr_html_().count("<tr>") == 61
    assert "the first 140 epochs are in metrics.csv" in repr(after)
    assert repr(after).splitlines()[-1].startswith("  200 ")


def test_a_message_before_the_start_is_kept_and_silence_draws_nothing(cell: Display) -> None:
    observer = NotebookObserver()
    observer.on_end()
    assert cell.outputs == []
    observer.on_message("a checkpoint is damaged")
    observer.on_start(recipe("digits").evolve(precision="fp32"), Run(Path("a")), "the CPU", 7)
    observer.on_end()
    (after,) = cell.outputs
    assert repr(after).splitlines()[1:] == ["a checkpoint is damaged"]


def test_steps_in_a_notebook_leave_one_line(cell: Display, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), default_observer().progress_of("sweep <1>") as say:
        say(1, 3, "loss 2")
        assert '<progress value="1" max="3"' in cell.outputs[0]._repr_html_()
        assert "sweep &lt;1&gt;: 1/3 &nbsp;loss 2" in cell.outputs[0]._repr_html_()
        raise KeyboardInterrupt
    (after,) = cell.outputs
    assert repr(after) == "sweep <1>: 1/3  loss 2, broken off after 0 s"
    assert "<progress" not in after._repr_html_()
    with download_progress("cifar") as report:
        report(1_000_000, None)
        assert "<progress style" in cell.outputs[1]._repr_html_()
        report(2_000_000, 2_000_000)
    assert repr(cell.outputs[1]) == "cifar: done in 0 s"
    with default_observer().progress_of("nothing"):
        pass
    assert len(cell.outputs) == 2
    assert capsys.readouterr() == ("", "")
