"""What the README shows, works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from small import images, net

from onecycle import cli, registry

ROOT = Path(__file__).parent.parent
COMMANDS = {"train", "find-lr", "evaluate", "explain", "report", "compare", "recipes", "models", "data"} | {
    "predict",
    "export",
    "serve",
    "trials",
    "search",
}
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(registry.ENTRIES["recipe"], "custom_resnet", "small:readme_recipe")
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {"train_images": images(60, 0), "test_images": images(20, 1), "my_module": net()}
    exec(compile(example.replace("batch_size=512", "batch_size=20"), "README.md", "exec"), names)
    assert (tmp_path / "runs" / "mine" / "summary.json").exists()


@pytest.mark.parametrize("command", sorted(set(re.findall(r"onecycle ([a-z][a-z-]+(?: [a-z]+)?)", README))))
def test_the_commands_exist(command: str) -> None:
    words = [word for word in command.split() if word not in ("custom", "digits", "cifar")]
    if words[0] not in COMMANDS:
        pytest.fail(f"the README names a command that is none: onecycle {command}")
    with pytest.raises(SystemExit) as left:
        cli.main([*words, "--help"])
    assert left.value.code == 0


def test_the_files_and_pictures_exist() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links and all((ROOT / link).exists() for link in links), links
    modules = re.findall(r"\b[a-z_]+\.py\b", README.partition("## Layout")[2])
    assert modules and all((ROOT / "src" / "onecycle" / module).exists() for module in modules), modules
    assert all((ROOT / "src" / "onecycle" / folder).is_dir() for folder in ("recipes", "models", "data"))
