"""Whether the pictures that a catalogue names are there and can be decoded."""

import io
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from PIL import Image
from upath import UPath

from features.pictures import MAX_PIXELS
from pipeline.catalogue.contents import READERS, picture_path
from pipeline.storage.files import is_absence, read_bytes

NOT_FOUND: Literal["not_found"] = "not_found"
UNREADABLE: Literal["unreadable"] = "unreadable"
_REDUCED = (224, 224)


@dataclass(frozen=True)
class Finding:
    """What is wrong with a picture."""

    kind: Literal["not_found", "unreadable"]
    problem: str


def check_pictures(root: UPath, locations: Sequence[str | None]) -> list[Finding | None]:
    """Read and decode every picture, in threads; None where it is fine or none is named."""
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(lambda location: _check(root, location) if location else None, locations))


def _check(root: UPath, location: str) -> Finding | None:
    try:
        payload = read_bytes(picture_path(root, location))
    except OSError as error:
        if not is_absence(error):
            raise
        return Finding(NOT_FOUND, error.strerror or str(error))
    try:
        _decode(payload)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  decoders raise whatever their format's library does
        return Finding(UNREADABLE, f"{type(error).__name__}: {error}")
    return None


def _decode(payload: bytes) -> None:
    """Decode all of the picture; a JPEG at reduced size, which reads every byte of it in a fraction of the time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata
        with Image.open(io.BytesIO(payload)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels are too many")
            image.draft("RGB", _REDUCED)
            image.load()
