"""A run folder becomes one HTML page that holds everything it shows and makes no network request."""

from .comparison_page import write_comparison
from .report import write_report
from .watching import watch

__all__ = ["watch", "write_comparison", "write_report"]
