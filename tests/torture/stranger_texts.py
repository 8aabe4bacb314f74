"""Hostile text in a stranger's run: a page shows it as text, a terminal obeys none of it, and no YAML tag runs."""

from __future__ import annotations

import contextlib
import functools
import io
import re
import shutil
from pathlib import Path

from report_runs import Page, finished, guesses, noise, report

import onecycle
from onecycle import UserError, api, cli
from onecycle.sealing import read_sealed_json, write_sealed_json, write_sealed_text
from torture.guarded import caught, watched

TEXTS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg/onload=alert(1)>",
    "</script><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "--><script>alert(1)</script>",
    "javascript:alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "[bold red]markup[/bold red][link=http://x]y[/link]",
    "&lt;b&gt; &amp; \u2028 \u202e",
    "\x1b]0;owned\x07",
    "\x1b[2J\x1b[1;1H",
    "\x9b31m",
    "\r\x1b[Kall is well",
    "\x08" * 20,
    "a\nb\tc",
    "\x00",
    "\ud800",
    "x" * 100_000,
    "$(touch canary)`touch canary`",
    "=cmd|' /C calc'!A0",
    "%n%s%x",
)
PLACES = ("classes", "argv", "versions", "device", "precision", "lr_range")
TAGS = (
    "!!python/object/apply:os.system ['touch {canary}']",
    "!!python/object/apply:subprocess.check_output [['touch', '{canary}']]",
    "!!python/object/new:os.system ['touch {canary}']",
    "!!python/name:os.system",
    "!!python/module:antigravity",
    "!!python/object:onecycle.run.Run {{path: x}}",
    '!!python/object/apply:builtins.eval [\'open("{canary}", "w")\']',
    "!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{canary}']]",
    "!!python/tuple [1, 2]",
    "!!binary aGVsbG8=",
    "!<tag:yaml.org,2002:python/object/apply:os.system> ['touch {canary}']",
)
_YAML = (
    "{tag}\n",
    "name: {tag}\n",
    "model: {tag}\n",
    "data: {{name: {tag}}}\n",
    "? {tag}\n: 1\n",
    "a: &a {tag}\nb: *a\n",
)
COUNTS = {"page": len(TEXTS) * len(PLACES), "terminal": len(TEXTS), "yaml": len(TAGS) * len(_YAML)}


def page(folder: Path, seed: int, number: int) -> str | None:
    """The report of a run with one of the texts in one of the places has the elements that it has with a plain word."""
    text, place = TEXTS[number // len(PLACES)], PLACES[number % len(PLACES)]
    path, error = _report(folder, place, text)
    if error is not None:
        clear = isinstance(error, UserError) and str(error).isprintable()
        return None if clear else f"{text[:40]!r} as {place}: {type(error).__name__}: {str(error)[:200]!r}"
    if (found := _elements(path)) != _plain(folder, place):
        return f"{text[:40]!r} as {place}: other elements, such as {[one for one in found if one[0] == 'script'][:3]}"
    return None


def terminal(folder: Path, seed: int, number: int) -> str | None:
    """What the commands print of a run whose classes are named so holds nothing that a terminal obeys."""
    text = TEXTS[number]
    run = _run(folder, "classes", text)
    other = _run(folder, "classes", text, "other", 1)
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="surrogateescape")
    for arguments in (["evaluate", run], ["explain", run], ["compare", run, other], ["explain", run, "--true", text]):
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            _, left = caught(lambda given=arguments: _left(given))
        out.flush()
        said = out.buffer.getvalue().decode("utf-8", "surrogateescape")
        bad = set(re.findall("[\\x00-\\x09\\x0b-\\x1f\\x7f-\\x9f]", said))
        if left is not None or bad or "Traceback" in said or "fault of onecycle" in said:
            return f"{text[:40]!r}: {arguments[0]} printed {sorted(bad)}, {left!r}, {said[-200:]!r}"
    return None


def yaml(folder: Path, seed: int, number: int) -> str | None:
    """A recipe with a tag that would call something is refused in one line, in a run and as a file."""
    canary = folder / "canary"
    tag = TAGS[number % len(TAGS)].format(canary=canary)
    content = _YAML[number // len(TAGS)].format(tag=tag)
    path = folder / "tagged"
    path.mkdir(exist_ok=True)
    write_sealed_text(path / "recipe.yaml", content)
    (path / "alone.yaml").write_text(content)
    for use in (lambda: onecycle.load(path).recipe, lambda: onecycle.recipe(path / "alone.yaml")):
        with watched() as watch:
            _, error = caught(use)
        ran = [event for event in watch.events if event.startswith(("os.system", "subprocess.", "exec"))]
        if ran or canary.exists():
            canary.unlink(missing_ok=True)
            return f"{content!r}: code was run: {ran}"
        if not isinstance(error, UserError) or not all(line.isprintable() for line in error.problems):
            return f"{content!r}: {error!r}"
    return None


def _left(arguments: list[object]) -> None:
    try:
        cli.main([str(one) for one in arguments])
    except SystemExit as left:
        if left.code not in (0, 2):
            raise RuntimeError(f"exit code {left.code}") from None


@functools.cache
def _plain(folder: Path, place: str) -> list[tuple[str, tuple[str, ...]]]:
    path, error = _report(folder, place, "word")
    assert error is None, error
    return _elements(path)


def _report(folder: Path, place: str, text: str) -> tuple[Path, BaseException | None]:
    run = _run(folder, place, text)
    _, error = caught(lambda: report(api.load(run), None))
    return run / "report.html", error


def _elements(path: Path) -> list[tuple[str, tuple[str, ...]]]:
    """Every element with the names of its attributes."""
    return [(tag, tuple(attributes)) for tag, attributes, _ in Page(path).elements]


def _run(folder: Path, place: str, text: str, name: str = "texts", seed: int = 0) -> Path:
    path = folder / name
    shutil.rmtree(path, ignore_errors=True)
    images = noise(40, ("a", "b"))
    run = finished(path, images, guesses(images, 1.0, seed))
    if place == "classes":
        write_sealed_json(path / "model.json", {"classes": [text, "b"]})
    elif place in ("argv", "versions"):
        environment = read_sealed_json(path / "environment.json")
        changed = (
            {"argv": [text, text]} if place == "argv" else dict.fromkeys(("python", "torch", "commit", "cpu"), text)
        )
        write_sealed_json(path / "environment.json", {**environment, **changed})
    elif place == "lr_range":
        run.write_lr_range({"lr_min": 0.1, "lr_max": 0.2, "rule": text, "stability": {text: text}, "sweeps": []})
    else:
        summary = read_sealed_json(path / "summary.json")
        write_sealed_json(path / "summary.json", {**summary, place: text})
    return path
