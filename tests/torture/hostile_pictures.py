"""Image files made to hurt, each with what must come of it."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from torture.pictures import content_of, exif, picture

Expected = str  # "image", "refused" or "either"
_HUGE = (40_000, 40_000)
_RANDOM = np.random.default_rng(0)


def png(width: int, height: int, *chunks: tuple[bytes, bytes], bits: int = 8, colour: int = 0) -> bytes:
    """A PNG of these chunks between header and end."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in parts
    )


def bmp(width: int, height: int, body: bytes, compression: int = 1) -> bytes:
    """A BMP of 8 bits a pixel with a black palette, by default of run lengths."""
    information = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, compression, 0, 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 54 + 1024) + information + bytes(1024) + body


def tiff(*tags: tuple[int, int, int, int]) -> bytes:
    """A little-endian TIFF of tags (number, type, count, value or offset) and 64 bytes of data at 8."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<I", 72) + bytes(range(64)) + struct.pack("<H", len(tags)) + entries + bytes(4)


def _grey_tiff(**changed: tuple[int, int, int, int]) -> bytes:
    tags = {
        "width": (256, 4, 1, 8),
        "height": (257, 4, 1, 8),
        "bits": (258, 3, 1, 8),
        "compression": (259, 3, 1, 1),
        "photometric": (262, 3, 1, 1),
        "offsets": (273, 4, 1, 8),
        "samples": (277, 3, 1, 1),
        "rows": (278, 4, 1, 8),
        "counts": (279, 4, 1, 64),
        **changed,
    }
    return tiff(*tags.values())


def many_scans(scans: int, side: int, *, progressive: bool = True) -> bytes:
    """A JPEG whose last scan is there again and again."""
    content = content_of(Image.new("RGB", (side, side), (9, 99, 200)), "JPEG", progressive=progressive)
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * scans + content[-2:]


def _webp_canvas(width: int, height: int) -> bytes:
    """A WebP that announces a canvas, and has none."""
    body = b"\x10\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    chunk = b"VP8X" + struct.pack("<I", 10) + body
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def _gif_frame(left: int, top: int, width: int, height: int) -> bytes:
    """A GIF of 9 x 9 whose only frame lies elsewhere."""
    content = bytearray(content_of(picture("P", 9, 9, _RANDOM), "GIF"))
    place = content.index(b"," + struct.pack("<4H", 0, 0, 9, 9)) + 1
    content[place : place + 8] = struct.pack("<4H", left, top, width, height)
    return bytes(content)


def _markers_cut() -> bytes:
    content = content_of(picture("RGB", 90, 90, _RANDOM), "JPEG", restart_marker_blocks=1)
    return content.replace(b"\xff\xd3", b"").replace(b"\xff\xd5", b"\xff\xd1")


def _animated(name: str) -> bytes:
    frames = [picture("RGB", 40, 30, _RANDOM) for _ in range(20)]
    return content_of(frames[0], name, save_all=True, append_images=frames[1:])


def _largest(name: str, mode: str) -> bytes:
    """As many pixels as are let through."""
    options = {"lossless": True, "method": 0} if name == "WEBP" else {"compress_level": 1} if name == "PNG" else {}
    return content_of(Image.new(mode, (10_900, 10_900)), name, **options)


def _text(name: bytes, count: int) -> bytes:
    """A PNG with compressed text, 10 MB each."""
    content = zlib.compress(bytes(10_000_000))
    body = {
        b"zTXt": b"Comment\0\0" + content,
        b"iTXt": b"Comment\0\1\0\0\0" + content,
        b"iCCP": b"profile\0\0" + content,
    }[name]
    return png(1, 1, *[(name, body)] * count, (b"IDAT", zlib.compress(b"\0\7")))


def _archive() -> bytes:
    import zipfile

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(10_000_000))
    return file.getvalue()


def _others() -> Iterator[tuple[str, Callable[[], bytes], Expected]]:
    yield "nothing", lambda: b"", "refused"
    yield "one byte", lambda: b"\xff", "refused"
    yield "zeros", lambda: bytes(100_000), "refused"
    yield "HTML", lambda: b"<!doctype html><title>404</title>", "refused"
    yield "SVG", lambda: b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', "refused"
    yield "PostScript", lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n", "refused"
    yield "zip", _archive, "refused"
    yield "PDF", lambda: content_of(Image.new("RGB", (9, 9)), "PDF"), "refused"
    for name in ("ICO", "TGA", "PCX", "SGI", "DDS", "ICNS", "XBM"):
        mode = "1" if name == "XBM" else "RGB"
        yield f"{name}, which is not read", lambda n=name, m=mode: content_of(Image.new(m, (32, 32)), n), "refused"
    # bombs
    yield "PNG of 2^31 a side", lambda: png(2**31 - 1, 2**31 - 1, (b"IDAT", zlib.compress(b"\0\7"))), "refused"
    yield "PNG of 2^32 a side", lambda: png(2**32 - 1, 2**32 - 1, (b"IDAT", zlib.compress(b"\0\7"))), "refused"
    yield "PNG of no width", lambda: png(0, 9, (b"IDAT", zlib.compress(b""))), "refused"
    yield "PNG bomb", lambda: png(*_HUGE, (b"IDAT", zlib.compress(bytes(10_000_000)))), "refused"
    yield "PNG of one line of 10^8", lambda: png(10**8, 1, (b"IDAT", zlib.compress(bytes(10**7))), bits=1), "refused"
    yield "PNG of one column of 10^8", lambda: png(1, 10**8, (b"IDAT", zlib.compress(bytes(10**7))), bits=1), "refused"
    yield "PNG of 100,000 x 1", lambda: png(10**5, 1, (b"IDAT", zlib.compress(bytes(10**5 + 1)))), "image"
    yield "PNG of 1 x 100,000", lambda: png(1, 10**5, (b"IDAT", zlib.compress(bytes(2 * 10**5)))), "image"
    yield "PNG with more data than pixels", lambda: png(9, 9, (b"IDAT", zlib.compress(bytes(10**7)))), "either"
    yield "PNG whose data bursts", lambda: png(9, 9, (b"IDAT", zlib.compress(bytes(10**9), 1))), "either"
    for name in (b"zTXt", b"iTXt", b"iCCP"):
        yield f"PNG, {name.decode()} of 10 MB", lambda n=name: _text(n, 1), "refused" if name != b"iCCP" else "either"
        yield f"PNG, {name.decode()} of 10 MB, 100 times", lambda n=name: _text(n, 100), "either"
    yield (
        "PNG of 100,000 chunks",
        lambda: png(1, 1, *[(b"tEXt", b"a\0b")] * 10**5, (b"IDAT", zlib.compress(b"\0\7"))),
        "image",
    )
    yield (
        "GIF bomb",
        lambda: b"GIF89a" + struct.pack("<HH", 65535, 65535) + _gif_frame(0, 0, 65535, 65535)[10:],
        "refused",
    )
    yield "BMP bomb", lambda: bmp(*_HUGE, b"\0\1"), "refused"
    yield "BMP of negative sides", lambda: bmp(-9, -(2**31), b"\0\1"), "refused"
    yield "BMP whose runs jump", lambda: bmp(2048, 2048, b"\0\2\xff\xff" * 1000), "either"
    yield "BMP of ends of lines", lambda: bmp(2048, 2048, b"\1\1\0\0" * 5000 + b"\0\1"), "either"
    yield "BMP of runs, too large", lambda: bmp(2049, 2048, b"\0\1"), "refused"
    yield "TIFF bomb", lambda: _grey_tiff(width=(256, 4, 1, 40_000), height=(257, 4, 1, 40_000)), "refused"
    yield "PPM bomb", lambda: b"P6 40000 40000 255\n" + bytes(1000), "refused"
    yield "PPM of a side of 1000 digits", lambda: b"P6 " + b"9" * 1000 + b" 9 255\n", "refused"
    yield "PPM as text, comments", lambda: b"P2 1 1 255\n" + b"#\n" * 10**6 + b"7 ", "refused"
    yield "PPM as text, one comment", lambda: b"P2 1 1 255\n#" + b"x" * 10**7 + b"\n7 ", "image"
    yield "PPM as text, blanks", lambda: b"P2 1 1 255\n" + b" " * 10**7 + b"7 ", "image"
    yield "PPM as text, too large", lambda: b"P3 2048 2048 255\n" + b"1 " * (3 * 2048 * 2048), "refused"
    yield "PPM of 12 bits", lambda: b"P5 2048 2048 4095\n" + bytes(2 * 2048 * 2048), "image"
    yield "WebP bomb", lambda: _webp_canvas(2**24, 200), "refused"
    yield "WebP canvas of 2^24 a side", lambda: _webp_canvas(2**24, 2**24), "refused"
    yield "JPEG of 1000 scans", lambda: many_scans(1000, 3000), "refused"
    yield "JPEG of 10,000 scans", lambda: many_scans(10_000, 30), "refused"
    yield "JPEG of 100,000 scans", lambda: many_scans(100_000, 30), "refused"
    yield "JPEG of 900 scans", lambda: many_scans(900, 1000), "image"
    yield "JPEG of one scan again and again", lambda: many_scans(50_000, 1000, progressive=False), "refused"
    yield (
        "JPEG with a film behind it",
        lambda: content_of(Image.new("RGB", (99, 99)), "JPEG") + b"\xff\xda" * 9999,
        "image",
    )
    # as many pixels as may be
    for name, mode in (
        ("PNG", "RGBA"),
        ("PNG", "I;16"),
        ("GIF", "P"),
        ("WEBP", "RGBA"),
        ("JPEG", "CMYK"),
        ("BMP", "RGB"),
    ):
        yield f"{name} {mode} of 119 million pixels", lambda n=name, m=mode: _largest(n, m), "image"
    # odd, not evil
    yield "JPEG with restart markers cut", _markers_cut, "either"
    yield "JPEG, CMYK", lambda: content_of(picture("CMYK", 50, 40, _RANDOM), "JPEG"), "image"
    for turn in range(10):
        yield (
            f"JPEG turned by {turn}",
            lambda t=turn: content_of(picture("RGB", 50, 40, _RANDOM), "JPEG", exif=exif(t)),
            "image",
        )
    yield "GIF with a frame outside", lambda: _gif_frame(60_000, 9, 9, 9), "either"
    yield "GIF with a frame far outside", lambda: _gif_frame(65_535, 65_535, 65_535, 65_535), "refused"
    for name in ("GIF", "PNG", "WEBP", "TIFF"):
        yield f"{name}, animated", lambda n=name: _animated(n), "image"
    yield "TIFF", _grey_tiff, "image"
    for change in (
        {"bits": (258, 3, 1, 65535)},
        {"bits": (258, 3, 2**31, 8)},
        {"samples": (277, 4, 1, 2**31)},
        {"compression": (259, 3, 1, 50001)},
        {"compression": (259, 3, 1, 7)},
        {"offsets": (273, 4, 1, 2**32 - 1)},
        {"offsets": (273, 4, 10**9, 8)},
        {"counts": (279, 4, 1, 2**32 - 1)},
        {"rows": (278, 4, 1, 0)},
        {"width": (256, 4, 1, 0)},
        {"width": (256, 2, 1, 0x41414141)},
        {"tile": (322, 4, 1, 2**31), "tile height": (323, 4, 1, 2**31), "tiles": (324, 4, 1, 8)},
        {"photometric": (262, 3, 1, 32803)},
        {"predictor": (317, 3, 1, 99), "compression": (259, 3, 1, 8)},
        {"palette": (320, 3, 768, 8), "photometric": (262, 3, 1, 3)},
        {"orientation": (274, 3, 1, 999)},
        {"exif": (34665, 4, 1, 72)},
    ):
        named = ", ".join(f"{key} {value[1:]}" for key, value in change.items())
        yield f"TIFF with {named}", lambda c=change: _grey_tiff(**c), "either"
    yield "TIFF whose pages are a ring", lambda: _grey_tiff()[:-4] + struct.pack("<I", 72), "either"


HOSTILE = tuple(_others())
