"""What docs/ shows, works: the examples run as they stand, the links lead somewhere, every public name is there."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from doc_examples import run_examples

import onecycle
from onecycle import cli, registry

DOCS = Path(__file__).parents[1] / "docs"
API = (DOCS / "api.md").read_text(encoding="utf-8")


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "ENTRIES", {kind: dict(entries) for kind, entries in registry.ENTRIES.items()})
    try:
        assert run_examples("api.md") > 60
    finally:
        sys.modules.pop("my_nets", None)


def test_every_block_of_python_is_an_example() -> None:
    blocks = re.findall(r"```python\n(.*?)```", API, re.DOTALL)
    assert blocks and all(block.startswith(">>> ") for block in blocks)
    assert API.count("```") % 2 == 0
    assert "SKIP" not in API


def test_every_verb_is_described_and_every_command_has_its_function() -> None:
    verbs = [name for name in dir(onecycle) if name.islower() and callable(getattr(onecycle, name))]
    assert {"train", "resume", "find_lr", "register"} <= set(verbs)
    assert [verb for verb in verbs if f"onecycle.{verb}(" not in API] == []
    named = set(re.findall(r"onecycle\.(\w+)\b", API))
    assert sorted(named - {*dir(onecycle), *registry.ENTRIES}) == []
    for command in re.findall(r"`onecycle ([a-z-]+(?: [a-z]+)?)", API):
        words = command.split()[: 1 if command.split()[0] in ("train", "find-lr", "recipes") else 2]
        with pytest.raises(SystemExit) as left:
            cli.main([*words, "--help"])
        assert left.value.code == 0, command


def test_links_lead_somewhere() -> None:
    for page in DOCS.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        headings = {line.lstrip("# ").lower().replace(" ", "-") for line in text.splitlines() if line.startswith("#")}
        for link in re.findall(r"\]\(([^)]+)\)", text):
            target, _, anchor = link.partition("#")
            if "://" in link:
                continue
            assert not target or (DOCS / target).exists(), link
            assert target or anchor in headings, link
