"""An evaluation as the terminal shows it."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from rich.cells import cell_len

from onecycle.evaluation import Evaluation, evaluate
from onecycle.progress import print_evaluation, print_explanation

ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
Show = Callable[..., list[str]]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch) -> Show:
    """Prints an evaluation into a pipe or onto a terminal of so many columns; what then stands on its lines."""

    def shown(found: Evaluation, label: str = "runs/demo", width: int = 80, terminal: bool = False) -> list[str]:
        for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setenv("TERM", "xterm-256color")
        out = Terminal() if terminal else io.StringIO()
        monkeypatch.setattr(sys, "stdout", out)
        print_evaluation(label, found)
        text = out.getvalue()
        assert terminal or "\x1b" not in text
        return [line.rstrip() for line in ESCAPES.sub("", text).splitlines()]

    return shown


def of_answers(labels: Sequence[int], answers: Sequence[int], classes: Sequence[str], sure: float = 9.0) -> Evaluation:
    """Logits that are `sure` for the answer and 0 for the other classes."""
    logits = sure * np.eye(len(classes), dtype=np.float32)[list(answers)]
    return evaluate(logits, np.array(labels), classes)


PETS = ("cat", "dog", "frog")
LABELS = [0] * 10 + [1] * 10 + [2] * 20
ANSWERS = [0] * 7 + [1] * 3 + [1] * 10 + [2] * 18 + [0] * 2


def test_all_of_it_in_a_pipe_of_eighty_columns(show: Show) -> None:
    # Confidence is exp(9) / (exp(9) + 2) = 0.99975, and 87.5% are right; top-2 takes the first of the other classes,
    # which is right but for the three cats taken for dogs: of cat and frog it is cat. The intervals are scipy's.
    assert show(of_answers(LABELS, ANSWERS, PETS)) == [
        "runs/demo",
        "87.50% of 40 test images right (95% interval 73.89 to 94.54)",
        "5 wrong, loss 1.1252, top-2 95.00%",
        "",
        "classes, worst first (recall = accuracy of a class)",
        "class                images  precision  recall   95% interval     F1",
        "cat                      10      77.8%   70.0%   39.7 to 89.2  73.7%",
        "frog                     20     100.0%   90.0%   69.9 to 97.2  94.7%",
        "dog                      10      76.9%  100.0%  72.2 to 100.0  87.0%",
        "mean of the classes              84.9%   86.7%                 85.1%",
        "",
        "most confused",
        "cat taken for dog in 3 of 10 images (30.0%)",
        "frog taken for cat in 2 of 20 images (10.0%)",
        "",
        "calibration: ECE 12.5%, on average 12.5 points too sure",
    ]


def test_a_wide_terminal_shows_the_errors_as_lines_and_a_narrow_one_no_intervals(show: Show) -> None:
    found = of_answers(LABELS, ANSWERS, PETS)
    wide = show(found, width=120, terminal=True)
    lines = {line.split()[0]: line.count("━") + line.count("╸") / 2 for line in wide if line.endswith(("━", "╸", "%"))}
    assert lines["cat"] == 20  # the worst: 3 of 10
    assert lines["frog"] == 6.5  # a third of that, in halves
    assert lines["dog"] == 0
    assert any(line.endswith("F1  wrong") for line in wide)
    assert not any("wrong" in line for line in show(found, width=120)[3:])  # a pipe
    narrow = show(found, width=60, terminal=True)
    assert "class                images  precision  recall     F1" in narrow
    assert max(map(len, narrow[3:])) <= 60


@pytest.mark.parametrize("width", [80, 120])
def test_when_all_is_right_nothing_is_confused(show: Show, width: int) -> None:
    lines = show(of_answers([0, 1, 1], [0, 1, 1], ["a", "b"], sure=100.0), width=width, terminal=True)
    assert lines[1:3] == ["100.00% of 3 test images right (95% interval 43.85 to 100.00)", "0 wrong, loss 0.0000"]
    assert "most confused: nothing, every image is right" in lines
    assert lines[-1] == "calibration: ECE 0.0%, on average as sure as right"


def test_a_net_that_is_righter_than_it_says_is_too_unsure(show: Show) -> None:
    lines = show(of_answers([0, 1], [0, 1], ["a", "b"], sure=float(np.log(3))))  # 75% sure
    assert lines[-1] == "calibration: ECE 25.0%, on average 25.0 points too unsure"


def test_when_all_is_wrong_every_class_is_as_bad(show: Show) -> None:
    lines = show(of_answers([0, 1], [1, 0], ["a", "b"]), width=120, terminal=True)
    assert lines[1].startswith("0.00% of 2 test images right (95% interval 0.00 to ")
    assert sum(line.count("━") for line in lines) == 40


def test_a_class_without_images_comes_last_and_has_no_recall(show: Show) -> None:
    lines = show(of_answers([1, 1, 2], [1, 0, 2], ["none", "b", "c"]))
    assert [line.split() for line in lines[6:10]] == [
        ["b", "2", "100.0%", "50.0%", *["9.5", "to", "90.5"], "66.7%"],
        ["c", "1", "100.0%", "100.0%", *["20.7", "to", "100.0"], "100.0%"],
        ["none", "0", "0.0%", "-", "-", "0.0%"],
        ["mean", "of", "the", "classes", "100.0%", "75.0%", "83.3%"],
    ]


def test_of_many_classes_the_worst_and_the_best_are_shown(show: Show) -> None:
    """Class k of 100 has 100 images, k of them right, and the last class has none."""
    labels = np.repeat(np.arange(100), 100)
    right = np.tile(np.arange(100), 100) < labels
    lines = show(of_answers(labels, np.where(right, labels, (labels + 1) % 100), [f"c{k}" for k in range(101)]))
    assert "classes, 20 worst and 5 best of 100 with images (recall = accuracy of a class)" in lines
    shown = [f"c{k}" for k in range(100)]
    assert [line.split()[0] for line in lines[6:33]] == [*shown[:20], "…", *shown[-5:], "mean"]
    assert [line for line in lines if " taken for " in line] == [
        f"c{k} taken for c{k + 1} in {100 - k} of 100 images ({100 - k:.1f}%)" for k in range(5)
    ]


def test_of_many_classes_those_that_have_images_are_shown_where_they_are_few(show: Show) -> None:
    lines = show(of_answers([7, 900], [7, 901], [f"c{k}" for k in range(1000)]))
    assert "classes, worst first, 2 of 1,000 with images (recall = accuracy of a class)" in lines
    assert [line.split()[0] for line in lines[6:9]] == ["c900", "c7", "mean"]


ODD = ("[bold]x[/] :rocket:", "$x^2$ <b>&\"'", "猫" * 30, "a\x1b[31mb\nc\rd", "very " * 60, "\udcff", "قطة", "")


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("terminal", [False, True])
def test_odd_names_keep_the_table_in_order(show: Show, width: int, terminal: bool) -> None:
    labels = np.tile(np.arange(8), 10)
    answers = np.where(np.arange(80) < 60, labels, 0)
    lines = show(of_answers(labels, answers, ODD), label="runs/[red]x\udcff", width=width, terminal=terminal)
    assert lines[0] == "runs/[red]x\N{REPLACEMENT CHARACTER}"
    rows = lines[5:15]
    assert rows[-1].startswith("mean of the classes")
    ends = {cell_len(row[: row.index("%") + 1]) for row in rows[1:]}
    assert len(ends) == 1  # the column of precisions
    assert all(cell_len(row) <= width for row in rows)
    text = "\n".join(lines)
    for name in ("[bold]x[/] :rocket:", "$x^2$ <b>&\"'", "a�[31mb�c�d", "قطة"):
        assert f"{name} " in text
    assert re.search(r"^very (very )*v?e?r?y?…  ", text, re.MULTILINE)
    text.encode()  # no surrogate is left


@pytest.mark.parametrize("width", [80, 200])
def test_files_are_named_in_full(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that they can be found: two of one folder may have long names that differ at their end alone."""
    monkeypatch.setenv("COLUMNS", str(width))
    files = [f"american_staffordshire_terrier/n02093428_{'0' * number}{number}.jpeg" for number in (12, 30)]
    shares = {"true_probability": 0.1, "predicted_probability": 0.9}
    rows = [{"index": 0, "file": file, "true": "a", "predicted": "b", **shares} for file in files]
    counts = {"mistakes": rows, "chosen": 2, "wrong": 2, "images": 10, "label_errors": []}
    print_explanation({**counts, "folder": None, "why_no_images": "none"}, [])
    said = capsys.readouterr().out
    cells = "".join(line.split("  ")[0].strip() for line in said.splitlines())
    assert all(file in cells for file in files)
