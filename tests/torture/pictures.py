"""Image files of every format and mode that is read, and what strangers may have done to them."""

from __future__ import annotations

import functools
import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

MODES = {
    "JPEG": ("L", "RGB", "CMYK"),
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "BMP": ("1", "L", "P", "RGB", "RGBA"),
    "GIF": ("1", "L", "P", "RGB", "RGBA"),
    "WEBP": ("RGB", "RGBA"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F"),
    "PPM": ("1", "L", "RGB", "I;16", "F"),
}
KINDS = tuple((name, mode) for name, modes in MODES.items() for mode in modes)
_COMPRESSIONS = ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits")
_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def picture(mode: str, width: int, height: int, random: np.random.Generator) -> Image.Image:
    """Noise in `mode`, all of its values."""
    if mode == "I;16":
        return Image.fromarray(random.integers(0, 65536, (height, width), dtype=np.uint16))
    if mode == "I":
        return Image.fromarray(random.integers(0, 65536, (height, width), dtype=np.int32))
    if mode == "F":
        return Image.fromarray((255 * random.random((height, width))).astype(np.float32))
    if mode == "1":
        return Image.fromarray(random.integers(0, 2, (height, width)).astype(bool))
    if mode == "P":
        found = Image.fromarray(random.integers(0, 256, (height, width), dtype=np.uint8))
        found.putpalette(random.integers(0, 256, 768, dtype=np.uint8).tobytes())
        return found
    bands = Image.getmodebands(mode)
    values = random.integers(0, 256, (height, width, bands), dtype=np.uint8)
    return Image.frombytes(mode, (width, height), values.tobytes())


def content_of(image: Image.Image, name: str, **options: object) -> bytes:
    """The file of an image."""
    file = io.BytesIO()
    image.save(file, name, **options)  # type: ignore[arg-type]
    return file.getvalue()


def exif(orientation: int) -> bytes:
    """The EXIF part of a file that says how the image is to be turned."""
    values = Image.Exif()
    values[0x0112] = orientation
    return values.tobytes()


def options_of(name: str, random: np.random.Generator) -> dict[str, object]:
    """Some way to write the format."""
    turned = {"exif": exif(int(random.integers(0, 10)))} if random.random() < 0.3 else {}
    if name == "JPEG":
        return {"progressive": bool(random.integers(2)), "restart_marker_blocks": int(random.integers(3)), **turned}
    if name == "PNG":
        return turned
    if name == "WEBP":
        return {"lossless": bool(random.integers(2)), "method": 0, **turned}
    if name == "TIFF":
        return {"compression": _COMPRESSIONS[random.integers(len(_COMPRESSIONS))], "big_tiff": bool(random.integers(2))}
    if name == "GIF":
        return {"interlace": int(random.integers(2))}
    return {}


@functools.cache
def bases(seed: int) -> tuple[tuple[str, bytes], ...]:
    """Three files of every kind, and of those that can be animated one with frames."""
    random = np.random.default_rng((seed, 0))
    found = []
    for name, mode in KINDS:
        for _ in range(3):
            image = picture(mode, int(random.integers(1, 60)), int(random.integers(1, 60)), random)
            found.append((f"{name} {mode}", content_of(image, name, **options_of(name, random))))
    for name in ("GIF", "PNG", "WEBP", "TIFF"):
        frames = [picture("RGB", 40, 30, random) for _ in range(3)]
        found.append((f"{name} animated", content_of(frames[0], name, save_all=True, append_images=frames[1:])))
    return tuple(found)


def mutant(seed: int, number: int) -> tuple[str, bytes]:
    """A file that was whole once, and what was done to it; the same for the same numbers."""
    random = np.random.default_rng((seed, 1, number))
    files = bases(seed)
    kind, content = files[random.integers(len(files))]
    done = []
    for _ in range(random.integers(1, 4)):
        mutate = _MUTATIONS[random.integers(len(_MUTATIONS))]
        content = mutate(content, random, seed) if content else content
        done.append(mutate.__name__.strip("_"))
    if kind.startswith("PNG") and random.random() < 0.7:
        content = with_checksums(content)
    return f"{kind}: {', '.join(done)}", content


def with_checksums(content: bytes) -> bytes:
    """A PNG whose checksums are right again, so that what was changed is looked at."""
    fixed, position = bytearray(content), 8
    while position + 12 <= len(fixed):
        end = position + 8 + int.from_bytes(fixed[position : position + 4], "big")
        if end + 4 > len(fixed):
            break
        fixed[end : end + 4] = struct.pack(">I", zlib.crc32(fixed[position + 4 : end]))
        position = end + 4
    return bytes(fixed)


def _place(content: bytes, random: np.random.Generator) -> int:
    """Half of the times in the header."""
    return int(random.integers(min(len(content), 80) if random.random() < 0.5 else len(content)))


def _cut_short(content: bytes, random: np.random.Generator, seed: int) -> bytes:
    return content[: random.integers(len(content))]


def _bits_flipped(content: bytes, random: np.random.Generator, seed: int) -> bytes:
    changed = bytearray(content)
    for _ in range(random.integers(1, 9)):
        changed[_place(content, random)] ^= 1 << int(random.integers(8))
    return bytes(changed)


def _number_changed(content: bytes, random: np.random.Generator, seed: int) -> bytes:
    """A field of 1, 2 or 4 bytes, such as a length, a side or an offset."""
    size = int(random.choice([1, 2, 4]))
    value = int(random.choice(_EXTREMES)) & (256**size - 1)
    place = _place(content, random)
    field = value.to_bytes(size, "big" if random.integers(2) else "little")
    return content[:place] + field + content[place + size :]


def _piece_removed(content: bytes, random: np.random.Generator, seed: int) -> bytes:
    place = _place(content, random)
    return content[:place] + content[place + int(random.integers(1, 65)) :]


def _piece_repeated(content: bytes, random: np.random.Generator, seed: int) -> bytes:
    place = _place(content, random)
    return content[:place] + content[place : place + int(random.integers(1, 65))] * 3 + content[place:]


def _zeros(content: bytes, random: np.random.Generator, seed: int) -> bytes:
    place, length = _place(content, random), int(random.integers(1, 65))
    return content[:place] + bytes(length) + content[place + length :]


def _joined(content: bytes, random: np.random.Generator, seed: int) -> bytes:
    files = bases(seed)
    return content + files[random.integers(len(files))][1]


def _spliced(content: bytes, random: np.random.Generator, seed: int) -> bytes:
    """The beginning of this file, the rest of another, perhaps of another format."""
    files = bases(seed)
    return content[: _place(content, random)] + files[random.integers(len(files))][1][int(random.integers(80)) :]


_MUTATIONS: tuple[Callable[[bytes, np.random.Generator, int], bytes], ...] = (
    _cut_short,
    _bits_flipped,
    _number_changed,
    _number_changed,
    _piece_removed,
    _piece_repeated,
    _zeros,
    _joined,
    _spliced,
)
