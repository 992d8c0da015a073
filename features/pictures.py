"""Decoding pictures of any kind found in catalogues into RGB."""

import io
import warnings

from PIL import Image, ImageOps, UnidentifiedImageError

from features.errors import FeatureError

MAX_PIXELS = 178_956_970
"""Pictures with more pixels are refused: a small file that unpacks to gigabytes would end the run."""


class UnreadableError(FeatureError):
    """A picture that cannot be decoded; recorded, never fatal."""


def decode(payload: bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode a picture into RGB, upright by its EXIF orientation, transparency on white.

    Args:
        payload: the file's bytes.
        max_pixels: width times height of the largest picture that is decoded.

    Raises `UnreadableError` for anything that is no whole picture; a machine out of memory is not the picture's fault.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata and large pictures
            image = Image.open(io.BytesIO(payload))
            if image.width * image.height > max_pixels:
                raise UnreadableError(f"{image.width} x {image.height} pixels are too many")
            image.load()
            return _to_rgb(ImageOps.exif_transpose(image))
    except (UnreadableError, MemoryError):
        raise
    except UnidentifiedImageError as error:  # its own message names an address in memory
        raise UnreadableError("no picture of any known kind") from error
    except Exception as error:  # decoders raise whatever their format's library does
        raise UnreadableError(f"{type(error).__name__}: {error}") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I;16", "I;16B", "I;16L", "I"):
        image = image.point(lambda value: value / 256).convert("L")  # 16-bit grey keeps its range
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")
