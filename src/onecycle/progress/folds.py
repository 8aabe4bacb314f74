"""A cross-validation on stdout."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from ..cross_validation import CrossValidation, in_words
from ..evaluation import percent
from .console import Console
from .evaluation import print_evaluation


def print_folds(found: CrossValidation) -> None:
    """The folds as a table, mean, spread and interval in words, then all images together, each predicted once."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("fold", no_wrap=True)
    for heading in ("images held out", "accuracy", "on the test set"):
        table.add_column(heading, justify="right")
    for one in found.by_fold:
        table.add_row(f"fold{one.fold}", f"{one.images:,}", percent(one.accuracy, 2), percent(one.test_accuracy, 2))
    console = Console()
    console.print(table)
    console.print()
    held_out, tested, caution = in_words(found)
    console.print(Text(held_out, "bold"), soft_wrap=True)
    console.print(tested, soft_wrap=True)
    console.print(Text(caution, "dim"), soft_wrap=True)
    console.print()
    print_evaluation(f"{found.path}: all folds together", found.evaluation, "training images, each out of fold,")
    where = f"each fold is a run, such as {found.path}/fold1; logits of all: {found.path}/out_of_fold.npz"
    console.print(where, soft_wrap=True)
    console.print(f"labels that are likely wrong: onecycle explain {found.path}", soft_wrap=True)
