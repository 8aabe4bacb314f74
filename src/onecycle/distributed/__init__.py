"""Several processes that train one net: who this process is, and what all of them do together.

Each process has a rank, from 0 on. `World` is a single process: its collectives do nothing, so that callers need no
special case. `joined` gives the world of the processes that torchrun has started.
"""

from .ending import first_to_end
from .joining import TIMEOUT_S, joined, process_lost_error
from .world import Requests, World

__all__ = ["TIMEOUT_S", "Requests", "World", "first_to_end", "joined", "process_lost_error"]
