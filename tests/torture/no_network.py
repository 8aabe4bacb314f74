"""Runs commands in this process while nothing in it, nor in its children, may open a socket of the internet.

    python -m torture.no_network COMMANDS RESULTS

COMMANDS is a JSON list of {"name", "argv", "interrupt_at"}: arguments of `onecycle`, or ["python", CODE]; where
`interrupt_at` names a file, the process gets SIGINT as soon as that is there. RESULTS becomes a JSON line a command:
{"name", "code", "events", "said"}, the last being the end of its errors. Python's audit events tell what was tried, and
forbid it. What they do not see, such as C++ and other processes, the kernel forbids: it kills whoever makes a socket of
IPv4 or IPv6 (Linux on x86-64 and AArch64), so that the command's line is missing.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import os
import platform
import signal
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any

# https://docs.python.org/3/library/audit_events.html; socket.gethostname asks nobody
_FORBIDDEN = ("socket.", "urllib.", "http.", "ftplib.", "smtplib.", "poplib.", "imaplib.", "nntplib.", "webbrowser.")
_ALLOWED = {"socket.gethostname"}
_INTERNET = (2, 10)  # AF_INET, AF_INET6
_UNIX = 1
_SOCKET_CALL = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}  # AUDIT_ARCH_* and the number of socket(2)
KERNEL_FORBIDS = sys.platform == "linux" and platform.machine() in _SOCKET_CALL
_events: list[str] = []


def main(commands: Path, results: Path) -> None:
    """Run all; see the module."""
    if KERNEL_FORBIDS:
        forbid_by_kernel()
    sys.addaudithook(_forbid)
    from onecycle import registry

    registry.register("model", "tiny", "torture.no_network:tiny")
    with results.open("a") as file:
        for command in json.loads(commands.read_text()):
            _events.clear()
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
                code = _run(command["argv"], command["interrupt_at"])
            result = {"name": command["name"], "code": code, "events": list(_events), "said": said.getvalue()[-600:]}
            file.write(json.dumps(result) + "\n")
            file.flush()


def tiny(num_classes: int) -> Any:
    """A net that the commands can name: no time is spent on training."""
    from torch import nn

    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, stride=4), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, num_classes)),
    )


def forbid_by_kernel() -> None:
    """Have this process and its children killed where they make a socket of the internet.

    A seccomp filter, https://www.kernel.org/doc/html/latest/userspace-api/seccomp_filter.html; it stays for good.
    """
    architecture, number = _SOCKET_CALL[platform.machine()]
    load, equal, end = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
    kill, allow = 0x80000000, 0x7FFF0000  # SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_ALLOW
    program = [
        (load, 0, 0, 4),  # seccomp_data.arch
        (equal, 0, 5, architecture),
        (load, 0, 0, 0),  # .nr
        (equal, 0, 3, number),
        (load, 0, 0, 16),  # .args[0], the address family
        (equal, 2, 0, _INTERNET[0]),
        (equal, 1, 0, _INTERNET[1]),
        (end, 0, 0, allow),
        (end, 0, 0, kill),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in program))
    filter_program = struct.pack("HL", len(program), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    no_new_privileges, set_seccomp, mode_filter = 38, 22, 2  # of prctl(2)
    if libc.prctl(no_new_privileges, 1, 0, 0, 0) or libc.prctl(set_seccomp, mode_filter, filter_program, 0, 0):
        raise OSError(ctypes.get_errno(), "the kernel takes no seccomp filter")


def _forbid(event: str, arguments: tuple[Any, ...]) -> None:
    if not event.startswith(_FORBIDDEN) or event in _ALLOWED:
        return
    if event == "socket.__new__" and arguments[1] == _UNIX:  # between processes of this machine
        return
    _events.append(f"{event} {arguments[1:]!r:.100}")
    raise PermissionError(f"no network: {event}")


def _run(argv: list[str], interrupt_at: str | None) -> int | str:
    """The exit code, or what else the command ended with."""
    if interrupt_at:
        threading.Thread(target=_interrupt, args=(Path(interrupt_at),), daemon=True).start()
    try:
        if argv[0] == "python":
            exec(compile(argv[1], "<script>", "exec"), {"__name__": "__main__"})
            return 0
        from onecycle.cli import main

        main(argv)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int | str) else 0
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:300]


def _interrupt(path: Path) -> None:
    deadline = time.monotonic() + 120
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
