"""What can go wrong, by whose side it is: the exit codes of the command line follow from these classes."""

from __future__ import annotations

import difflib
import signal
from collections.abc import Iterable, Sequence
from typing import Any


class OnecycleError(Exception):
    """Base of every error that onecycle raises on purpose. `exit_code` is what the command line returns."""

    exit_code = 1


class UserError(OnecycleError, ValueError):
    """Something on the user's or the machine's side: what, where, what would be right. One line a problem."""

    exit_code = 2

    def __init__(self, *problems: str) -> None:
        self.problems = tuple(map(one_line, problems))
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type[UserError], tuple[str, ...]]:
        return type(self), self.problems  # so that each stays a line of its own, from another process too


class RatesRefused(UserError):
    """A range test shows no rates, or none that the recipe can take."""


class TrainingFailed(OnecycleError, RuntimeError):
    """The training itself went wrong: a loss or weights that are no longer finite."""

    exit_code = 3


class Stopped(OnecycleError):
    """A signal asked the training to stop; its state is saved."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal.Signals(signal_number)
        self.exit_code = 128 + signal_number

    def __reduce__(self) -> tuple[type[Stopped], tuple[str, int]]:
        return type(self), (str(self), int(self.signal_number))


def lacks_memory(error: BaseException) -> bool:
    """Whether an error says that there was not enough memory, of the machine's or of a GPU's."""
    return isinstance(error, MemoryError) or "allocate memory" in str(error) or "out of memory" in str(error)


def one_line(text: str, most: int = 1500) -> str:
    """The text in a line of its own: breaks become spaces, what a terminal would obey or cannot show is escaped.

    Of more than `most` characters the middle is left out.
    """
    joined = " ".join(text.splitlines())
    if len(joined) > most:
        joined = f"{joined[: most // 2]} ... {joined[-most // 2 :]}"
    return joined if joined.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in joined)


def shown(value: object, most: int = 60) -> str:
    """A value in a message, of at most so many characters."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python will print
        text = "that number"
    return text if len(text) < most else text[: most - 3] + "..."


def listed(names: Sequence[Any], most: int) -> str:
    """The first `most` names, and how many there are in all where that is more."""
    shown_names = ", ".join(map(str, names[:most]))
    return shown_names if len(names) <= most else f"{shown_names}, ... ({len(names):,} in all)"


def suggestion(value: object, allowed: Iterable[str]) -> str:
    """The clause that ends an error on a wrong name: the nearest allowed name, or all of them where none is near."""
    names = list(allowed)
    text = value if isinstance(value, str) else shown(value)
    near = difflib.get_close_matches(text, names, n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"allowed: {', '.join(names)}" if names else "none is allowed here"
