"""A search on the terminal: a line a trial, and at the end the best ones."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from ...progress.console import Console
from .plan import BASE
from .result import BEST, Search, SearchTrial

_SHOWN = 5  # trials in the table at the end


def trial_line(trial: SearchTrial, found: Search) -> str:
    """How a trial ended, in a line: number, accuracy, values, and the best so far."""
    values = "  ".join(f"{name}={value}" for name, value in found.in_words[trial.number].items())
    measured = "" if trial.accuracy is None else f"{trial.accuracy:>6.2%}  "
    epochs = "1 epoch" if trial.epochs == 1 else f"{trial.epochs} epochs"
    how = {"pruned": f"pruned after {epochs}  ", "failed": "failed  "}.get(trial.state, "")
    problem = f": {trial.problem}" if trial.problem else ""
    return f"trial {trial.number}  {measured}{how}{values}{problem}{_best_so_far(trial, found)}"


def print_search(found: Search) -> None:
    """The best trials as a table on stdout, what became of the others, and what to do with the best recipe."""
    console = Console()
    prose = not console.is_terminal  # in a file or a pipe a sentence is one line
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    names = list(found.plan.space.short_names().values())
    for heading in ("trial", "held out", *names):
        table.add_column(heading, justify="right", overflow="fold")
    for one in found.ranked[:_SHOWN]:
        values = found.in_words[one.number]
        style = "bold" if one is found.best_trial else ""
        table.add_row(str(one.number), f"{one.accuracy:.2%}", *(values[name] for name in names), style=style)
    console.print(table)
    counts = {
        state: sum(one.state == state for one in found.trials) for state in ("complete", "pruned", "failed", "running")
    }
    said = {"complete": "to the end", "pruned": "pruned", "failed": "failed", "running": "under way elsewhere"}
    console.print(
        f"{len(found.trials)} trials: " + ", ".join(f"{counts[one]} {said[one]}" for one in said if counts[one])
    )
    console.print(Text(found.caution, "dim"), soft_wrap=prose)
    best = found.path / BEST
    console.print(f"measure it: onecycle trials {best} --seeds 5 --against {found.path / BASE}", soft_wrap=True)
    console.print(f"wrote {best} (trial {found.best_trial.number}), trials.csv, plots/*.png", soft_wrap=True)


def _best_so_far(trial: SearchTrial, found: Search) -> str:
    if not found.ranked:
        return ""
    best = found.best_trial
    if best.number == trial.number:
        return "  the best so far"
    return f"  (best {best.accuracy:.2%}, trial {best.number})"
