"""Parts that are registered by name from outside the package."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import nn

import onecycle
from onecycle import Recipe, UserError, registry

MODULE = """
import onecycle
from torch import nn

def net(num_classes: int, *, width: int = 4) -> nn.Module:
    return nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(48, width), nn.ReLU(), nn.Linear(width, num_classes))

def quick() -> onecycle.Recipe:
    return onecycle.recipe("digits", name="quick", model={"name": "tiny"}, schedule={"epochs": 2, "peak_epoch": 1})

five = 5
"""


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module outside of ours, and a registry that is as it was afterwards."""
    (tmp_path / "elsewhere.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "ENTRIES", {kind: dict(entries) for kind, entries in registry.ENTRIES.items()})
    registry._installed.cache_clear()
    yield
    registry._installed.cache_clear()
    sys.modules.pop("elsewhere", None)


def test_a_net_and_a_recipe_from_outside_are_used_by_name() -> None:
    onecycle.register("model", "tiny", "elsewhere:net")
    onecycle.register("recipe", "quick", "elsewhere:quick")
    assert "elsewhere" not in sys.modules  # what is registered is imported where it is used
    assert "quick" in onecycle.names("recipe")
    found = onecycle.recipe("quick", model={"width": 6})
    assert (found.name, found.model.name, found.model.options) == ("quick", "tiny", {"width": 6})
    assert onecycle.recipe("digits", model={"name": "tiny"}).model.options == {"width": 4}
    with pytest.raises(UserError, match=r"model\.widht.*did you mean 'width'"):
        onecycle.recipe("quick", model={"widht": 6})


def test_the_same_may_be_registered_again_and_nothing_else_under_its_name() -> None:
    onecycle.register("model", "tiny", "elsewhere:net")
    onecycle.register("model", "tiny", "elsewhere:net")
    with pytest.raises(UserError, match="model 'tiny' is taken, by elsewhere:net; choose another name"):
        onecycle.register("model", "tiny", "elsewhere:other")
    with pytest.raises(UserError, match="recipe 'digits' is taken"):
        onecycle.register("recipe", "digits", "elsewhere:quick")


@pytest.mark.parametrize(
    "kind, name, target, said",
    [
        ("modle", "tiny", "elsewhere:net", "kind 'modle' is unknown; did you mean 'model'"),
        ("model", "own:tiny", "elsewhere:net", "a name has letters"),
        ("model", "", "elsewhere:net", "a name has letters"),
        ("model", "../tiny", "elsewhere:net", "a name has letters"),
        ("model", "tiny", "elsewhere", "not of the form module:object"),
        ("model", "tiny", "else where:net", "not of the form module:object"),
        ("model", "tiny", "elsewhere:net()", "not of the form module:object"),
        ("model", "tiny", nn.Flatten, "not of the form module:object"),
    ],
)
def test_what_cannot_be_registered(kind: str, name: str, target: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        onecycle.register(kind, name, target)
    with pytest.raises(UserError):
        registry.load(kind, name)


@pytest.mark.parametrize(
    "target, said",
    [
        ("no_such_module_at_all:net", "cannot be imported"),
        ("elsewhere:no_such_net", "cannot be imported"),
        ("elsewhere:five", "is no function but 5"),
    ],
)
def test_what_was_registered_and_is_not_there(target: str, said: str) -> None:
    onecycle.register("model", "tiny", target)
    with pytest.raises(UserError, match=said) as raised:
        onecycle.recipe("digits", model={"name": "tiny"})
    assert len(raised.value.problems) == 1


def test_installed_packages_bring_entries_but_change_none_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "elsewhere-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(
        "[onecycle.model]\ntiny = elsewhere:net\ncustom_resnet = elsewhere:net\n"
        "[onecycle.recipe]\nquick = elsewhere:quick\n"
    )
    importlib.invalidate_caches()
    registry._installed.cache_clear()
    assert "tiny" in onecycle.names("model")
    quick: Recipe = onecycle.recipe("quick")
    assert quick.model.name == "tiny"
    assert isinstance(registry.load("model", "tiny")(10), nn.Module)
    assert registry.load("model", "custom_resnet").__module__ == "onecycle.models.custom_resnet"
    with pytest.raises(UserError, match="model 'tiny' is taken"):
        onecycle.register("model", "tiny", "elsewhere:other")
