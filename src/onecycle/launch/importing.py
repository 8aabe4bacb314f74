"""Why an extra cannot be imported, in one line."""

from __future__ import annotations

import importlib
from importlib import metadata


def explanation(error: Exception, extra: str) -> str:
    """What to do about an `error` that importing the package `extra` raised: install, repair or reinstall something.

    torchmetrics, which lightning imports, imports torchvision wherever one is installed. A torchvision built for
    another torch then fails with whatever its parts raise: https://github.com/Lightning-AI/torchmetrics/issues/3098.
    """
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == extra:
        return f"onecycle.launch.{extra} needs the extra: pip install 'onecycle[{extra}]'"
    reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    if _is_broken("torchvision"):
        return (
            f"{extra} cannot be imported because the installed torchvision is broken ({reason}); onecycle needs none: "
            f"pip uninstall torchvision, or install the one made for torch {metadata.version('torch')}"
        )
    return f"{extra} is installed but cannot be imported ({reason}); pip install --force-reinstall {extra}"


def _is_broken(package: str) -> bool:
    """Whether a package is installed and its import fails."""
    try:
        importlib.import_module(package)
    except ModuleNotFoundError as error:
        return error.name != package or any(True for _ in metadata.distributions(name=package))
    except Exception:
        return True
    return False
