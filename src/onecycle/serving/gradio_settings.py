"""Gradio told what it may do, before it is imported."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Final

# Of Gradio, what it imports, and the libraries that its calls reach.
_NOISY: Final = (
    r"(gradio|gradio_client|starlette|fastapi|uvicorn|pandas|pydantic|httpx|huggingface_hub|anyio|asyncio|pydub)(\.|$)"
)


def settle(folder: Path) -> None:
    """Set the environment and the filter of warnings; whatever Gradio writes goes into `folder`.

    It calls nowhere: no statistics of use, no telemetry, no look at the hub. What the user's environment says to
    Gradio is left aside, as it could open what is closed here: GRADIO_VIBE_MODE, GRADIO_ROOT_PATH, GRADIO_SHARE.
    """
    for name in [name for name in os.environ if name.startswith("GRADIO_")]:
        del os.environ[name]
    os.environ |= {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_TEMP_DIR": str(folder),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "1",
        "DO_NOT_TRACK": "1",
    }
    warnings.filterwarnings("ignore", module=_NOISY)
    warnings.filterwarnings("ignore", category=ResourceWarning)  # event loops that Gradio makes and forgets
