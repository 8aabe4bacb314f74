"""Jobs on a Ray cluster, several at a time; docs/cluster.md says how to point them at one.

Importing this raises UserError, with what to do, where ray is missing or cannot be imported.
"""

from __future__ import annotations

from ...errors import UserError
from ..importing import explanation

try:
    import ray  # noqa: F401
except Exception as error:  # whatever a package raises that does not fit the others
    raise UserError(explanation(error, "ray")) from error

from .engine import LOSSES, RayEngine

__all__ = ["LOSSES", "RayEngine"]
