"""From a run's folder to a server that answers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from ..errors import UserError
from ..hardware import resolve_device
from ..run import Run
from .addresses import host_check, listen, url_of
from .guard import Guard
from .limits import Limits


def serve(
    run: str | Path | Run,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    device: str = "auto",
    data_dir: str | Path | None = None,
    limits: Limits | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Serve a finished run as a page and as JSON until a signal comes; needs the extra `serve`.

    Port 0 is any that is free; `say` is told the address. `data_dir` is where the test images lie, if no longer where
    they were. Raises UserError where something is missing or cannot be listened on, and Stopped when a signal has ended
    it.
    """
    opened = Run.of(run)
    opened.summary  # noqa: B018 - a training that has not ended is said first
    on, allowed = resolve_device(device), limits or Limits()
    _check_extra()
    listening = listen(host, port)
    with listening, tempfile.TemporaryDirectory(prefix="onecycle-serve-") as folder:
        from .gradio_settings import settle

        settle(Path(folder))  # before it is imported
        from .application import application
        from .inference import Inference
        from .running import run_until_stopped

        inference = Inference(opened, device=on, data_dir=None if data_dir is None else Path(data_dir))
        try:
            bound = listening.getsockname()[1]
            app = Guard(application(inference, allowed), is_ours=host_check(host, bound), limits=allowed)
            what = str(opened.path)
            run_until_stopped(app, listening, allowed, what, lambda: say(f"serving {what} at {url_of(host, bound)}"))
        finally:
            inference.close()


def _check_extra() -> None:
    for package in ("gradio", "uvicorn"):
        if find_spec(package) is None:
            raise UserError(f"serve needs {package}: pip install 'onecycle[serve]'")
