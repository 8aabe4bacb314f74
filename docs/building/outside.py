"""Files of the repository that pages link to though they are not in docs: a page each, or a copy."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File

FOLDER = "files/"
LINK = re.compile(r"\]\((?P<target>[^)#\s:]+)(?P<anchor>#[^)\s]*)?\)")

_LANGUAGES = {".py": "python", ".yaml": "yaml", ".json": "json", ".toml": "toml", ".csv": "text", ".txt": "text"}
_PAGE_BYTES = 30_000  # of a file that is shown as a page; longer ones are copied
_QUIET = "---\nsearch:\n  exclude: true\n---\n\n"


def files(root: Path, pages: Mapping[Path, str], config: MkDocsConfig) -> Iterator[File]:
    """What `pages`, texts by their paths, lead to outside docs, and what is linked from there."""
    waiting = [path for page, text in pages.items() for path in _leaving(text, page.parent, root)]
    seen: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        if not _is_page(path):
            yield File.generated(config, FOLDER + path.relative_to(root).as_posix(), abs_src_path=str(path))
            continue
        uri = _uri(path, root)
        text, place = _page(path, root)
        waiting += _leaving(text, place, root)
        yield File.generated(
            config, uri, content=_QUIET + LINK.sub(lambda link, at=(place, uri): turned(link, at[0], root, at[1]), text)
        )


def turned(link: re.Match[str], place: Path, root: Path, uri: str) -> str:
    """The link as the page at `uri` of the site has it; `place` is the folder that it was written for."""
    path = _target(link, place)
    if path is None or not path.is_relative_to(root):
        return link[0]
    docs = root / "docs"
    if path.is_relative_to(docs):
        aim = path.relative_to(docs).as_posix()
    elif path.exists():
        aim = _uri(path, root) if _is_page(path) else FOLDER + path.relative_to(root).as_posix()
    else:
        return link[0]
    return f"]({os.path.relpath(aim, Path(uri).parent.as_posix())}{link['anchor'] or ''})"


def _leaving(text: str, place: Path, root: Path) -> list[Path]:
    found = (_target(link, place) for link in LINK.finditer(text))
    docs = root / "docs"
    return [one for one in found if one and one.is_relative_to(root) and not one.is_relative_to(docs) and one.exists()]


def _target(link: re.Match[str], place: Path) -> Path | None:
    return Path(os.path.normpath(place / link["target"])) if link["target"] else None


def _is_page(path: Path) -> bool:
    return path.is_dir() or (path.suffix in {*_LANGUAGES, ".md"} and path.stat().st_size <= _PAGE_BYTES)


def _uri(path: Path, root: Path) -> str:
    name = path.relative_to(root).as_posix()
    return FOLDER + (f"{name}/index.md" if path.is_dir() else name if path.suffix == ".md" else f"{name}.md")


def _page(path: Path, root: Path) -> tuple[str, Path]:
    """The page's text, and the folder that its links begin from."""
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8"), path.parent
    title = f"# {path.relative_to(root).as_posix()}\n\n"
    if path.is_dir():
        kept = (one for one in sorted(path.iterdir()) if not one.name.startswith((".", "__")))
        return title + "\n".join(f"- [{one.name}]({one.name})" for one in kept) + "\n", path
    numbers = ' linenums="1"' if path.suffix == ".py" else ""
    # Longer than any fence that a file holds itself.
    return (
        f"{title}~~~~~~ {{.{_LANGUAGES[path.suffix]}{numbers}}}\n{path.read_text(encoding='utf-8')}\n~~~~~~\n",
        path.parent,
    )
