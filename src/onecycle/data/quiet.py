"""What Pillow and the libraries under it would print of a file that is odd: nothing, as an exception says enough."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import re
import warnings
from collections.abc import Iterator
from typing import Any, Final, cast

from PIL import _imaging

_FILTER: Final = ("ignore", None, Warning, re.compile(r"PIL\."), 0)


@contextlib.contextmanager
def no_warnings() -> Iterator[None]:
    """Silence Pillow's warnings, in whatever thread this is.

    `warnings.catch_warnings` puts the list back that was there when a thread came in: the last one to leave wins.
    """
    filters = cast("list[Any]", warnings.filters)
    filters.insert(0, _FILTER)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # somebody has emptied the list
            filters.remove(_FILTER)


def silence() -> None:
    """Keep log lines of Pillow that nobody listens to, and libtiff's own, off stderr; for the whole process."""
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    with contextlib.suppress(AttributeError, OSError):  # a Pillow that was built otherwise
        set_handler = ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler
        set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
        set_handler(None)
