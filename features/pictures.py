"""Decoding pictures of any kind found in catalogues into RGB."""

import ctypes
import io
import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from features.errors import FeatureError
from features.pixels import PixelBudget

MAX_PIXELS = 178_956_970
"""Pictures with more pixels are refused: a small file that unpacks to gigabytes would end the run."""
PIXELS_IN_FLIGHT = PixelBudget(1 << 26)
"""Of a process: 200 MB of RGB, whatever the number of threads; a picture with more is decoded alone."""
_LARGE = 1 << 22
"""Pixels from which on a picture's memory goes back to the system at once: 16 MB."""
ENOUGH = 1 << 20
"""Pixels of a picture that is kept until its batch is encoded: 3 MB; encoders look at 0.05 to 0.2 million."""
_REDUCED = (224, 224)
_GREY_16 = ("I;16", "I;16B", "I;16L", "I")


class UnreadableError(FeatureError):
    """A picture that cannot be decoded; recorded, never fatal."""


def decode(payload: bytes, *, max_pixels: int = MAX_PIXELS, at_most: int = ENOUGH) -> Image.Image:
    """Decode a picture into RGB, upright by its EXIF orientation, transparency on white, to keep many of them.

    Args:
        payload: the file's bytes.
        max_pixels: width times height of the largest picture that is decoded.
        at_most: pixels of what comes out; a larger picture is shrunk, sides in proportion.

    Raises `UnreadableError` for anything that is not a whole picture; out of memory is not the picture's fault.
    """
    with decoded(payload, max_pixels=max_pixels) as image:
        scale = (at_most / (image.width * image.height)) ** 0.5
        if scale >= 1:
            return image.copy()
        size = (max(1, int(image.width * scale)), max(1, int(image.height * scale)))
        return image.resize(size, Image.Resampling.BICUBIC)


@contextmanager
def decoded(
    payload: bytes, *, max_pixels: int = MAX_PIXELS, at_least: tuple[int, int] | None = None
) -> Iterator[Image.Image]:
    """A picture as `decode` has it, of its own size, while it is needed: so long it counts among the pixels in flight.

    Args: at_least: size that is enough; a JPEG is then decoded at a fraction of its own.
    """
    with _opened(payload, max_pixels, at_least) as (image, held), PIXELS_IN_FLIGHT.holding(held):
        upright = _upright(image)
        try:
            yield upright
        finally:
            _free(held, image, upright)


def require_readable(payload: bytes, *, max_pixels: int = MAX_PIXELS) -> None:
    """Decode all of a picture; a JPEG at reduced size, which reads every byte of it in a fraction of the time.

    Raises `UnreadableError` where `decode` does.
    """
    with (
        _opened(payload, max_pixels, _REDUCED) as (image, held),
        PIXELS_IN_FLIGHT.holding(held),
        _as_unreadable(),
    ):
        try:
            image.load()
            if image.mode == "F":
                _grey_of_floats(image)
        finally:
            _free(held, image)


def _free(pixels: int, *images: Image.Image) -> None:
    """Let go of the pixels now, not when Pillow's circles are collected.

    glibc keeps what a thread frees for that thread: of large pictures it gives the memory back, so that many threads,
    one after the other, do not keep a picture's memory each.
    """
    for image in images:
        image.close()
    if pixels >= _LARGE and platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def _opened(
    payload: bytes, max_pixels: int, at_least: tuple[int, int] | None = None
) -> Iterator[tuple[Image.Image, int]]:
    """The picture, not decoded yet, and the pixels that decoding it holds."""
    with _as_unreadable():
        image = Image.open(io.BytesIO(payload))
        whole = image.width * image.height
        if whole > max_pixels:
            raise UnreadableError(f"{image.width} x {image.height} pixels are too many")
        if at_least:
            image.draft("RGB", at_least)
        in_scans = "progressive" in image.info  # all coefficients are held, whatever the size that comes out
    yield image, whole if in_scans else image.width * image.height


@contextmanager
def _as_unreadable() -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata and large pictures
            yield
    except (UnreadableError, MemoryError):
        raise
    except UnidentifiedImageError as error:  # its own message names an address in memory
        raise UnreadableError("no picture of any known kind") from error
    except Exception as error:  # decoders raise whatever their format's library does
        raise UnreadableError(f"{type(error).__name__}: {error}") from error


def _upright(image: Image.Image) -> Image.Image:
    with _as_unreadable():
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return _to_rgb(image)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _GREY_16:
        image = image.point(lambda value: value / 256).convert("L")  # 16-bit grey keeps its range
    if image.mode == "F":
        image = _grey_of_floats(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _grey_of_floats(image: Image.Image) -> Image.Image:
    """Floats from 0 to 1, 0 to 255 or 0 to 65535, whichever is the least range that holds them, as 8-bit grey."""
    values = np.asarray(image)
    least, most = float(values.min()), float(values.max())
    scale = next((255 / top for top in (1, 255, 65_535) if most <= top), None)
    if scale is None or not least >= 0:
        raise UnreadableError(f"floats from {least:g} to {most:g}; 0 to 1, 0 to 255 or 0 to 65535 are read")
    return Image.fromarray((values * scale).round().astype(np.uint8))
