"""One image file, of whatever kind and from whomever, to pixels.

What counts is what a viewer shows: EXIF's orientation is followed, what is transparent lies over white, of an animation
or of many pages the first is taken. Colour profiles are left aside, as most loaders do: values are taken for sRGB.
Nothing that is wrong with a file raises anything but `BadImage`, and it costs bounded time and memory: a file of
MAX_PIXELS up to 20 bytes a pixel, where it is a WebP.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from typing import Any, Final, Literal, cast, get_args

import numpy as np
import PIL.TiffImagePlugin
import PIL.WebPImagePlugin
from numpy.typing import NDArray
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError

from .quiet import no_warnings, silence

Image.preinit()  # with the two plugins above these are all formats; else Pillow loads every one it knows
Fit = Literal["crop", "pad", "squash"]
FORMATS: Final = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
SUFFIXES: Final = frozenset(suffix for suffix, name in Image.EXTENSION.items() if name in FORMATS)
VERSION: Final = f"3, Pillow {PIL.__version__}"  # raise the number where other pixels come of the same file
MAX_PIXELS: Final = 120_000_000  # telephones take 108 million
MAX_SIDE: Final = 100_000  # the filter's weights are 32 bytes a pixel of a side
_MAX_VALUES_IN_PYTHON: Final = 2048 * 2048  # Pillow reads BMP of run lengths, PPM as text or of 9 to 15 bits in Python
_PNG_LEVELS: Final = {"L;2": 85, "L;4": 17}  # what a step of grey becomes, of those with 2 and 4 bits
_MAX_COMMENTS: Final = 1000  # in a PPM as text; each costs a copy of the rest
_MAX_SCANS, _MAX_SCAN_PIXELS = 1000, 20 * MAX_PIXELS  # usual are 1 or 10; each goes over the whole image
_FINER: Final = 2  # a JPEG is decoded at 1/2, 1/4 or 1/8 where that leaves so many times the pixels needed
_TURNS: Final = {  # by EXIF's orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # of JPEG, but for those inside of a scan

silence()


class BadImage(Exception):
    """Why a file is no image that can be used."""


class LacksMemory(BadImage):
    """There is not enough memory for it here and now."""


def decode(content: bytes, *, side: int, fit: Fit = "crop") -> NDArray[np.uint8]:
    """The image in a file's content as RGB, uint8 [side, side, 3].

    "crop" takes the middle square, "pad" puts the whole image between black bars, "squash" scales each side by itself.
    Scaled with Pillow's antialiased bicubic filter, as the digits are: LANCZOS rings more at hard edges, which at 32
    pixels a side is seen. An image of `side` x `side` pixels comes out bit for bit. A JPEG of twice the size and more
    is decoded at a half, a quarter or an eighth of it first: 10 times faster at 12 million pixels, and within 4
    levels of 255 of the whole, 0.5 in the mean.

    Grey of 16 bits is scaled to 8; floats are taken for 0 to 1, or 0 to 255 where one is above 1. Raises BadImage, with
    a reason that does not name the file.
    """
    assert side > 0 and fit in get_args(Fit)
    if not content:
        raise BadImage("the file is empty")
    with _bad_images():
        return _decoded(content, side, fit)


def fit_image(image: Image.Image, *, side: int, fit: Fit = "crop") -> NDArray[np.uint8]:
    """An image that Pillow holds, in any mode, as RGB, uint8 [side, side, 3]: as `decode`, from all of its pixels.

    Raises BadImage where its file, which Pillow reads when the pixels are needed, is damaged.
    """
    assert side > 0 and fit in get_args(Fit)
    with _bad_images():
        image.load()
        return _fitted(image, image.size, 1.0, side, fit)


@contextlib.contextmanager
def _bad_images() -> Iterator[None]:
    """Turn whatever Pillow raises into BadImage, and keep its warnings off."""
    try:
        with no_warnings():
            yield
    except BadImage:
        raise
    except UnidentifiedImageError:
        raise BadImage(f"no image that can be read; it must be one of {', '.join(FORMATS)}") from None
    except Image.DecompressionBombError:
        raise BadImage(f"more than {MAX_PIXELS:,} pixels") from None
    except MemoryError:
        raise LacksMemory("there is not enough memory for it") from None
    except Exception as error:  # Pillow lets through whatever its parts raise: zlib.error, struct.error, KeyError, ...
        reason = re.sub(r"[^\x20-\x7e]+", " ", str(error))[:100] or type(error).__name__
        raise BadImage(f"damaged or cut short ({reason})") from None


def _decoded(content: bytes, side: int, fit: Fit) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        _check_cost(image, content)
        _scale_transparency(image)
        size = image.size
        # The middle square needs the shorter side; a mode is not asked for, as it would change the colours.
        drafted = image.draft(cast(str, None), (_FINER * side, _FINER * side))
        shrunk = size[0] / drafted[1][2] if drafted else 1.0
        image.load()
        if not drafted:
            size = image.size  # a TIFF turns itself
        return _fitted(image, size, shrunk, side, fit)


def _fitted(image: Image.Image, size: tuple[int, int], shrunk: float, side: int, fit: Fit) -> NDArray[np.uint8]:
    """The pixels that are wanted of an image of `size` pixels that was read at that divided by `shrunk`."""
    orientation = _orientation(image)
    simple, white = _simple(image)
    if orientation in _TURNS:  # before it is cut, so that it comes out as if it had been stored upright
        simple, size = simple.transpose(_TURNS[orientation]), size[::-1] if orientation >= 5 else size
    rgb = _rgb(np.asarray(_scaled(simple, size, shrunk, side, fit)), white)
    height, width = rgb.shape[:2]
    square = np.zeros((side, side, 3), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = rgb
    return square


def _check_cost(image: Image.Image, content: bytes) -> None:
    """Raise BadImage where decoding would cost too much; nothing but the header has been read."""
    width, height = image.size
    pixels = width * height
    if pixels > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise BadImage(f"{width:,} x {height:,} pixels; at most {MAX_PIXELS:,}, and {MAX_SIDE:,} a side")
    codecs = {tile[0] for tile in getattr(image, "tile", ())}
    if codecs & Image.DECODERS.keys() and pixels * len(image.getbands()) > _MAX_VALUES_IN_PYTHON:
        raise BadImage(f"{width:,} x {height:,} pixels; at most {_MAX_VALUES_IN_PYTHON:,} values in this kind of file")
    if "ppm_plain" in codecs and content.count(b"#") > _MAX_COMMENTS:
        raise BadImage(f"more than {_MAX_COMMENTS:,} comments")
    most = min(_MAX_SCANS, _MAX_SCAN_PIXELS // pixels)
    if "jpeg" in codecs and content.count(b"\xff\xda") > most and _scans(content) > most:
        raise BadImage(f"more than {most:,} scans of {width:,} x {height:,} pixels")


def _scans(content: bytes) -> int:
    """The scans of a JPEG up to its end; what is behind it, as the film of some telephones, is not looked at."""
    scans, position = 0, 2
    while found := _MARKER.search(content, position):
        marker, position = content[found.start() + 1], found.end()
        if marker == 0xD9:
            break
        scans += marker == 0xDA
        if marker not in (0x01, 0xD8):  # these have no length
            position += max(int.from_bytes(content[position : position + 2], "big"), 2)
    return scans


def _orientation(image: Image.Image) -> Any:
    """EXIF's, 1 where there is none that can be read: the pixels are good all the same."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:
        return 1


def _scale_transparency(image: Image.Image) -> None:
    """Bring a PNG's transparent colour to the 8 bits that Pillow brings its pixels to; before they are read."""
    tiles = getattr(image, "tile", ()) if image.format == "PNG" else ()
    transparent, kind = image.info.get("transparency"), tiles[0][3] if tiles else ""
    if isinstance(transparent, int) and kind in _PNG_LEVELS:
        image.info["transparency"] = transparent * _PNG_LEVELS[kind]
    elif isinstance(transparent, tuple) and kind == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in transparent)


def _simple(image: Image.Image) -> tuple[Image.Image, int]:
    """The image in a mode that can be scaled, and what value is white in it.

    The mode is L, I, F, RGB or, where a part of it is transparent, RGBa, whose colours are multiplied by alpha.
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _deep_grey(image)
    if image.has_transparency_data:
        return image.convert("RGBA").convert("RGBa"), 255
    return image.convert("L" if image.mode in ("1", "L") else "RGB"), 255


def _deep_grey(image: Image.Image) -> tuple[Image.Image, int]:
    """Grey of more than 8 bits as I or F, and what value is white in it."""
    transparent = image.info.get("transparency")
    bits, inverted = _tiff_levels(image)
    if isinstance(transparent, int):
        values = np.asarray(image)
        image = Image.fromarray(np.where(values == transparent, 65535, values).astype(np.uint16))
    image = image if image.mode == "F" else image.convert("I")
    low, high = cast(tuple[float, float], image.getextrema())
    white = 2**bits - 1 if image.mode == "I" else 255 if high > 1 else 1
    if not 0 <= low <= high <= white:
        raise BadImage(f"grey values from {low:g} to {high:g}; 0 to {white} is needed")
    if inverted and image.mode == "I":
        image = Image.fromarray(white - np.asarray(image))
    return image, white


def _tiff_levels(image: Image.Image) -> tuple[int, bool]:
    """Bits of a grey value, 16 unless a TIFF has 9 to 15, and whether 0 is white, which Pillow heeds up to 8 bits."""
    tags: Any = getattr(image, "tag_v2", {})
    bits = tags.get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0]
    return (bits if 8 < bits < 16 else 16), tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0


def _scaled(image: Image.Image, size: tuple[int, int], shrunk: float, side: int, fit: Fit) -> Image.Image:
    """The part that is wanted at the size that is wanted; `image` is `size` pixels divided by `shrunk`."""
    (width, height), target = size, (side, side)
    left = top = 0
    if fit == "crop":
        width = height = min(size)
        left, top = (size[0] - width) // 2, (size[1] - height) // 2
    elif fit == "pad":
        target = max(round(side * width / max(size)), 1), max(round(side * height / max(size)), 1)
    box = left / shrunk, top / shrunk, (left + width) / shrunk, (top + height) / shrunk
    return image.resize(target, Image.Resampling.BICUBIC, box)


def _rgb(values: NDArray[Any], white: int) -> NDArray[np.uint8]:
    """Grey [h, w], RGB [h, w, 3] or RGBa [h, w, 4] as RGB, over white."""
    if values.ndim == 2:
        levels = np.rint(values * (255 / white)).clip(0, 255)
        if not np.isfinite(levels).all():
            raise BadImage("grey values that are no numbers")
        return np.repeat(levels.astype(np.uint8)[..., None], 3, axis=2)
    if values.shape[2] == 3:
        return values
    uncovered = 255 - values[..., 3:].astype(np.int16)
    return (values[..., :3] + uncovered).clip(0, 255).astype(np.uint8)
