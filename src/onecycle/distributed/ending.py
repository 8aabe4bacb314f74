"""Of several processes that end with an error, one says why."""

from __future__ import annotations

import datetime
import os
import time

from torch._C._distributed_c10d import TCPStore

from ..torchrun import place, restarts

_FIRST_SECONDS = 1.5  # how long the others wait with what they would say until rank 0 has said it


def first_to_end(code: int) -> int | None:
    """The exit code of the process that says why all of them end; None where it is this one.

    Each leaves a note with torchrun's own store, which outlives the processes; where there is none, each one speaks.
    """
    here = place()
    if here is None or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    key, mine = f"onecycle/ended/{restarts()}", f"{here.rank} {code}"
    try:
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = TCPStore(address, port, is_master=False, timeout=datetime.timedelta(seconds=5))
        begin = time.monotonic()
        while here.rank > 0 and time.monotonic() - begin < _FIRST_SECONDS and not store.check([key]):
            time.sleep(0.05)
        said = store.compare_set(key, "", mine).decode()
    except (RuntimeError, ValueError):
        return None
    return None if said == mine else int(said.split()[1])
