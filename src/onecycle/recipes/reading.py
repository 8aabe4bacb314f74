"""YAML as recipes hold it, from files and from `--set`: read within bounds, and refused in one line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from ..errors import UserError, shown

MOST_BYTES = 64 * 1024  # of a recipe file: seconds of reading
MOST_VALUES = 20_000  # once aliases are written out: a few lines of them can stand for more than memory holds
MOST_DEPTH = 20  # of lists and mappings in each other
_MOST_NUMBER = 2**64  # Python itself refuses to print whole numbers that are much larger


class Loader(yaml.SafeLoader):
    """Refuses a key that a mapping holds twice, of which YAML would silently take the last, and what has no end."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._extents: dict[yaml.Node, tuple[int, int]] = {}  # values within, and depth, of each node that is whole

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Here aliases are still told from what they stand for."""
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        node = super().compose_node(parent, index)
        if node is None:
            return None
        if not isinstance(event, yaml.AliasEvent):
            inner = [self._extents[child] for child in _children(node)]
            self._extents[node] = 1 + sum(values for values, _ in inner), 1 + max((d for _, d in inner), default=0)
        elif node not in self._extents:
            raise _refusal(f"the alias *{event.anchor} stands for what it is a part of", event.start_mark)
        values, depth = self._extents[node]
        if values > MOST_VALUES:
            raise _refusal(f"there are more than {MOST_VALUES:,} values, aliases written out", event.start_mark)
        if depth > MOST_DEPTH:
            raise _refusal(f"lists and mappings lie more than {MOST_DEPTH} deep in each other", event.start_mark)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Here rather than where the dict is made: by then, keys that `<<` merges in look like the mapping's own."""
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, Any], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if (key.tag, key.value) in lines:
                first = lines[key.tag, key.value]
                raise _refusal(f"the key {shown(key.value)} is there twice, first at line {first}", key.start_mark)
            lines[key.tag, key.value] = key.start_mark.line + 1
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """One value; PyYAML lets a KeyError out for `!!bool maybe`, an AttributeError for `!!timestamp never`."""
        try:
            value = super().construct_object(node, deep)
        except (yaml.YAMLError, RecursionError):
            raise
        except Exception as error:
            kind = node.tag.rpartition(":")[2]
            reason = f": {error}" if kind == "timestamp" and isinstance(error, ValueError) else ""
            raise _refusal(f"{shown(node.value)} is not readable as {kind}{reason}", node.start_mark) from None
        if isinstance(value, int) and abs(value) >= _MOST_NUMBER:
            raise _refusal("a whole number is too large; less than 2^64", node.start_mark)
        if isinstance(value, str) and not _is_unicode(value):
            raise _refusal(f"{shown(value)} is no text; half a pair of surrogates is no letter", node.start_mark)
        return value


class Unreadable(ValueError):
    """Text that is no YAML, or none of a recipe; `line` is where, counted from 1, where that is known."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        self.line = line
        super().__init__(reason)


def read_value(text: str) -> Any:
    """The value that a YAML text holds. Raises Unreadable with the reason."""
    if len(text.encode(errors="surrogatepass")) > MOST_BYTES:
        raise Unreadable(f"it is larger than {MOST_BYTES:,} bytes")
    try:
        return yaml.load(text, Loader)
    except RecursionError:
        raise Unreadable(f"lists and mappings lie more than {MOST_DEPTH} deep in each other") from None
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        reason = " ".join(str(getattr(error, "problem", None) or error).split())
        raise Unreadable(reason, mark.line + 1 if mark else None) from None


def assignments(pairs: Iterable[str]) -> dict[str, Any]:
    """`--set a.b=value` texts as dotted changes; the value is read as YAML."""
    changes: dict[str, Any] = {}
    problems = []
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip() or not _is_unicode(key):
            problems.append(f"--set {shown(pair)}: not of the form key=value, such as data.batch_size=256")
            continue
        try:
            changes[key.strip()] = read_value(text)
        except Unreadable as error:
            problems.append(f"--set {shown(pair)}: the value is not readable as YAML ({error})")
    if problems:
        raise UserError(*problems)
    return changes


def read_yaml(path: Path, what: str = "recipe") -> dict[str, Any]:
    """The mapping in a recipe file, or in another file of recipe keys. Raises UserError naming the file and the place.

    `what` is the word for the file.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise UserError(f"{what} {path}: is no file")
        with path.open("rb") as file:
            values = read_value(file.read(MOST_BYTES + 1).decode("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{what} {path}: no such file") from None
    except Unreadable as error:
        line = f" at line {error.line}" if error.line else ""
        raise UserError(f"{what} {path}: not readable as YAML{line} ({error})") from None
    except UserError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{what} {path}: not readable ({reason})") from None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise UserError(f"{what} {path}: holds no mapping of recipe keys; 'onecycle recipes show' prints them")
    return values


def _children(node: yaml.Node) -> Iterable[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [one for pair in node.value for one in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _refusal(problem: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.composer.ComposerError(None, None, problem, mark)
