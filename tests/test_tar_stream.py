"""The reader of .tar.gz beside Python's tarfile and GNU tar, and what it makes of headers that lie."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
import zlib
from pathlib import Path

import pytest

from onecycle.data import tar_stream
from onecycle.data.tar_stream import TarFormatError, read_members

CONTENT = {b"set/one": b"1" * 5000, b"set/two": b"", b"set/three": b"3" * 512}
FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def packed(tar: bytes) -> io.BytesIO:
    deflate = zlib.compressobj(1, wbits=31)
    return io.BytesIO(deflate.compress(tar) + deflate.flush())


def header(name: str = "set/one", size: int = 0, kind: bytes = tarfile.REGTYPE) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("name", FORMATS)
def test_reads_what_tarfile_writes(name: str) -> None:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz", format=FORMATS[name]) as tar:
        for other in ("set", "o" * 90 + "/" + "p" * 90):  # a folder, and a name that needs a header of its own
            member = tarfile.TarInfo(other)
            member.type = tarfile.DIRTYPE
            member.mtime = 1.5
            tar.addfile(member)
        for path, content in CONTENT.items():
            member = tarfile.TarInfo(path.decode())
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    written.seek(0)
    assert read_members(written, CONTENT, 5000) == CONTENT


@pytest.mark.skipif(shutil.which("tar") is None, reason="there is no tar")
def test_reads_what_tar_writes(tmp_path: Path) -> None:
    for path, content in CONTENT.items():
        (tmp_path / path.decode()).parent.mkdir(exist_ok=True)
        (tmp_path / path.decode()).write_bytes(content)
    subprocess.run(["tar", "-czf", "set.tar.gz", "set"], cwd=tmp_path, check=True)
    with (tmp_path / "set.tar.gz").open("rb") as file:
        assert read_members(file, CONTENT, 5000) == CONTENT


def test_the_prefix_belongs_to_the_name() -> None:
    member = tarfile.TarInfo("a" * 60 + "/" + "b" * 60)
    archive = packed(member.tobuf(tarfile.USTAR_FORMAT))
    assert read_members(archive, [member.name.encode()], 0) == {member.name.encode(): b""}


KINDS = [tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE, tarfile.XHDTYPE]


@pytest.mark.parametrize("kind", KINDS)
def test_other_kinds_are_passed_over(kind: bytes) -> None:
    archive = packed(header(kind=kind, size=3) + b"bad".ljust(512, b"\0") + header(size=4) + b"good".ljust(512, b"\0"))
    assert read_members(archive, [b"set/one"], 10) == {b"set/one": b"good"}


def test_of_members_of_one_name_the_first_counts() -> None:
    archive = packed(b"".join(header(size=1) + text.ljust(512, b"\0") for text in (b"1", b"2")) + header("set/two"))
    assert read_members(archive, [b"set/one", b"set/two"], 1) == {b"set/one": b"1", b"set/two": b""}


DAMAGED = {
    "cut in a header": (header()[:300], "cut off in a header"),
    "cut in a member": (header(size=1000) + bytes(999), "cut off in set/one"),
    "too large": (header(size=5001), "set/one has 5001 bytes; at most 5000 are read"),
    "wrong checksum": (header()[:-1] + b"x", "a header's checksum is wrong"),
    "no numbers": (header()[:148] + b"nonsense" + header()[156:], "a header holds no octal number"),
    "negative size": (header(size=-1), "a header holds no octal number"),
    "size of petabytes": (header(size=2**60), "a header holds no octal number"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damage_is_said(case: str) -> None:
    tar, reason = DAMAGED[case]
    with pytest.raises(TarFormatError, match=reason):
        read_members(packed(tar), CONTENT, 5000)


def test_a_file_that_is_cut_off_and_one_that_is_no_gzip() -> None:
    archive = packed(header(size=5000) + bytes(range(250)) * 20).getvalue()
    with pytest.raises(TarFormatError, match="the file is cut off"):
        read_members(io.BytesIO(archive[:-20]), CONTENT, 5000)
    with pytest.raises(zlib.error):
        read_members(io.BytesIO(b"<html>not found</html>"), CONTENT, 5000)


def test_what_unpacks_to_too_much_and_what_unpacks_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_stream, "MAX_UNPACKED_BYTES", 100_000)
    empty_blocks = b"\0\0\0\xff\xff" * 30_000  # of deflate, each stored and without content
    header_of_gzip = packed(b"").getvalue()[:10]
    for content in (packed(header("other", 10**9) + bytes(200_000)), io.BytesIO(header_of_gzip + empty_blocks)):
        with pytest.raises(TarFormatError, match="more than 100000 bytes"):
            read_members(content, CONTENT, 5000)
