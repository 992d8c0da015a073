"""What `validate` finds of pictures: all are listed, and of those that were never read a sample is decoded.

Of a picture that was read before it is known whether it can be decoded. What share of the others cannot is estimated by
the sample, and counted exactly by `extract`, which reads each of them.
"""

import hashlib
from dataclasses import dataclass

import polars as pl

from pipeline.catalogue.catalogue import Catalogue
from pipeline.catalogue.listing import list_pictures
from pipeline.catalogue.pictures import LARGEST, Checked, Pictures, Problem, check_pictures
from pipeline.columns import CONTENT_HASH, IMAGE_PATH, ITEM_ID, LOCATION, PROBLEM, SHA256, SIZE
from pipeline.dataset.content_store import ContentStore
from pipeline.stages.validation_report import PictureProblem
from pipeline.storage.files import is_local

SAMPLE = 256
"""Pictures that are decoded of those that were never read."""
SAMPLE_BYTES = 1 << 25
"""What they come to at most: `extract` gets them from `validate`, 32 MB."""
NAMED = 20  # items named per finding
UNREAD = "unread"
_TOLD, _DRAWN = "told", "drawn"


@dataclass(frozen=True)
class Look:
    """The pictures of a catalogue as they were found."""

    pictures: Pictures
    listing: pl.DataFrame
    """As `catalogue.listing` has it."""
    checked: dict[str, Checked]
    """What was decoded now, by `image_path`."""
    found: pl.DataFrame
    """A row for each picture: `content_hash` of one that can be used (its place where it was never read), `problem` and
    `told` of one that cannot, and whether it is `unread`: never read, nor now."""

    def of_items(self, items: pl.DataFrame) -> pl.DataFrame:
        """The same of each item's picture, in the items' order, nulls where none is named."""
        named = items.select(ITEM_ID, pl.col(IMAGE_PATH).cast(pl.String))
        return named.join(self.found, on=IMAGE_PATH, how="left", maintain_order="left")

    def problems(self, found: pl.DataFrame, kind: Problem) -> tuple[int, list[PictureProblem]]:
        """Of the items' pictures, how many have a problem, and the first of them."""
        rows = found.filter(pl.col(PROBLEM) == kind.value)
        return len(rows), [
            PictureProblem(item_id=item, image_path=name, problem=told or self._told(name))
            for item, name, told in rows.head(NAMED).select(ITEM_ID, IMAGE_PATH, _TOLD).iter_rows()
        ]

    def _told(self, name: str) -> str:
        """Why a picture is not read; a disk is asked about names that are like it, a store has been asked."""
        if not is_local(self.pictures.root):
            return f"no object of up to {LARGEST:,} bytes under catalogue.image_root"
        (checked,) = check_pictures(self.pictures, [name])
        return checked.told

    def estimated_unreadable(self, found: pl.DataFrame) -> int:
        """Of the items' unread pictures, as many as the share of the sample that cannot be decoded."""
        unreadable = [one.problem is Problem.UNREADABLE for one in self.checked.values()]
        return round(found[UNREAD].sum() * sum(unreadable) / len(unreadable)) if unreadable else 0


def look_at_pictures(catalogue: Catalogue, contents: ContentStore, items: pl.DataFrame, *, deep: bool) -> Look:
    """List every picture that items name, and decode the sample, or with `deep` all of them."""
    pictures = catalogue.pictures()
    listing = list_pictures(pictures, items[IMAGE_PATH])
    known = contents.known(listing, settled=True).rename({PROBLEM: _TOLD})
    if deep or catalogue.settings.trust == "content":
        known = known.with_columns(pl.lit(None, pl.String).alias(name) for name in known.columns)
    rows = listing.hstack(known)
    unread = rows.filter(pl.col(PROBLEM).is_null() & pl.col(SHA256).is_null())
    names = (unread if deep else _sample(unread))[IMAGE_PATH].to_list()
    checked = dict(zip(names, check_pictures(pictures, names, keep=not deep), strict=True))
    return Look(pictures, listing, checked, _found(rows, checked))


def _sample(unread: pl.DataFrame) -> pl.DataFrame:
    """The same pictures in every call: by a hash of their names."""
    drawn = [hashlib.sha256(name.encode()).digest() for name in unread[IMAGE_PATH]]
    ordered = unread.with_columns(pl.Series(_DRAWN, drawn, dtype=pl.Binary)).sort(_DRAWN).head(SAMPLE)
    return ordered.filter(pl.col(SIZE).cum_sum() <= SAMPLE_BYTES)


def _found(rows: pl.DataFrame, checked: dict[str, Checked]) -> pl.DataFrame:
    now = pl.DataFrame(
        [(name, one.digest, one.problem and one.problem.value, one.told or None) for name, one in checked.items()],
        {IMAGE_PATH: pl.String, "_digest": pl.String, "_problem": pl.String, "_told": pl.String},
        orient="row",
    )
    told = pl.coalesce("_told", _TOLD)
    unreadable = pl.when(told.is_not_null()).then(pl.lit(Problem.UNREADABLE.value))
    problem = pl.coalesce("_problem", PROBLEM, unreadable)
    unread = problem.is_null() & pl.coalesce("_digest", SHA256).is_null()
    content = pl.when(problem.is_null()).then(pl.coalesce("_digest", SHA256, LOCATION))
    return rows.join(now, on=IMAGE_PATH, how="left", maintain_order="left").select(
        IMAGE_PATH, content.alias(CONTENT_HASH), problem.alias(PROBLEM), told.alias(_TOLD), unread.alias(UNREAD)
    )
