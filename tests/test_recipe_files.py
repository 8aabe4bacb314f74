"""Recipes as YAML files: what is read, and what is wrong with one, with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from recipe_problems import problems

from onecycle.recipes import assignments, read_yaml, recipe


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "no mapping"),
        (b"- 1\n- 2\n", "no mapping"),
        (b"just text", "no mapping"),
        (b"1: 2\n", "no mapping"),
        (b"a: {", "not readable as YAML at line 1"),
        (b"a: 1\nb: [1, 2\nc: 3\n", "not readable as YAML at line 3"),
        (b"a:\n\t- b\n", "not readable as YAML at line 2"),
        (b"a: \x00\x01", "not readable as YAML"),
        (b"\xff\xfe\xfa", "not readable"),
        (b"a: !!python/object/apply:os.system [exit]", "not readable as YAML"),
        (b"a: 2020-13-45", "not readable"),
        (b"[" * 5000, "not readable"),
        (b"\x80\x04\x95", "not readable"),
    ],
)
def test_a_file_that_is_no_recipe_is_named_with_its_place(tmp_path: Path, content: bytes, part: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    (line,) = problems(lambda: recipe(path))
    assert line.startswith(f"recipe {path}: ")
    assert part in line


@pytest.mark.parametrize(
    ("content", "key", "line", "first"),
    [
        ("seed: 1\ntta: none\nseed: 2\n", "seed", 3, 1),
        ("seed: 1\n'seed': 2\n", "seed", 2, 1),
        ("data:\n  name: digits\n  batch_size: 4\n  batch_size: 8\n", "batch_size", 4, 3),
        ("ema: {decay: 0.9, decay: 0.99}\n", "decay", 1, 1),
    ],
)
def test_a_key_that_is_there_twice_is_refused(tmp_path: Path, content: str, key: str, line: int, first: int) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    (found,) = problems(lambda: recipe(path))
    assert found.startswith(f"recipe {path}: not readable as YAML at line {line} ")
    assert f"the key {key!r} is there twice, first at line {first}" in found
    assert "'decay' is there twice" in problems(lambda: assignments(["ema={decay: 0.9, decay: 0.99}"]))[0]


def test_a_merged_key_can_be_overridden(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("a: {b: &b {<<: &c {x: 1, y: 1}, x: 2}}\nd: {<<: *b, y: 3}\ne: [*b, *b]\n")
    values = read_yaml(path)
    assert values["d"] == {"x": 2, "y": 3}
    assert values["a"]["b"] == {"x": 2, "y": 1}


def test_a_recipe_that_is_not_there_is_named_with_the_nearest() -> None:
    (line,) = problems(lambda: recipe("custom_resnt"))
    assert "'custom_resnt'" in line
    assert "did you mean 'custom_resnet'" in line
    (line,) = problems(lambda: recipe("none/of/these.yaml"))
    assert line == "recipe none/of/these.yaml: no such file"
    for name in ("", ".", "x" * 300, "x" * 300 + ".yaml", "a\0b", "/"):
        problems(lambda name=name: recipe(name))  # type: ignore[misc]


def test_a_file_with_unknown_and_missing_keys_says_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("dat: {}\nseed: 1\nmodel: {name: custom_resnet}\noptimizer: {name: adam, lr: 3}\n")
    found = problems(lambda: recipe(path))
    assert len(found) == 3
    text = "\n".join(found)
    assert all(part in text for part in ("'dat'; did you mean 'data'", "schedule is missing", "'optimizer.lr'"))


def test_a_file_needs_only_what_has_no_default(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "model: {name: custom_resnet}\noptimizer: {name: sgd}\n"
        "schedule: {name: piecewise_linear, epochs: 24, knots: [[0, 0], [5, 4e-1], [24, 0]]}\n"
    )
    made = recipe(path, seed=3)
    assert made.name == "mine"
    assert made.seed == 3
    assert made.data.name == "cifar10"
    assert [tuple(knot) for knot in made.schedule.options["knots"]] == [(0, 0), (5, 0.4), (24, 0)]
    path.write_text(made.to_yaml())
    assert recipe(path) == made


@pytest.mark.parametrize("kind", [list, tuple])
def test_knots_go_through_yaml(kind: type, tmp_path: Path) -> None:
    knots = kind(kind(knot) for knot in ((0, 0), (5, "4e-1"), (24, 1e-30)))
    made = recipe("custom_resnet", schedule={"name": "piecewise_linear", "epochs": 24, "knots": knots})
    resolved = made.evolve(precision="fp32", data={"mean": (0.5, 0.4, 1 / 3), "std": (0.2, 0.2, 1e-30)})
    for one in (made, resolved):
        assert one.schedule.options["knots"] == ((0.0, 0.0), (5.0, 0.4), (24.0, 1e-30))
        path = tmp_path / "stored.yaml"
        path.write_text(one.to_yaml(), encoding="utf-8")
        assert recipe(path) == one
        assert recipe(path).to_yaml() == one.to_yaml()
    hash(made.schedule.options["knots"])  # as frozen as the recipe
