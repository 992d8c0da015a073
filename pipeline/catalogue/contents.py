"""What each item's content is, per modality: the text joined from columns, or the picture's bytes, and its hash.

The hash is what features are stored under, so an item that is renamed, moved or repeated is not encoded again.
Contents themselves are read in passes and never held together: what stays in memory is one hash an item. A picture
is read once: `dataset.content_store` remembers its hash.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl
import pyarrow as pa

from features.text_limits import TextLimit
from features.texts import joined
from pipeline.catalogue.catalogue import Catalogue
from pipeline.catalogue.pictures import READERS, PictureRead, Pictures
from pipeline.columns import BYTES, CONTENT_HASH, IMAGE_PATH, ITEM_ID, LONG, SIZE
from pipeline.errors import InputError
from pipeline.storage.files import is_absence

GROUPS_AT_ONCE = 64
"""Groups whose texts are in memory together while they are encoded."""
_TEXT, _WINDOW = "text", "window"


@dataclass(frozen=True)
class Content:
    """One content about to be encoded, whose hash is known."""

    digest: str
    read: Callable[[], str | bytes]
    """Gives the text."""

    def load(self) -> tuple[str, str | bytes]:
        """The hash and the content."""
        return self.digest, self.read()


@dataclass(frozen=True)
class UnreadPicture:
    """A picture about to be read, hashed and encoded."""

    pictures: Pictures
    location: str
    payload: bytes | None = None
    """Its bytes where `validate` has read them, of the version `read`."""
    read: PictureRead | None = None

    def load(self) -> tuple[PictureRead | None, bytes | None]:
        """What it is, and its bytes; nothing if it is gone by now."""
        if self.read is not None:
            return self.read, self.payload
        try:
            return self.pictures.read_version(self.location)
        except OSError as error:
            if not is_absence(error):
                raise
            return None, None


def read_texts(
    catalogue: Catalogue, name: str, columns: Sequence[str], items: pl.DataFrame, limit: TextLimit | None = None
) -> pl.DataFrame:
    """`content_hash` (null without text), `size` in characters, `bytes` and `long` of every item's text.

    Args:
        name: of the modality, for messages.
        columns: that its text is joined from.
        items: in the order wanted.
        limit: what the encoder reads of a text; longer ones are `long`, none where it is not given.

    Raises `InputError` for a column the catalogue lacks.
    """
    batches = [
        batch.select(
            ITEM_ID,
            CONTENT_HASH,
            pl.col(_TEXT).str.len_chars().alias(SIZE),
            pl.col(_TEXT).str.len_bytes().cast(pl.Int64).alias(BYTES),
            pl.Series(LONG, limit.exceeded_by(batch[_TEXT].fill_null("").to_list()) if limit else [False] * len(batch)),
        )
        for batch in _hashed_texts(catalogue, name, columns)
    ]
    known = pl.concat(batches).unique(ITEM_ID, keep="any")
    rows = items.select(ITEM_ID).join(known, on=ITEM_ID, how="left", maintain_order="left")
    return rows.select(CONTENT_HASH, SIZE, BYTES, LONG)


def _hashed_texts(catalogue: Catalogue, name: str, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Pass over the catalogue: batches of `item_id`, `content_hash`, `text`; both null where there is no text."""
    catalogue.require_columns(columns, f"modalities.{name}.columns")
    for batch in catalogue.item_batches(columns):
        texts = join_texts(batch, columns)
        hashes = [hashlib.sha256(text.encode()).hexdigest() if text else None for text in texts]
        yield pl.DataFrame(
            {ITEM_ID: batch[ITEM_ID], CONTENT_HASH: hashes, _TEXT: [text or None for text in texts]},
            schema_overrides={CONTENT_HASH: pl.String, _TEXT: pl.String},
        )


def join_texts(items: pl.DataFrame, columns: Sequence[str]) -> list[str]:
    """The columns of every item joined by blanks, white space folded; empty where there is nothing in them."""
    parts = [_as_text(items[column]) for column in columns]
    return [joined(row) for row in zip(*parts, strict=True)]


def _as_text(column: pl.Series) -> list[str | None]:
    return column.to_frame().select(_text_of(column.name, column.dtype)).to_series().to_list()


def _text_of(column: str, kind: pl.DataType) -> pl.Expr:
    cell = pl.col(column)
    return cell.list.join(", ") if isinstance(kind, pl.List) else cell.cast(pl.String)


def has_text(column: str, kind: pl.DataType) -> pl.Expr:
    """Whether a row's column adds anything to its text (`join_texts`)."""
    return (_text_of(column, kind).str.strip_chars() != "").fill_null(value=False)


def text_groups(
    catalogue: Catalogue,
    name: str,
    columns: Sequence[str],
    groups: Sequence[pl.DataFrame],
    at_once: int = GROUPS_AT_ONCE,
) -> Iterator[list[Content]]:
    """The texts of groups of hashes, group after group.

    One pass over the catalogue sorts the texts that are wanted into files on the local disk, a file for every
    `at_once` groups; one file's texts are in memory at a time.
    """
    windows = [groups[start : start + at_once] for start in range(0, len(groups), at_once)]
    with tempfile.TemporaryDirectory(prefix="microrec-") as folder:
        files = [Path(folder) / f"{number}.arrow" for number in range(len(windows))]
        _sort_texts(_hashed_texts(catalogue, name, columns), windows, files)
        for window, file in zip(windows, files, strict=True):
            with pa.ipc.open_stream(file) as stream:
                texts = dict(zip(*stream.read_all().to_pydict().values(), strict=True))
            for group in window:
                yield [Content(digest, partial(texts.__getitem__, digest)) for digest in group[CONTENT_HASH]]


def _sort_texts(
    batches: Iterator[pl.DataFrame], windows: Sequence[Sequence[pl.DataFrame]], files: Sequence[Path]
) -> None:
    place = pl.concat(
        group.select(CONTENT_HASH, pl.lit(number).alias(_WINDOW))
        for number, window in enumerate(windows)
        for group in window
    )
    schema = pa.schema({CONTENT_HASH: pa.string(), _TEXT: pa.string()})
    with ExitStack() as stack:
        writers = [stack.enter_context(pa.ipc.new_stream(file, schema)) for file in files]
        for batch in batches:
            wanted = batch.unique(CONTENT_HASH, keep="any").join(place, on=CONTENT_HASH)
            for (number,), part in wanted.partition_by(_WINDOW, as_dict=True).items():
                writers[number].write_table(part.select(CONTENT_HASH, _TEXT).to_arrow().cast(schema))


def hash_pictures(pictures: Pictures, locations: Sequence[str]) -> list[str | None]:
    """sha256 of each picture, null of one that is not there; every file is read, in threads, one in memory for each."""
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(partial(_hash_picture, pictures), locations))


def require_image_path(catalogue: Catalogue, name: str, items: pl.DataFrame) -> None:
    """Raise `InputError` for a catalogue without paths of pictures, which modality `name` needs."""
    if IMAGE_PATH in items.columns:
        return
    left_out = catalogue.left_out_of_items()
    if IMAGE_PATH in left_out:
        raise InputError(
            f"{left_out[IMAGE_PATH]}, and modality {name!r} needs paths; write the pictures to files, and their paths "
            "as text"
        )
    raise InputError(
        f"{catalogue.settings.items}: modality {name!r} needs a column {IMAGE_PATH!r}; "
        f'map yours under [catalogue.columns]: THEIRS = "{IMAGE_PATH}", or leave the modality out'
    )


def _hash_picture(pictures: Pictures, location: str) -> str | None:
    read, _ = UnreadPicture(pictures, location).load()
    return read.sha256 if read else None
