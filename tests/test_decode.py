"""Files to pixels: against slow references, in every format and mode, and what is refused."""

from __future__ import annotations

import io
import math
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import PIL
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps, PngImagePlugin, TiffImagePlugin
from torture.hostile_pictures import bmp, many_scans, png
from torture.pictures import KINDS, content_of, exif, picture

from onecycle.data import decode as module
from onecycle.data.decode import FORMATS, SUFFIXES, BadImage, Fit, decode

# Pillow before 13 does not read the TIFF in YCbCr that it writes.
READ = [kind for kind in KINDS if kind != ("TIFF", "YCbCr") or int(PIL.__version__.partition(".")[0]) >= 13]
FITS: tuple[Fit, ...] = ("crop", "pad", "squash")
# Where a step of a turn takes the pixel from that is shown at (row, column) of a square whose last index is n.
TURNS = {
    1: lambda row, column, n: (row, column),
    2: lambda row, column, n: (row, n - column),
    3: lambda row, column, n: (n - row, n - column),
    4: lambda row, column, n: (n - row, column),
    5: lambda row, column, n: (column, row),
    6: lambda row, column, n: (n - column, row),
    7: lambda row, column, n: (n - column, n - row),
    8: lambda row, column, n: (column, n - row),
}


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def as_file(pixels: NDArray[Any], name: str = "PNG", **options: Any) -> bytes:
    return content_of(Image.fromarray(pixels), name, **options)


def cubic(x: float) -> float:
    """Keys' cubic with a = -0.5: https://en.wikipedia.org/wiki/Bicubic_interpolation"""
    x = abs(x)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def scaled(values: NDArray[np.float64], size: int, start: float, end: float) -> NDArray[np.float64]:
    """The first axis from `start` to `end` as `size` values; the filter is widened where they become fewer."""
    scale = (end - start) / size
    wide = max(scale, 1.0)
    rows = []
    for place in range(size):
        centre = start + (place + 0.5) * scale
        weights = np.array([cubic((index + 0.5 - centre) / wide) for index in range(len(values))])
        rows.append(np.tensordot(weights / weights.sum(), values, axes=1))
    return np.stack(rows).clip(0, 255)


def reference(pixels: NDArray[np.uint8], side: int, fit: Fit, *, rows_first: bool) -> NDArray[np.float64]:
    """The square that is wanted of RGB pixels, in floats; the order matters where values are clipped in between."""
    height, width = pixels.shape[:2]
    top, left, tall, wide, rows, columns = 0, 0, height, width, side, side
    if fit == "crop":
        tall = wide = min(height, width)
        top, left = (height - tall) // 2, (width - wide) // 2
    elif fit == "pad":
        rows, columns = (max(round(side * one / max(height, width)), 1) for one in (height, width))
    found = pixels.astype(np.float64)
    for by_rows in (rows_first, not rows_first):
        if by_rows:
            found = scaled(found, rows, top, top + tall)
        else:
            found = scaled(found.swapaxes(0, 1), columns, left, left + wide).swapaxes(0, 1)
    square = np.zeros((side, side, 3))
    over, before = (side - rows) // 2, (side - columns) // 2
    square[over : over + rows, before : before + columns] = found
    return square


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("shape", [(32, 32), (40, 57), (61, 33), (9, 20), (1, 50), (50, 1), (97, 96), (1, 1)])
def test_scaling_against_a_slow_reference(fit: Fit, shape: tuple[int, int]) -> None:
    pixels = noise(*shape, seed=sum(shape))
    found = decode(as_file(pixels), side=32, fit=fit)
    assert found.shape == (32, 32, 3) and found.dtype == np.uint8 and found.flags.writeable
    either = (np.abs(found - reference(pixels, 32, fit, rows_first=first)).max() for first in (False, True))
    assert min(either) <= 1.5  # each of two passes rounds; Pillow takes the one first that leaves less to do


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("name", ["PNG", "BMP", "TIFF", "PPM"])
def test_an_image_of_the_side_is_kept_bit_for_bit(fit: Fit, name: str) -> None:
    pixels = noise(32, 32)
    np.testing.assert_array_equal(decode(as_file(pixels, name), side=32, fit=fit), pixels)


def test_the_middle_of_an_image_whose_shorter_side_fits_is_kept_bit_for_bit() -> None:
    pixels = noise(32, 51)
    np.testing.assert_array_equal(decode(as_file(pixels), side=32), pixels[:, 9:41])


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("name", ["PNG", "WEBP", "TIFF"])
def test_exif_turns_the_image(name: str, orientation: int) -> None:
    pixels = noise(16, 16)
    options = {"lossless": True} if name == "WEBP" else {}
    found = decode(as_file(pixels, name, exif=exif(orientation), **options), side=16)
    source = TURNS.get(orientation, TURNS[1])
    for row in range(16):
        for column in range(16):
            np.testing.assert_array_equal(found[row, column], pixels[source(row, column, 15)])


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_that_is_stored_turned_comes_out_as_the_upright_one(fit: Fit, orientation: int) -> None:
    turned = as_file(noise(21, 30), exif=exif(orientation))
    with Image.open(io.BytesIO(turned)) as image:
        upright = as_file(np.asarray(ImageOps.exif_transpose(image)))
    np.testing.assert_array_equal(decode(turned, side=15, fit=fit), decode(upright, side=15, fit=fit))


def test_a_jpeg_is_turned_by_its_exif() -> None:
    image = Image.fromarray(noise(24, 24))
    plain, turned = content_of(image, "JPEG"), content_of(image, "JPEG", exif=exif(6))
    np.testing.assert_array_equal(decode(turned, side=24), np.rot90(decode(plain, side=24), -1))


def test_what_is_transparent_lies_over_white() -> None:
    pixels = noise(8, 8, 4)
    pixels[0, :, 3], pixels[1, :, 3] = 0, 255
    found = decode(as_file(pixels), side=8)
    for row in range(8):
        for column in range(8):
            colour, alpha = pixels[row, column, :3].astype(float), int(pixels[row, column, 3])
            expected = [math.floor((value * alpha + 255 * (255 - alpha)) / 255 + 0.5) for value in colour]
            assert found[row, column].tolist() == expected
    assert (found[0] == 255).all() and (found[1] == pixels[1, :, :3]).all()


def test_grey_with_alpha_lies_over_white() -> None:
    content = content_of(Image.merge("LA", [Image.new("L", (4, 4), 100), Image.new("L", (4, 4), 51)]), "PNG")
    assert (decode(content, side=4) == 224).all()  # 100 x 0.2 + 255 x 0.8


def test_a_palette_and_its_transparent_entry() -> None:
    image = Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4))
    image.putpalette(bytes(range(48)))
    expected = np.arange(48).reshape(4, 4, 3)
    np.testing.assert_array_equal(decode(content_of(image, "PNG"), side=4), expected)
    for name in ("PNG", "GIF"):
        found = decode(content_of(image, name, transparency=5), side=4)
        assert (found[1, 1] == 255).all() and (found[1, 2] == expected[1, 2]).all()


@pytest.mark.parametrize("name", ["PNG", "TIFF", "PPM"])
def test_grey_of_16_bits_is_scaled_and_not_clipped(name: str) -> None:
    values = np.array([[0, 128, 129], [257, 32768, 65000], [65278, 65407, 65535]], np.uint16)
    found = decode(content_of(Image.fromarray(values), name), side=3)
    assert found[..., 0].tolist() == [[0, 0, 1], [1, 128, 253], [254, 255, 255]]
    assert (found[..., :1] == found).all()


def test_grey_of_16_bits_may_have_a_transparent_level() -> None:
    chunks = (b"tRNS", struct.pack(">H", 1000)), (b"IDAT", zlib.compress(b"\0" + struct.pack(">HH", 1000, 2570)))
    assert decode(png(2, 1, *chunks, bits=16), side=2, fit="pad")[0].tolist() == [[255] * 3, [10] * 3]


def test_floats_are_0_to_1_or_0_to_255() -> None:
    for values, expected in (([0.0, 0.2, 1.0], [0, 51, 255]), ([0.0, 51.4, 255.0], [0, 51, 255])):
        image = Image.fromarray(np.array([values] * 3, np.float32))
        for name in ("TIFF", "PPM"):
            assert decode(content_of(image, name), side=3)[0, :, 0].tolist() == expected
    for low, high in ((-1.0, 1.0), (0.0, 256.0), (0.0, math.inf), (math.nan, math.nan), (0.0, math.nan)):
        image = Image.fromarray(np.array([[low, high]] * 2, np.float32))
        with pytest.raises(BadImage, match="grey values"):
            decode(content_of(image, "TIFF"), side=2)


def test_integers_beyond_16_bits_are_refused() -> None:
    with pytest.raises(BadImage, match="grey values from 0 to 70000; 0 to 65535 is needed"):
        decode(content_of(Image.fromarray(np.array([[0, 70000]], np.int32)), "TIFF"), side=2)


def test_bilevel_and_cmyk() -> None:
    image = Image.fromarray(np.array([[True, False], [False, True]]))
    assert decode(content_of(image, "PNG"), side=2)[..., 1].tolist() == [[255, 0], [0, 255]]
    ink = Image.new("CMYK", (4, 4), (255, 0, 51, 0))
    assert np.abs(decode(content_of(ink, "TIFF"), side=4).astype(int) - [0, 255, 204]).max() == 0
    assert np.abs(decode(content_of(ink, "JPEG"), side=4).astype(int) - [0, 255, 204]).max() <= 3


@pytest.mark.parametrize("name", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animation_the_first_frame(name: str) -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("#ff0000", "#0000ff", "#00ff00")]
    options = {"lossless": True} if name == "WEBP" else {}
    content = content_of(frames[0], name, save_all=True, append_images=frames[1:], **options)
    assert decode(content, side=20)[9, 9].tolist() == [255, 0, 0]


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("quality", [60, 95])
def test_a_large_jpeg_is_read_smaller_and_hardly_differs(
    fit: Fit, quality: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Image.fromarray(noise(20, 30)).resize((601, 397), Image.Resampling.BICUBIC)
    content = as_file((np.asarray(small) * 0.9 + noise(397, 601) * 0.1).astype(np.uint8), "JPEG", quality=quality)
    found = decode(content, side=32, fit=fit).astype(int)
    monkeypatch.setattr(module, "_FINER", 1000)
    whole = decode(content, side=32, fit=fit)
    assert 0 < np.abs(found - whole).max() <= 4
    assert np.abs(found - whole).mean() < 0.5


@pytest.mark.parametrize(("name", "mode"), READ)
def test_every_format_and_mode(name: str, mode: str) -> None:
    """What a viewer shows, as far as Pillow's own conversion tells, and nothing else where the file is cut short."""
    image = picture(mode, 21, 17, np.random.default_rng(len(name + mode)))
    content = content_of(image, name)
    whole = decode(content, side=17)
    if name in ("PNG", "BMP", "TIFF") and mode in ("1", "L", "P", "RGB", "CMYK"):
        np.testing.assert_array_equal(whole, np.asarray(image.convert("RGB"))[:, 2:19])
    for end in sorted({*range(0, len(content), max(len(content) // 25, 1)), len(content) - 1}):
        try:
            found = decode(content[:end], side=17)
        except BadImage:
            continue
        assert np.array_equal(found, whole), f"{end} of {len(content)} bytes gave another image"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"<html>", "no image that can be read; it must be one of JPEG, PNG"),
        (content_of(Image.new("RGB", (9, 9)), "TGA"), "no image that can be read"),
        (content_of(Image.new("RGB", (9, 9)), "EPS"), "no image that can be read"),
        (png(20_000, 7_000), "20,000 x 7,000 pixels; at most 120,000,000, and 100,000 a side"),
        (png(100_001, 1), "100,001 x 1 pixels"),
        (png(2**31 - 1, 2**31 - 1), "more than 120,000,000 pixels"),
        (bmp(2049, 2048, b"\0\1"), "at most 4,194,304 values in this kind of file"),
        (b"P2 1 1 255\n" + b"#\n" * 1001 + b"7 ", "more than 1,000 comments"),
        (png(1, 1, (b"zTXt", b"a\0\0" + zlib.compress(bytes(10**7)))), "damaged or cut short"),
        (many_scans(1001, 16), "more than 1,000 scans of 16 x 16 pixels"),
    ],
)
def test_what_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(BadImage) as refusal:
        decode(content, side=8)
    assert reason in str(refusal.value)


def test_what_is_behind_a_jpeg_does_not_count_as_its_scans() -> None:
    pixels = content_of(Image.new("RGB", (16, 16), "#336699"), "JPEG", progressive=True)
    film = b"\xff\xda" * 2000
    np.testing.assert_array_equal(decode(pixels + film, side=16), decode(pixels, side=16))
    assert module._scans(pixels + film) == pixels.count(b"\xff\xda") == 10


def test_exif_that_cannot_be_read_does_not_cost_the_image() -> None:
    content = content_of(Image.fromarray(noise(16, 16)), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff broken")
    assert decode(content, side=16).shape == (16, 16, 3)


def test_memory_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "resize", fail)
    with pytest.raises(BadImage, match="not enough memory"):
        decode(as_file(noise(9, 9)), side=8)


def test_pillow_warns_of_nothing_in_any_thread(capfd: pytest.CaptureFixture[str]) -> None:
    whole = content_of(Image.fromarray(noise(16, 16)), "JPEG", exif=exif(1))
    odd = content_of(Image.fromarray(noise(16, 16)), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\x00\x09\x01\x12")
    cut = content_of(Image.fromarray(noise(16, 16)), "TIFF", compression="tiff_lzw").replace(b"\x80", b"\xff")
    with pytest.warns(UserWarning, match="Corrupt EXIF"):  # the file is such a one
        Image.open(io.BytesIO(odd)).getexif()
    before = list(warnings.filters)
    with warnings.catch_warnings(record=True) as warned, ThreadPoolExecutor(4) as pool:
        warnings.simplefilter("always")
        outcomes = list(pool.map(_tried, [whole, odd, cut] * 40))
    assert not warned and outcomes[:2] == ["image", "image"]
    assert list(warnings.filters) == before
    assert capfd.readouterr() == ("", "")


def _tried(content: bytes) -> str:
    try:
        decode(content, side=16)
    except BadImage:
        return "refused"
    return "image"


def test_formats_and_suffixes_belong_together() -> None:
    assert {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"} <= SUFFIXES
    assert all(suffix == suffix.lower() and Image.EXTENSION[suffix] in FORMATS for suffix in SUFFIXES)
    assert {TiffImagePlugin.TiffImageFile.format, PngImagePlugin.PngImageFile.format} <= set(FORMATS)


def grey_tiff(bits: int, white_is_zero: bool, values: bytes) -> bytes:
    """A TIFF of 8 x 8 grey pixels, as the standard has it; Pillow writes none of 12 bits."""
    tags = {256: 8, 257: 8, 258: bits, 259: 1, 262: 0 if white_is_zero else 1, 277: 1, 278: 8}
    entries = {**{tag: (3, value) for tag, value in tags.items()}, 273: (4, 8 + 2 + 12 * 9 + 4), 279: (4, len(values))}
    header = b"II*\0" + struct.pack("<IH", 8, len(entries))
    rows = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, (kind, value) in sorted(entries.items()))
    return header + rows + bytes(4) + values


@pytest.mark.parametrize(
    ("bits", "white_is_zero", "values", "level"),
    [
        (12, False, b"\xff" * 96, 255),
        (16, False, b"\x60\xea" * 64, 233),  # 60000
        (16, True, b"\x60\xea" * 64, 22),
        (8, True, b"\xf0" * 64, 15),
    ],
)
def test_a_tiff_of_grey_is_as_bright_as_its_tags_say(bits: int, white_is_zero: bool, values: bytes, level: int) -> None:
    assert np.unique(decode(grey_tiff(bits, white_is_zero, values), side=8)).tolist() == [level]


@pytest.mark.parametrize(
    ("depth", "colour", "row", "transparent"),
    [
        (2, 0, b"\x55" * 2, struct.pack(">H", 1)),
        (4, 0, b"\x55" * 4, struct.pack(">H", 5)),
        (8, 0, b"\x07" * 8, struct.pack(">H", 7)),
        (16, 2, struct.pack(">HHH", 1000, 2000, 3000) * 8, struct.pack(">HHH", 1000, 2000, 3000)),
    ],
)
def test_the_transparent_colour_of_a_png_is_white(depth: int, colour: int, row: bytes, transparent: bytes) -> None:
    header = struct.pack(">IIBBBBB", 8, 8, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"tRNS", transparent), (b"IDAT", zlib.compress(8 * (b"\0" + row))), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    content = b"\x89PNG\r\n\x1a\n" + b"".join(parts)
    assert np.unique(decode(content, side=8)).tolist() == [255]
    opaque = content.replace(parts[1], b"")
    assert decode(opaque, side=8).max() < 255
