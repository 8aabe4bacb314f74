"""Training state on disk: what comes back, what damage is noticed, and what a failing disk leaves behind."""

from __future__ import annotations

import errno
import os
import pickle
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from stored_states import round_trip, same
from torch import Tensor

from onecycle.checkpoint import CheckpointFolder, Damaged, load_state, save_state
from onecycle.errors import UserError

DTYPES = [
    torch.float32,
    torch.float64,
    torch.bfloat16,
    torch.float16,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
]


def small_state(step: int = 1) -> dict[str, Any]:
    return {"step": step, "model": {"weight": torch.arange(6.0).view(2, 3) + step}, "sums": [0.5, None]}


# --- round trip --------------------------------------------------------------------------------------------------


def test_everything_comes_back_bit_for_bit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = {
        "model": {"layer1.0.weight": torch.randn(4, 3, 3, 3).to(memory_format=torch.channels_last)},
        "optimizer": {
            "state": {0: {"step": torch.tensor(7.0), "exp_avg": torch.randn(4, 3)}, 11: {"step": torch.tensor(7.0)}},
            "param_groups": [{"lr": 5e-3, "betas": (0.9, 0.999), "fused": True, "foreach": None, "params": [0, 11]}],
        },
        "numbers": {"int": 2**62, "negative": -3, "float": 0.1 + 0.2, "tiny": 5e-324, "true": True, "zero": 0.0},
        "text": 'ünï\n"code"',
        "none": None,
        "empty": {"dict": {}, "list": [], "tensor": torch.zeros(0, 3)},
        "tensors": [
            torch.randn(5).bfloat16(),
            torch.randn(3).half(),
            torch.tensor([1, -(2**63), 2**63 - 1]),
            torch.tensor([True, False, True]),
            torch.tensor(True),
            torch.tensor(3, dtype=torch.uint8),
            torch.tensor([float("nan"), float("inf"), -0.0]),
            torch.arange(12).view(3, 4).t(),
            torch.arange(10)[::2],
        ],
    }
    assert same(state, round_trip(tmp_path / "state", state))


plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    dtype = draw(st.sampled_from(DTYPES))
    values = torch.randint(0, 2 if dtype == torch.bool else 100, shape, generator=torch.Generator().manual_seed(1))
    tensor = values.to(dtype)
    if len(shape) == 4 and draw(st.booleans()):
        return tensor.to(memory_format=torch.channels_last)
    return tensor.transpose(0, -1) if shape and draw(st.booleans()) else tensor


states = st.dictionaries(
    st.text("abcde", min_size=1),
    st.recursive(
        plain | tensors(),
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.integers() | st.text("abcde"), inner, max_size=4)
        ),
        max_leaves=12,
    ),
    max_size=5,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(state=states)
def test_any_state_comes_back_bit_for_bit(tmp_path: Path, state: dict[str, Any]) -> None:
    assert same(state, round_trip(tmp_path / "state", state))


@pytest.mark.parametrize(
    "state",
    [
        {"a.b": torch.zeros(1), "a": {"b": torch.ones(1)}},
        {"a": {1: torch.zeros(1), "1": torch.ones(1)}},
    ],
    ids=["dots", "number and text"],
)
def test_tensors_under_keys_that_read_alike_stay_apart(tmp_path: Path, state: dict[str, Any]) -> None:
    assert same(state, round_trip(tmp_path / "state", state))


def test_shared_and_changing_tensors_are_saved_as_they_were(tmp_path: Path) -> None:
    weight = torch.ones(3)
    save_state(tmp_path / "state", {"one": weight, "two": weight, "part": weight[:2]})
    weight.zero_()
    loaded = load_state(tmp_path / "state")
    assert loaded["one"].tolist() == loaded["two"].tolist() == [1, 1, 1]
    assert loaded["part"].tolist() == [1, 1]
    loaded["one"].zero_()
    assert loaded["two"].tolist() == [1, 1, 1]


# --- damage ------------------------------------------------------------------------------------------------------


def assert_damaged(path: Path) -> str:
    with pytest.raises(Damaged) as caught:
        load_state(path)
    (line,) = caught.value.problems
    assert str(path) in line
    assert "\n" not in line
    assert caught.value.exit_code == 2
    return line


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "state"
    save_state(
        path, {"step": 3, "model": {"a": torch.arange(3.0), "b": torch.tensor([[1, 2]]), "c": torch.tensor(1.0)}}
    )
    whole = path.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        assert_damaged(path)
    path.write_bytes(whole)
    assert load_state(path)["step"] == 3


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "state"
    save_state(path, small_state())
    whole = path.read_bytes()
    for length in range(len(whole)):  # 0: an emptied file
        path.write_bytes(whole[:length])
        assert_damaged(path)
    path.write_bytes(whole + b"\0")
    assert_damaged(path)


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"\xff" * 100, b"{}", b"\x02\0\0\0\0\0\0\0{}", b"text\n" * 50])
def test_what_is_no_checkpoint_is_damaged(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state"
    path.write_bytes(content)
    assert_damaged(path)


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("write", [lambda value, path: path.write_bytes(pickle.dumps(value)), torch.save])
def test_a_pickle_is_damaged_and_runs_nothing(tmp_path: Path, write: Callable[[Any, Path], object]) -> None:
    path = tmp_path / "state"
    write({"state": Trap(tmp_path / "sprung")}, path)
    assert_damaged(path)
    assert not (tmp_path / "sprung").exists()
    pickle.loads(pickle.dumps(Trap(tmp_path / "sprung")))
    assert (tmp_path / "sprung").exists()  # it would have


def test_other_safetensors_are_not_taken_for_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "state"
    for metadata in (None, {"format": "pt"}, {"format": "onecycle-state-0"}, {"format": "onecycle-state-1"}):
        save_file({"weight": torch.ones(2)}, path, metadata)
        assert_damaged(path)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    assert "no such file" in assert_damaged(tmp_path / "state")
    assert_damaged(tmp_path)


# --- the folder --------------------------------------------------------------------------------------------------


def test_the_last_two_stay(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "checkpoints")
    assert folder.paths() == []
    for step in (9, 10, 98, 1000, 123_456):
        path = folder.save(step, small_state(step))
        assert path in folder.paths()
        assert folder.newest(pytest.fail)["step"] == step
    assert [path.name for path in folder.paths()] == ["step-00001000.safetensors", "step-00123456.safetensors"]
    assert sorted(folder.path.iterdir()) == folder.paths()


def test_the_newest_damaged_falls_back_to_the_one_before_and_warns(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "checkpoints")
    folder.save(1, small_state(1))
    newest = folder.save(2, small_state(2))
    newest.write_bytes(newest.read_bytes()[:-1])
    warnings: list[str] = []
    assert same(folder.newest(warnings.append), small_state(1))
    (warning,) = warnings
    assert str(newest) in warning
    assert "going on from the checkpoint before it" in warning


def test_no_whole_checkpoint_is_an_error(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "checkpoints")
    with pytest.raises(UserError, match="there is no checkpoint"):
        folder.newest(pytest.fail)
    for step in (1, 2):
        folder.save(step, small_state(step)).write_bytes(b"")
    warnings: list[str] = []
    with pytest.raises(UserError, match="none of the 2 checkpoints is whole") as caught:
        folder.newest(warnings.append)
    assert str(folder.path) in str(caught.value)
    assert len(warnings) == 2


# --- a failing disk ----------------------------------------------------------------------------------------------


def assert_the_old_state_stands(folder: Path) -> None:
    assert [path.name for path in folder.iterdir()] == ["state"]
    assert same(load_state(folder / "state"), small_state(1))


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "the disk is full"), (errno.EIO, "cannot be written")],
)
@pytest.mark.parametrize("place", ["pathlib.Path.write_bytes", "os.fsync", "pathlib.Path.replace"])
def test_a_write_that_fails_leaves_the_old_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str, place: str
) -> None:
    path = tmp_path / "state"
    save_state(path, small_state(1))

    def fail(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(place, fail)
        with pytest.raises(UserError) as caught:
            save_state(path, small_state(2))
    assert caught.value.exit_code == 2
    (line,) = caught.value.problems
    assert said in line
    assert str(path) in line
    assert_the_old_state_stands(tmp_path)


def test_a_real_write_that_fails_leaves_the_old_state(tmp_path: Path) -> None:
    path = tmp_path / "state"
    save_state(path, small_state(1))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(UserError, match="the disk is full"):
            save_state(path, {"model": torch.zeros(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert_the_old_state_stands(tmp_path)


def test_a_folder_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written") as caught:
        save_state(tmp_path / "none" / "state", small_state())
    assert len(caught.value.problems) == 1


def test_an_interruption_leaves_the_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state"
    save_state(path, small_state(1))

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            save_state(path, small_state(2))
    assert_the_old_state_stands(tmp_path)
