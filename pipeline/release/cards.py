"""Items for people: a card with title and small picture. The page contains its pictures and refers to no file."""

import base64
import io
import math
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from pipeline.catalogue.catalogue import Catalogue
from pipeline.catalogue.contents import join_texts
from pipeline.catalogue.pictures import READERS
from pipeline.columns import IMAGE_PATH, ITEM_ID, TITLE
from pipeline.errors import InputError
from pipeline.storage.files import is_absence

if TYPE_CHECKING:
    from PIL import Image

QUALITIES = (80, 60, 40, 20)
LARGEST_THUMBNAIL = 6_000
"""Bytes that a thumbnail should take; more only at the worst quality."""
LARGEST_SHEET = 1_200_000
TILE = 72
"""Pixels of a side of a tile of a sheet."""
TILES_A_ROW = 32


@dataclass(frozen=True, kw_only=True)
class Card:
    """An item as pages show it; `image` is a data URI or None."""

    id: str
    title: str
    image: str | None = None


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """Many small pictures in one; `places` has the row and column of each that could be read."""

    image: str
    places: dict[int, tuple[int, int]]


def make_cards(catalogue: Catalogue, items: pl.DataFrame, ids: Iterable[Any]) -> dict[Any, Card]:
    """A card for each id, pictures read and shrunk in threads; an id that `items` lacks has no more than itself.

    Args: items: `item_id`, and `title` and `image_path` where the catalogue has them.
    """
    wanted = list(dict.fromkeys(ids))
    chosen = items.filter(pl.col(ITEM_ID).is_in(wanted))
    rows = chosen.to_dicts()
    titles = join_texts(chosen, [TITLE]) if TITLE in chosen.columns else [""] * len(rows)
    payloads = read_pictures(catalogue, [row.get(IMAGE_PATH) for row in rows])
    with ThreadPoolExecutor() as pool:
        images = list(pool.map(lambda payload: payload and thumbnail(payload), payloads))
    cards = {
        row[ITEM_ID]: Card(id=str(row[ITEM_ID]), title=title or str(row[ITEM_ID]), image=image or None)
        for row, title, image in zip(rows, titles, images, strict=True)
    }
    return {one: cards.get(one) or Card(id=str(one), title=str(one)) for one in wanted}


def read_pictures(catalogue: Catalogue, locations: Sequence[str | None]) -> list[bytes | None]:
    """The files of pictures, in threads; None for one that is not there."""
    try:
        pictures = catalogue.pictures()
    except InputError:  # the folder of the pictures is gone
        return [None] * len(locations)

    def read(location: str | None) -> bytes | None:
        try:
            return pictures.read(location) if location else None
        except OSError as error:
            if not is_absence(error):
                raise
            return None

    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(read, locations))


def thumbnail(payload: bytes, size: int = 144) -> str | None:
    """Shrink a picture into a box of `size` pixels and return it as a JPEG data URI; None for a broken one."""
    from PIL import Image

    from features.pictures import UnreadableError, decoded

    try:
        with decoded(payload, at_least=(size * 2, size * 2)) as picture:
            picture.thumbnail((size, size), Image.Resampling.LANCZOS)
            return _data_uri(picture, "JPEG", LARGEST_THUMBNAIL)
    except UnreadableError:
        return None


def picture_sheet(payloads: Sequence[bytes | None]) -> Sheet | None:
    """One picture with a tile for each that can be decoded, on white; None where that is none."""
    from PIL import Image

    with ThreadPoolExecutor() as pool:
        tiles = list(pool.map(_tile, payloads))
    readable = [place for place, tile in enumerate(tiles) if tile is not None]
    if not readable:
        return None
    sheet = Image.new("RGB", (TILES_A_ROW * TILE, math.ceil(len(readable) / TILES_A_ROW) * TILE), "white")
    places = {place: divmod(number, TILES_A_ROW) for number, place in enumerate(readable)}
    for place, (row, column) in places.items():
        tile = tiles[place]
        assert tile is not None, "only readable ones have a place"
        left, top = ((TILE - side) // 2 for side in tile.size)
        sheet.paste(tile, (column * TILE + left, row * TILE + top))
    return Sheet(image=_data_uri(sheet, "WEBP", LARGEST_SHEET), places=places)


def _tile(payload: bytes | None) -> "Image.Image | None":
    from PIL import Image

    from features.pictures import UnreadableError, decoded

    if not payload:
        return None
    try:
        with decoded(payload, at_least=(TILE * 2, TILE * 2)) as picture:
            picture.thumbnail((TILE, TILE), Image.Resampling.LANCZOS)
            return picture.copy()
    except UnreadableError:
        return None


def _data_uri(picture: "Image.Image", kind: str, most_bytes: int) -> str:
    """At the best of the qualities that keeps within so many bytes, or the worst."""
    for quality in QUALITIES:
        payload = io.BytesIO()
        picture.save(payload, kind, quality=quality, optimize=True)
        if payload.tell() <= most_bytes:
            break
    return f"data:image/{kind.lower()};base64," + base64.b64encode(payload.getvalue()).decode()
