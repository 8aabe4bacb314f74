"""The examples of a page of the documentation, run as they stand."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def run_examples(name: str) -> int:
    """Run every block of Python of docs/`name` in one go, in the working folder; how many examples there were."""
    page = (DOCS / name).read_text(encoding="utf-8")
    # Blanks in the place of all that is no example, so that a failure names the line of the page.
    shown = re.sub(r"(?s)(?:\A|```\n).*?(?:```python\n|\Z)", lambda rest: "\n" * rest[0].count("\n"), page)
    examples = doctest.DocTestParser().get_doctest(shown, {}, name, str(DOCS / name), 0)
    said: list[str] = []
    result = doctest.DocTestRunner(verbose=False).run(examples, out=said.append)
    assert result.failed == 0, "".join(said)
    return result.attempted
