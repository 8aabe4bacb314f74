"""Cases that may crash, hang or take all memory, one after the other in a process of their own.

    python -m torture.worker MODULE:FUNCTION FOLDER SEED FIRST END

The function takes (folder, seed, number) and returns what did not hold, or None. A line of JSON a case goes to stdout.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LONGEST_SECONDS = 20  # of processor time: a case that takes more is ended by the system
_EXTRA_BYTES = 3 * 2**30  # of address space; beyond it allocations fail


@dataclass
class Case:
    """What came of one."""

    number: int
    failure: str | None
    seconds: float  # of processor time
    megabytes: float  # by which resident memory grew at most


def cases(function: str, folder: Path, seed: int, end: int) -> Iterator[Case]:
    """Cases 0 to `end`; one that ends the process is a failure, and the next process goes on behind it."""
    begin = 0
    while begin < end:
        said = folder / f"said-{function.partition(':')[2]}"
        command = [sys.executable, "-m", "torture.worker", function, str(folder), str(seed), str(begin), str(end)]
        one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
        paths = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)])
        environment = {**os.environ, **one_thread, "PYTHONPATH": paths}
        with (
            said.open("w") as errors,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment) as process,
        ):
            assert process.stdout is not None
            for line in process.stdout:
                begin = json.loads(line)["number"] + 1
                yield Case(**json.loads(line))
        if begin < end:
            how = f"ended the process with {process.returncode}: {said.read_text(errors='replace')[-300:]}"
            yield Case(begin, how, LONGEST_SECONDS, 0)
            begin += 1


def main() -> None:
    """The process."""
    name, folder, seed, begin, end = sys.argv[1:]
    module, _, function = name.partition(":")
    judge = getattr(importlib.import_module(module), function)
    out = os.fdopen(os.dup(1), "w")
    for descriptor in (1, 2):  # what is said by whomever, C libraries too, is found in one file
        os.dup2(os.open(Path(folder) / f"printed-{function}", os.O_RDWR | os.O_CREAT | os.O_APPEND), descriptor)
    os.ftruncate(2, 0)
    warnings.simplefilter("always")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + _EXTRA_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for number in range(int(begin), int(end)):
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before, began = _peak_megabytes(), time.process_time()
        signal.setitimer(signal.ITIMER_PROF, LONGEST_SECONDS)
        try:
            failure = judge(Path(folder), int(seed), number)
        except BaseException as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            failure = f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}: {str(error)[:200]}"
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.flush()
        sys.stderr.flush()
        if printed := os.pread(2, 300, 0):
            failure = failure or f"printed: {printed.decode(errors='replace')}"
            os.ftruncate(2, 0)
        seconds, grown = time.process_time() - began, _peak_megabytes() - before
        print(json.dumps(vars(Case(number, failure, seconds, grown))), file=out, flush=True)


def _peak_megabytes() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
