"""What torchrun tells each of the processes that it starts, by environment variables; no torch here."""

from __future__ import annotations

import os
from dataclasses import dataclass

from .errors import UserError

_NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Place:
    """This process among `size` in all, counted from 0: its rank, and the same among those of its own machine."""

    rank: int
    size: int
    local_rank: int
    local_size: int


def place() -> Place | None:
    """This process's place; None where it trains alone: started otherwise, or as the only one.

    Raises UserError where the variables contradict each other.
    """
    if not all(os.environ.get(name) for name in _NEEDED):
        return None
    rank, size = _number("RANK", "0"), _number("WORLD_SIZE", "1")
    local_rank, local_size = _number("LOCAL_RANK", str(rank)), _number("LOCAL_WORLD_SIZE", str(size))
    if not (0 <= rank < size and 0 <= local_rank < local_size <= size):
        raise UserError(
            f"RANK {rank} of WORLD_SIZE {size}, LOCAL_RANK {local_rank} of LOCAL_WORLD_SIZE {local_size}: no such "
            "process; torchrun sets these variables, or remove them all"
        )
    return Place(rank, size, local_rank, local_size) if size > 1 else None


def is_first() -> bool:
    """Whether this process speaks for all: the one of rank 0, or one that works alone."""
    here = place()
    return here is None or here.rank == 0


def restarts() -> int:
    """How often torchrun has started the processes anew after one of them was lost."""
    return _number("TORCHELASTIC_RESTART_COUNT", "0")


def may_restart() -> bool:
    """Whether torchrun was told, by --max-restarts, to start the processes anew when one is lost."""
    return _number("TORCHELASTIC_MAX_RESTARTS", "0") > 0


def check_alone(what: str) -> None:
    """Raise UserError where torchrun has started several processes for what only one can do."""
    here = place()
    if here is not None:
        raise UserError(f"{what} works in one process, and torchrun started {here.size}; run it without torchrun")


def _number(name: str, default: str) -> int:
    value = os.environ.get(name, default)
    if not value.isdecimal():
        raise UserError(f"the environment variable {name} is {value!r}; torchrun sets it to a whole number")
    return int(value)
