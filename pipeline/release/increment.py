"""An increment: vectors of the items that are new since a release, beside it, which readers merge by id.

`increments/<run_id>/<number>/` (docs/reference/formats.md). It holds all that is new, whatever the one before it held,
so of a release's increments only the one with the highest number counts. Its rows are made like the release's own, and
none of its ids is the release's. A release that is promoted later has these items itself, and other increments.
"""

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from upath import UPath

from pipeline.columns import EMBEDDING, ITEM_ID
from pipeline.documents import as_document, as_record
from pipeline.errors import DamagedError, StoreError
from pipeline.release.format import (
    FOOTER_DIGEST,
    ITEM_EMBEDDINGS,
    SORTED_BY,
    is_sorted,
    table_digest,
    write_table,
)
from pipeline.release.manifest import FileEntry
from pipeline.release.signature import Kind, require_signature, sign
from pipeline.release.sound import Listed, sound_table
from pipeline.storage.arrow import arrow_filesystem, vectors_of
from pipeline.storage.files import (
    SUCCESS,
    as_json,
    is_absence,
    list_files,
    parse_json,
    publish_bytes,
    publish_folder,
    read_bytes,
    scratch,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

INCREMENT = "increment.json"
SIGNED = Kind(
    INCREMENT,
    "increment.sig",
    b"microrec increment 1\n",
    "`microrec increment` with export.signing_key publishes another, if the release is the champion",
)
_PUBLISHED = re.compile(rf"(\d{{5,}})/{SUCCESS}")
_DIGITS = 5


@dataclass(frozen=True, kw_only=True)
class Increment:
    """What an increment says of itself."""

    number: int
    """From 1."""
    run_id: str
    """Of the release that it is beside."""
    release_digest: str
    created: str = ""
    """ISO 8601."""
    microrec_version: str = ""
    items: int
    left_out: int = 0
    """New items without content: nothing can be said of them."""
    contents: dict[str, str]
    """By modality, sha256 over the ids and contents of all new items; empty where none is new."""
    table_digest: str
    """Of `item_embeddings`, as a release's digest has it of a table."""
    files: list[FileEntry] = field(default_factory=list)


@dataclass(frozen=True)
class Published:
    """An increment as it was found."""

    folder: UPath
    increment: Increment

    @cached_property
    def table(self) -> pa.Table:
        """Its `item_embeddings`, sorted by id; raises `DamagedError` where a file is not the one that was written."""
        record = self.increment
        return Listed(folder=self.folder, files=record.files, document=INCREMENT, mend=mend_of(self.folder)).table(
            ITEM_EMBEDDINGS
        )


def mend_of(folder: UPath) -> str:
    """How to get a sound increment. Its number is not given again while it stands, because consumers know it."""
    return f"`microrec increment` publishes another, if the release is the champion; otherwise delete {folder}"


def find_increment(increments: UPath, release_digest: str, keys: "Sequence[Ed25519PublicKey]" = ()) -> Published | None:
    """The increment that counts beside a release.

    Args:
        increments: folder of the release's increments.
        release_digest: the release's; an increment of another release that had its id counts as none.
        keys: of which one's owner must have signed it; none: it need not be signed.

    Raises `DamagedError` if it does not say what it is, or is not signed.
    """
    last = last_number(increments)
    found = read_increment(increments, last, keys) if last else None
    return found if found and found.increment.release_digest == release_digest else None


def newest_sound(
    increments: UPath, release_digest: str, keys: "Sequence[Ed25519PublicKey]" = ()
) -> tuple[Published | None, list[str]]:
    """The newest increment beside a release that verifies by itself, and why each newer one does not verify.

    An increment holds all that was new when it was made, so an earlier one is right, only less fresh.

    Args: increments, release_digest, keys: as `find_increment` has them.
    """
    damaged: list[str] = []
    for number in sorted(published_numbers(list_files(increments)), reverse=True):
        try:
            found = read_increment(increments, number, keys)
            require_sound(found, None)
        except StoreError as error:
            damaged.append(str(error))
            continue
        if found.increment.release_digest == release_digest:
            return found, damaged
    return None, damaged


def read_increment(increments: UPath, number: int, keys: "Sequence[Ed25519PublicKey]" = ()) -> Published:
    """One increment of a release.

    Args: keys: of which one's owner must have signed it, or its record is not even parsed; none: it need not be signed.

    Raises `DamagedError` if it does not say what it is, is gone, or is not signed.
    """
    folder = folder_of(increments, number)
    file = folder / INCREMENT
    try:
        document = read_bytes(file)
    except OSError as error:
        if not is_absence(error):
            raise
        raise DamagedError(f"{file} is missing; {mend_of(folder)}") from error
    if keys:
        require_signature(folder, document, keys, SIGNED)
    record = as_record(Increment, parse_json(file, document, mend_of(folder)), file)
    if record.number != number:
        raise DamagedError(f"{file} says number {record.number}; {mend_of(folder)}")
    return Published(folder, record)


def folder_of(increments: UPath, number: int) -> UPath:
    """Folder of an increment; names of a release's increments sort as their numbers do."""
    return increments / f"{number:0{_DIGITS}}"


def last_number(increments: UPath) -> int:
    """The highest number that was published; 0: none was."""
    return max(published_numbers(list_files(increments)), default=0)


def published_numbers(names: list[str]) -> list[int]:
    """Numbers of the increments that are whole, by the names of files in a release's folder of increments."""
    return [int(found[1]) for name in names if (found := _PUBLISHED.fullmatch(name))]


def merged(items: pa.Table, increment: Published | None) -> pa.Table:
    """The items of a release and those of its increment, in the order of their ids."""
    if increment is None or not increment.increment.items:
        return items
    return pa.concat_tables([items, increment.table.cast(items.schema)]).sort_by(ITEM_ID).combine_chunks()


def publish_increment(
    increments: UPath, record: Increment, table: pa.Table, key: "Ed25519PrivateKey | None" = None
) -> Published | None:
    """Write an increment and publish it in one step; None where another attempt has published this number.

    Args:
        record: `files` and `table_digest` are filled in here.
        key: signs it, where there is one.
    """
    target = folder_of(increments, record.number)
    with scratch(target) as beside:
        # One level deeper than a published one: `increments/*/*/item_embeddings` finds no attempt under way.
        folder = beside / "increment"
        folder.mkdir()
        write_table(table, folder / ITEM_EMBEDDINGS, record.release_digest, sorted_by=SORTED_BY[ITEM_EMBEDDINGS])
        files = [FileEntry.of(path, folder) for path in sorted(folder.rglob("*.parquet"))]
        record = dataclasses.replace(record, files=files, table_digest=table_digest(table))
        document = as_json(as_document(record))
        written = Published(UPath(str(folder)), record)
        publish_bytes(written.folder / INCREMENT, document)
        if key:
            sign(written.folder, key, SIGNED)
            require_signature(written.folder, document, [key.public_key()], SIGNED)  # what was signed is what was made
        require_sound(written, None)
        return dataclasses.replace(written, folder=target) if publish_folder(folder, target) else None


def require_sound(found: Published, release: UPath | None) -> None:
    """Check every digest, count and value of an increment, and beside a release that the two fit.

    Raises `DamagedError` that lists what is wrong, `StoreError` where it names no file.
    """
    problems = _problems_of(found)
    if release is not None and not problems:
        problems = _misfits(found.table, sound_table(release, ITEM_EMBEDDINGS))
    if problems:
        raise DamagedError(
            f"{found.folder} does not verify: {'; '.join(problems)}. To mend it, {mend_of(found.folder)}"
        )


def _problems_of(found: Published) -> list[str]:
    record, table = found.increment, found.table
    problems = []
    if table.num_rows != record.items:
        problems.append(f"it has {table.num_rows} items, {INCREMENT} says {record.items}")
    if table_digest(table) != record.table_digest:
        problems.append(f"its rows give another digest than {INCREMENT} says")
    if len(pc.unique(table.column(ITEM_ID))) != table.num_rows or not is_sorted(table, (ITEM_ID,)):
        problems.append(f"{ITEM_ID} is not unique and sorted")
    if not np.isfinite(vectors_of(table, EMBEDDING)).all():
        problems.append(f"{EMBEDDING} holds NaN or infinite values")
    return problems + [
        f"{entry.path} carries another release's digest in its footer"
        for entry in record.files
        if _footer_digest(found.folder / entry.path) != record.release_digest
    ]


def _footer_digest(path: UPath) -> str:
    filesystem, name = arrow_filesystem(path)
    footer: dict[bytes, bytes] = pq.read_metadata(name, filesystem=filesystem).metadata or {}
    return footer.get(FOOTER_DIGEST, b"").decode()


def _misfits(table: pa.Table, items: pa.Table) -> list[str]:
    """Where an increment is not beside the release that it names."""
    if not table.schema.equals(items.schema):
        return ["its columns are not the release's"]
    known = pc.is_in(table.column(ITEM_ID), value_set=items.column(ITEM_ID).combine_chunks())
    return [f"{ITEM_ID} names items that the release has"] if pc.any(known).as_py() else []
