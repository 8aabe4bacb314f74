"""Files that are replaced whole or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onecycle import files
from onecycle.errors import UserError

COLUMNS = ("name", "value, in %", "note")
# All that is text but line breaks, which no value has, NUL and halves of characters.
VALUES = st.text(st.characters(exclude_characters="\0\r\n", exclude_categories=["Cs"]), max_size=8)
ROWS = st.lists(st.fixed_dictionaries({column: VALUES for column in COLUMNS}), max_size=5)
WITHOUT_LOCKS = pytest.mark.skipif(sys.platform == "win32", reason="there are no locks on Windows")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- whole files -------------------------------------------------------------------------------------------------


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.write_text(path, "a long text that was here before")
    files.write_text(path, "nöw")
    assert path.read_bytes() == "nöw".encode()
    assert names(tmp_path) == ["file"]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no named pipes on Windows")
def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    path, found = tmp_path / "pipe", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: found.append(path.read_bytes()), daemon=True)
    reader.start()
    files.write_text(path, "through")
    reader.join(timeout=30)
    assert found == [b"through"] and path.is_fifo() and names(tmp_path) == ["pipe"]


@pytest.mark.skipif(sys.platform != "linux", reason="what a process has open has names on Linux alone")
def test_what_a_process_has_open_is_added_to_and_its_link_stays(tmp_path: Path) -> None:
    """As /dev/stdout is, where it was redirected to a file."""
    link = tmp_path / "stdout"
    with (tmp_path / "redirected").open("w") as file:
        link.symlink_to(f"/proc/self/fd/{file.fileno()}")
        files.write_text(link, "one, ")
        files.write_text(link, "two")
        files.write_text(Path(f"/dev/fd/{file.fileno()}"), ", three")
    assert link.is_symlink() and (tmp_path / "redirected").read_text() == "one, two, three"


def test_folders_made_for_what_fails_go_again(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(ValueError, match="on purpose"), files.made_folder(tmp_path / "there/new/deep"):
        raise ValueError("on purpose")
    assert names(tmp_path) == ["there"] and names(tmp_path / "there") == []
    with pytest.raises(ValueError, match="on purpose"), files.made_folder(tmp_path / "there/new/deep"):
        (tmp_path / "there/new/kept").write_text("")
        raise ValueError("on purpose")
    assert names(tmp_path / "there/new") == ["kept"]


def test_nothing_is_left_of_asking_whether_a_folder_can_be_made(tmp_path: Path) -> None:
    files.check_writable(tmp_path / "new" / "deeper")
    assert names(tmp_path) == []


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_a_failure_leaves_the_file_as_it_was(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(type(error)), files.atomic_path(path) as temporary:
        temporary.write_text("half of the n")
        assert path.read_text() == "old"
        raise error
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize(("number", "said"), [(errno.ENOSPC, "the disk is full"), (errno.EIO, "cannot be written")])
def test_an_error_of_the_disk_is_said_and_leaves_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    path = tmp_path / "file"
    path.write_text("old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UserError) as caught:
        files.write_text(path, "new")
    assert str(caught.value).startswith(f"{path}: {said}")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_folder_that_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written"):
        files.write_text(tmp_path / "missing" / "file", "")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such permissions on Windows")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_are_those_of_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        files.write_text(tmp_path / "file", "")
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


def test_json_comes_back(tmp_path: Path) -> None:
    value = {"accuracy": 0.5, "classes": ["é", "b"], "nothing": None}
    files.write_json(tmp_path / "file", value)
    assert files.read_json(tmp_path / "file") == value
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "file", float("nan"))
    assert files.read_json(tmp_path / "file") == value


# --- CSV ---------------------------------------------------------------------------------------------------------


@given(first=ROWS, then=ROWS)
def test_rows_come_back(tmp_path_factory: pytest.TempPathFactory, first: list, then: list) -> None:
    folder = tmp_path_factory.mktemp("csv")
    files.append_csv(folder / "appended", first, COLUMNS)
    files.append_csv(folder / "appended", then, COLUMNS)
    files.write_csv(folder / "whole", [*first, *then], COLUMNS)
    assert files.read_csv(folder / "appended") == [*first, *then]
    assert (folder / "whole").read_bytes() == (folder / "appended").read_bytes()


@given(rows=ROWS, data=st.data())
def test_wherever_it_is_cut_the_whole_rows_come_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("csv") / "file"
    files.write_csv(path, rows, COLUMNS)
    content = path.read_bytes()[: data.draw(st.integers(0, path.stat().st_size))]
    path.write_bytes(content)
    assert files.read_csv(path) == rows[: max(content.count(b"\n") - 1, 0)]


def test_values_are_text_and_none_is_empty(tmp_path: Path) -> None:
    files.write_csv(tmp_path / "file", [{"a": 1.5, "b": None}], ["a", "b"])
    assert files.read_csv(tmp_path / "file") == [{"a": "1.5", "b": ""}]


def test_write_csv_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.write_csv(path, [{"a": 1}, {"a": 2}], ["a"])
    with pytest.raises(ValueError, match="b"):
        files.write_csv(path, [{"b": 3}], ["a"])
    assert len(files.read_csv(path)) == 2
    files.write_csv(path, [], ["a"])
    assert path.read_bytes() == b"a\n"
    assert files.read_csv(path) == []
    assert names(tmp_path) == ["file"]


def test_an_empty_file_gets_a_header(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    files.append_csv(path, [{"a": 1}], ["a"])
    assert files.read_csv(path) == [{"a": "1"}]


def test_a_file_from_windows_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a,b\r\n1,2\r\n\r\n")
    assert files.read_csv(tmp_path / "file") == [{"a": "1", "b": "2"}]


def test_no_file_is_no_rows(tmp_path: Path) -> None:
    assert files.read_csv(tmp_path / "missing") == []


@pytest.mark.parametrize(
    "content",
    [
        b"\0\0\0\0",
        b"a,b\n1,2\n\0\0\n",
        b"a,b\n1,2\n\0\0",  # as a crash of the machine leaves a file that had grown
        b"\x89PNG\r\n\x1a\n",
        b"a,b\n\xff,2\n",
        b"a,b\n1,2\n\xff3",
        b'a,b\n"1,2\n3,4\n',
        b'a,b\n"1"1,2\n',
        b"a,b\n1\r2,3\n",
        b"a,b\n1\n",
        b"a,b\n1,2,3\n",
        b"a\n" + b"1" * 200_000 + b"\n",
    ],
)
def test_what_is_no_csv_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        files.read_csv(path)
    assert str(caught.value).startswith(f"{path}: not readable as CSV (")
    assert len(caught.value.problems) == 1


def test_a_folder_is_no_csv(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not readable as CSV"):
        files.read_csv(tmp_path)


# --- the lock ----------------------------------------------------------------------------------------------------

HOLDER = """
import sys
from pathlib import Path
from onecycle import files

with files.locked(Path(sys.argv[1]), wait=False):
    print("held", flush=True)
    sys.stdin.readline()
    Path(sys.argv[1] + ".left").touch()
"""


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / ".lock"


def hold(lock: Path) -> subprocess.Popen[str]:
    """Another process that holds the lock until it is sent a line, or killed."""
    command = [sys.executable, "-c", HOLDER, str(lock)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "held\n"
    return process


@WITHOUT_LOCKS
def test_who_does_not_wait_is_refused_while_another_process_holds_it(lock: Path) -> None:
    with hold(lock) as process:
        for _ in range(2):
            with pytest.raises(files.Locked, match=str(lock)), files.locked(lock, wait=False):
                pytest.fail("two hold the lock")
        process.communicate("\n", timeout=30)
    with files.locked(lock, wait=False):
        pass
    assert lock.exists()


@WITHOUT_LOCKS
def test_who_may_not_write_is_told_whether_it_is_held(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open

    def read_only(path: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
        if path == lock and mode != "rb":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, mode, *args, **options)

    with hold(lock) as process:
        monkeypatch.setattr(Path, "open", read_only)
        with pytest.raises(files.Locked), files.locked(lock, wait=False):
            pytest.fail("two hold the lock")
        process.communicate("\n", timeout=30)
    with files.locked(lock, wait=False):
        pass


@WITHOUT_LOCKS
def test_who_waits_gets_it_after_the_other(lock: Path) -> None:
    with hold(lock) as process:
        # The answer comes later than the question, by a shell that sleeps.
        assert process.stdin
        sleeper = subprocess.Popen(["sh", "-c", "sleep 0.3; echo"], stdout=process.stdin)
        with files.locked(lock, wait=True):
            assert lock.with_name(".lock.left").exists()
        sleeper.wait(timeout=30)


@WITHOUT_LOCKS
def test_a_process_that_is_killed_lets_go(lock: Path) -> None:
    with hold(lock) as process:
        process.kill()
        process.wait(timeout=30)
    with files.locked(lock, wait=False):
        pass


def test_an_error_of_the_holder_passes_and_lets_go(lock: Path) -> None:
    for number in (errno.EAGAIN, errno.ENOLCK):
        with pytest.raises(OSError) as caught, files.locked(lock, wait=False):
            raise OSError(number, "mine")
        assert caught.value.errno == number


@WITHOUT_LOCKS
@pytest.mark.parametrize("wait", [True, False])
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_without_locks_it_goes_on(lock: Path, monkeypatch: pytest.MonkeyPatch, number: int, wait: bool) -> None:
    refuse_locks(monkeypatch, number)
    entered = False
    with files.locked(lock, wait=wait):
        entered = True
    assert entered


@WITHOUT_LOCKS
def test_other_errors_of_locking_are_not_hidden(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_locks(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="from flock"), files.locked(lock, wait=True):
        pytest.fail("there is no lock")


def refuse_locks(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    import fcntl

    def refuse(file: object, operation: int) -> None:
        raise OSError(number, "from flock")

    monkeypatch.setattr(fcntl, "flock", refuse)
