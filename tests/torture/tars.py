"""Archives that lie: hostile members before the genuine ones, headers of nonsense, and bombs."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Callable, Iterable, Mapping

from numpy.random import Generator

Tar = Callable[[bytes], bytes]  # from the genuine members' bytes to an archive, not yet packed


def tar_of(members: Mapping[str, bytes]) -> bytes:
    """A tar of regular members, with the blocks of zeros that end it."""
    return b"".join(member(name, content) for name, content in members.items()) + bytes(1024)


def member(name: str, content: bytes = b"", *, kind: bytes = tarfile.REGTYPE, size: int | None = None) -> bytes:
    """A member; `size` is announced instead of the content's."""
    return header(name, len(content) if size is None else size, kind=kind) + content + bytes(-len(content) % 512)


def header(name: str, size: int, *, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    """One block; sizes beyond octal's 8 GB, and negative ones, are written as GNU tar does."""
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, link
    return info.tobuf(tarfile.GNU_FORMAT)


def with_checksum(block: bytes) -> bytes:
    """The header block with a checksum that is right."""
    total = sum(block[:148]) + sum(b" " * 8) + sum(block[156:512])
    return block[:148] + b"%06o\0 " % total + block[156:]


def packed(tar: bytes, level: int = 1) -> bytes:
    return gzip.compress(tar, level, mtime=0)


def pax(records: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    return member("./PaxHeaders/x", records, kind=kind)


def lies(folder: str, name: str) -> dict[str, Tar]:
    """Archives by what is wrong with them; `name` is a genuine file's, `folder` that of all."""
    path, evil = f"{folder}/{name}", b"evil" * 100
    outside = ("/etc/onecycle-evil", "../evil", f"{folder}/../../evil", f"/{path}", f"../{path}", f"{folder}//{name}")
    odd = (f"{path}/", f"./{path}", f"{folder}\\{name}", f"{path}\x01", f"{folder}/" + "é" * 40)
    kinds = {
        "hard link": tarfile.LNKTYPE,
        "symbolic link": tarfile.SYMTYPE,
        "character device": tarfile.CHRTYPE,
        "block device": tarfile.BLKTYPE,
        "pipe": tarfile.FIFOTYPE,
        "folder": tarfile.DIRTYPE,
        "contiguous file": tarfile.CONTTYPE,
        "unknown kind": b"Z",
        "Solaris header": tarfile.SOLARIS_XHDTYPE,
        "volume": b"V",
    }
    nonsense = (
        b"",
        b"\0" * 512,
        b"99999999999 path=x\n",
        b"-5 path=x\n",
        b"12 size=-99\n",
        b"30 path=\xff\xfe\n",
        b"x" * 900,
    )
    sizes = {"petabytes": 2**60, "negative": -512, "ten GB": 10 * 2**30, "a GB": 2**30, "one too many": 512 * 40}
    one: dict[str, Tar] = {}
    one |= {f"member {other!r}": _before(member(other, evil)) for other in (*outside, *odd)}
    one |= {
        f"{what} of a file's name": _before(header(path, 0, kind=kind, link="/etc/passwd"))
        for what, kind in kinds.items()
    }
    one |= {f"size of {what}": _before(header(path, size)) for what, size in sizes.items()}
    one |= {f"size of {what}, another's": _before(header("other", size)) for what, size in sizes.items()}
    one |= {f"PAX of nonsense {number}": _before(pax(text)) for number, text in enumerate(nonsense)}
    one |= {
        f"global PAX of nonsense {number}": _before(pax(text, tarfile.XGLTYPE)) for number, text in enumerate(nonsense)
    }
    one |= {
        "PAX that renames": _before(pax(b"%d path=%s\n" % (len(path) + 9, path.encode())) + member("other", evil)),
        "PAX size of a TB": _before(pax(b"22 size=1099511627776\n")),
        "GNU long name of 8 MB": _before(member("././@LongLink", b"n" * 2**23, kind=tarfile.GNUTYPE_LONGNAME)),
        "GNU long link of 8 MB": _before(member("././@LongLink", b"n" * 2**23, kind=tarfile.GNUTYPE_LONGLINK)),
        "sparse of a TB": _before(_sparse(path, 2**40)),
        "sparse without end": _before(_sparse(path, 2**40, extended=True)),
        "file twice": lambda genuine: genuine[:-1024] + genuine,
        "empty": lambda genuine: b"",
        "only zeros": lambda genuine: bytes(10240),
        "zeros first": lambda genuine: bytes(1024) + genuine,
        "not ended": lambda genuine: genuine[:-1024],
        "half": lambda genuine: genuine[: len(genuine) // 2],
        "noise after": lambda genuine: genuine + b"noise" * 1000,
    }
    return one


def bombs(folder: str) -> dict[str, Callable[[], bytes]]:
    """Whole files that are small, or small for what they unpack to; made when called."""
    return {
        "a GB of zeros": lambda: _packed_blocks(bytes(2**20) for _ in range(1024)),
        "a GB in one member": lambda: _packed_blocks([header("other", 2**30), *(bytes(2**20) for _ in range(1024))]),
        "300,000 empty members": lambda: _packed_blocks([member(f"{folder}/other")] * 300_000),
        "100,000 PAX headers": lambda: _packed_blocks([pax(b"9 a=bcde\n")] * 100_000),
        "100,000 long names": lambda: _packed_blocks(
            [member("././@LongLink", b"name\0", kind=tarfile.GNUTYPE_LONGNAME)] * 100_000
        ),
        "PAX of 10,000,000 words": lambda: _packed_blocks(
            [pax(b"".join(b"12 %07d=\n" % i for i in range(10_000_000)))]
        ),
        "PAX of 100 MB of digits": lambda: _packed_blocks([pax(b"1" * 100_000_000)]),
        "gzip name of 50 MB": lambda: b"\x1f\x8b\x08\x08" + bytes(6) + b"n" * 50_000_000,
        "empty blocks of deflate": lambda: b"\x1f\x8b\x08" + bytes(7) + b"\0\0\0\xff\xff" * 10_000_000,
        "empty gzip streams": lambda: gzip.compress(b"", mtime=0) * 500_000,
        "gzip in gzip": lambda: gzip.compress(gzip.compress(bytes(10_000_000), mtime=0), mtime=0),
    }


def mutated(tar: bytes, headers: list[int], random: Generator) -> bytes:
    """A packed archive whose headers (at these positions) or packed bytes were mutated."""
    kind = random.integers(6)
    if kind == 0:
        whole = packed(tar)
        return whole[: random.integers(len(whole))]
    if kind == 1:
        whole = bytearray(packed(tar))
        for _ in range(random.integers(1, 9)):
            whole[random.integers(len(whole))] ^= 1 << random.integers(8)
        return bytes(whole)
    start = headers[random.integers(len(headers))]
    block = bytearray(tar[start : start + 512])
    for _ in range(random.integers(1, 5)):
        # the fields that are read: name, size, kind, magic, prefix
        low, high = [(0, 100), (124, 136), (156, 157), (257, 265), (345, 500), (0, 512)][random.integers(6)]
        text = b"0123456789\0 /.-x\x80\xff"
        block[random.integers(low, high)] = (
            text[random.integers(len(text))] if random.random() < 0.7 else random.integers(256)
        )
    changed = bytes(block) if kind == 2 else with_checksum(bytes(block))
    return packed(tar[:start] + changed + tar[start + 512 :])


def _before(first: bytes) -> Tar:
    return lambda genuine: first + genuine


def _sparse(name: str, size: int, *, extended: bool = False) -> bytes:
    """A member of GNU's old sparse format: one byte at its end, the rest a hole."""
    block = bytearray(header(name, 512, kind=tarfile.GNUTYPE_SPARSE))
    block[386:410] = b"%011o\0%011o\0" % (2**33 - 512, 512)
    block[482] = extended
    block[483:495] = b"\x80" + size.to_bytes(11, "big")
    return with_checksum(bytes(block)) + b"x" * 512


def _packed_blocks(blocks: Iterable[bytes]) -> bytes:
    deflate, written = zlib.compressobj(1, wbits=31), io.BytesIO()
    for block in blocks:
        written.write(deflate.compress(block))
    written.write(deflate.flush())
    return written.getvalue()
