"""What each item's content is, per modality: the text joined from columns, or the picture's bytes, and its hash.

The hash is what features are stored under, so an item that is renamed, moved or repeated is not encoded again.
"""

import difflib
import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from features.modality import ModalityConfig
from pipeline.columns import IMAGE_PATH
from pipeline.errors import InputError

if TYPE_CHECKING:
    from upath import UPath

    from pipeline.config import Config

READERS = 16


@dataclass(frozen=True)
class Content:
    """One item's content of one modality; `digest` is None where there is none."""

    digest: str | None
    source: Any = None
    """The text itself, or the path of the picture."""
    found: bool = True
    """False for a picture that is named but not there."""
    num_bytes: int = 0
    """Of the picture's file or the text."""

    @property
    def size(self) -> int:
        """Length by which contents are sorted into batches: characters of a text; 0 for pictures."""
        return len(self.source) if isinstance(self.source, str) else 0


def texts(items: pl.DataFrame, name: str, modality: ModalityConfig) -> list[Content]:
    """The configured columns of every item joined by blanks, white space folded.

    Raises `InputError` for a column the catalogue lacks.
    """
    for column in modality.columns:
        if column not in items.columns:
            near = difflib.get_close_matches(column, items.columns, n=1, cutoff=0.0)[0]
            raise InputError(
                f"modalities.{name}.columns names {column!r}; the catalogue has {', '.join(items.columns)} "
                f"(nearest: {near!r})"
            )
    parts = [_as_text(items[column]) for column in modality.columns]
    joined = [" ".join(" ".join(filter(None, row)).split()) for row in zip(*parts, strict=True)]
    return [_text(text) if text else Content(None) for text in joined]


def _text(text: str) -> Content:
    encoded = text.encode()
    return Content(hashlib.sha256(encoded).hexdigest(), text, num_bytes=len(encoded))


def _as_text(column: pl.Series) -> list[str | None]:
    if isinstance(column.dtype, pl.List):
        column = column.cast(pl.List(pl.String)).list.drop_nulls().list.join(", ")
    return column.cast(pl.String).to_list()


def pictures(items: pl.DataFrame, name: str, config: "Config") -> list[Content]:
    """The picture of every item, hashed by its bytes; read in threads, one picture in memory per thread.

    Raises `InputError` for a catalogue without the column `image_path` or an image root that is not there.
    """
    if IMAGE_PATH not in items.columns:
        raise InputError(
            f"modality {name!r} needs a column {IMAGE_PATH!r} in {config.catalogue.items}; "
            f"map yours in [catalogue.columns] or leave the modality out"
        )
    root = config.path(config.catalogue.image_root)
    if not root.exists():
        raise InputError(f"catalogue.image_root: {root} does not exist")
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(lambda location: _picture(root, location), items[IMAGE_PATH].cast(pl.String).to_list()))


def _picture(root: "UPath", location: str | None) -> Content:
    if not location:
        return Content(None)
    path = picture_path(root, location)
    try:
        picture = path.read_bytes()
    except OSError:
        return Content(None, path, found=False)
    return Content(hashlib.sha256(picture).hexdigest(), path, num_bytes=len(picture))


def picture_path(root: "UPath", location: str) -> "UPath":
    """Where a picture is: `location` under the image root, or itself where it is absolute or a URL."""
    if "://" in location:
        from upath import UPath

        return UPath(location)
    return root / location
