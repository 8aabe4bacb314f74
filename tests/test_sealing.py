"""Files that carry their digest: whatever happens to one, it is read as it was written, or refused by name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onecycle.errors import UserError
from onecycle.files import read_json
from onecycle.sealing import check_sealed_text, read_sealed_json, write_sealed_json, write_sealed_text

VALUE = {"seed": 0, "lr": 1e-3, "classes": ["é", "b"], "nothing": None, "test": {"accuracy": 0.5}, "pair": (1, 2)}
TEXT = "name: digits\nseed: 0\nclasses: [é]\n"


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    write_sealed_json(tmp_path / "json", VALUE)
    assert read_sealed_json(tmp_path / "json") == {**VALUE, "pair": [1, 2]}
    write_sealed_text(tmp_path / "text", TEXT)
    check_sealed_text(tmp_path / "text")
    first, _, rest = (tmp_path / "text").read_text(encoding="utf-8").partition("\n")
    assert rest == TEXT and first == f"# sha256 {hashlib.sha256(TEXT.encode()).hexdigest()}"


@pytest.mark.parametrize("write", [write_sealed_json, write_sealed_text])
def test_every_flipped_bit_and_every_cut_is_noticed_or_changes_nothing(
    tmp_path: Path, write: Callable[[Path, object], None]
) -> None:
    path = tmp_path / "file"
    sealed_json = write is write_sealed_json
    write(path, VALUE if sealed_json else TEXT)
    whole = path.read_bytes()
    flips = [whole[:n] + bytes([whole[n] ^ 1 << bit]) + whole[n + 1 :] for n in range(len(whole)) for bit in (0, 5)]
    for content in [*flips, *(whole[:n] for n in range(10, len(whole)))]:
        path.write_bytes(content)
        try:
            if sealed_json:
                assert read_sealed_json(path) == {**VALUE, "pair": [1, 2]}, content
            else:
                check_sealed_text(path)
                assert content.endswith(f"\n{TEXT}".encode()), content
        except UserError as error:
            assert str(error).startswith(f"{path}: ")


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300))
def test_noise_is_refused_by_name_or_has_no_digest(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    try:
        read_sealed_json(path)
        assert isinstance(read_json(path), dict)
    except UserError as error:
        assert str(path) in str(error)


def test_what_was_written_by_hand_has_no_digest_and_is_taken(tmp_path: Path) -> None:
    (tmp_path / "json").write_text('{"seed": 1}')
    assert read_sealed_json(tmp_path / "json") == {"seed": 1}
    (tmp_path / "text").write_text(TEXT, encoding="utf-8")
    check_sealed_text(tmp_path / "text")


def test_no_file_and_no_number_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        check_sealed_text(tmp_path / "none")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_sealed_json(tmp_path / "json", {"loss": float("nan")})
    (tmp_path / "deep").write_text("[" * 100_000)
    with pytest.raises(UserError, match="not readable as JSON"):
        read_sealed_json(tmp_path / "deep")
