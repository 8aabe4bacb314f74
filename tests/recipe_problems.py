"""Recipes as the command line sets them, and the lines that say what is wrong with one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from onecycle.errors import UserError
from onecycle.recipes import Recipe, assignments, recipe


def with_set(*pairs: str, base: str = "custom_resnet") -> Recipe:
    """As the command line does it."""
    return recipe(base, **assignments(pairs))


def problems(call: Callable[[], object]) -> tuple[str, ...]:
    """The lines of the UserError that `call` raises, each one line."""
    with pytest.raises(UserError) as caught:
        call()
    assert caught.value.exit_code == 2
    found: tuple[str, ...] = caught.value.problems
    assert found
    assert all(line and "\n" not in line for line in found)
    return found


def problem(*pairs: str) -> str:
    (line,) = problems(lambda: with_set(*pairs))
    return line
