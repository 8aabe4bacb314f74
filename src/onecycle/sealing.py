"""Files that tell whether they are still what was written, by a SHA-256 that they carry.

A JSON object carries it under the key "sha256", over its other keys; a text in a first line, over the lines after it.
One without is taken as it is: it was written before files were sealed, or by hand.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import UserError
from .files import read_json, write_bytes, write_json

_KEY = "sha256"
_COMMENT = b"# sha256"  # first, so that a text that is cut short, at whatever place, is still known to be sealed


def digest(content: bytes) -> str:
    """The SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def write_sealed_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object atomically, with its digest. NaN and infinity are refused, as JSON has neither."""
    write_json(path, {**value, _KEY: _digest_of_values(value)})


def read_sealed_json(path: Path) -> dict[str, Any]:
    """Read a JSON object, without its digest. Raises UserError naming the file where it is missing or damaged."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise damaged(path)
    # Looked for under every key, as what is damaged may be the name of the key.
    for key in (key for key, found in value.items() if key == _KEY or _may_be_digest(found)):
        rest = {name: one for name, one in value.items() if name != key}
        as_written = value[key] == _digest_of_values(rest)
        if key == _KEY and as_written:
            return rest
        if key == _KEY or as_written:
            raise damaged(path)
    return value


def write_sealed_text(path: Path, text: str) -> None:
    """Write a text file (UTF-8) atomically, after a comment line with its digest; for formats whose comments are so."""
    content = text.encode()
    write_bytes(path, b"%s %s\n%s" % (_COMMENT, digest(content).encode(), content))


def check_sealed_text(path: Path) -> None:
    """Raise UserError naming the file where it cannot be read, or is not what was written."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    first, _, text = content.partition(b"\n")
    if first.startswith(_COMMENT) and first != b"%s %s" % (_COMMENT, digest(text).encode()):
        raise damaged(path)


def damaged(path: Path, why: str = "it is not what was written") -> UserError:
    """The error on a file whose content cannot be what was written."""
    return UserError(f"{path}: damaged; {why}")


def _digest_of_values(value: Mapping[str, Any]) -> str:
    """Over the values rather than the bytes, as they come back from JSON: tuples as lists, keys as text."""
    return digest(json.dumps(json.loads(json.dumps(value)), sort_keys=True).encode())


def _may_be_digest(value: Any) -> bool:
    return isinstance(value, str) and len(value) == len(digest(b""))
