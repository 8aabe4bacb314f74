"""A run's net as a web page and as an endpoint for programs, on this machine and for it."""

from .limits import Limits
from .starting import serve

__all__ = ["Limits", "serve"]
