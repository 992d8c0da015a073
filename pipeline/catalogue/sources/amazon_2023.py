"""The Amazon reviews of 2023 (Hou et al., arXiv:2403.03952); an item is a `parent_asin`, not one of its variants.

Interactions are the raw reviews (`<Category>.jsonl.gz`, milliseconds), or the published cores as csv, where the
names of the files (`<Category>.train.csv`, `.valid.csv`, `.test.csv`) say which part of the split they hold.
Metadata are `meta_<Category>.jsonl.gz`.
"""

import re

import polars as pl
import pyarrow as pa
from upath import UPath

from pipeline.catalogue.json_values import as_text, parse_json
from pipeline.catalogue.sources.fields import Field, Record, file_name, identifier, moment, number, text, texts
from pipeline.catalogue.sources.records import RecordKind, scan_records
from pipeline.catalogue.sources.source import Source, rename_all
from pipeline.catalogue.tables import scan_table
from pipeline.columns import IMAGE_PATH, ITEM_ID, RATING, SPLIT, TEST, TIMESTAMP, TRAIN, USER_ID, VALIDATION

_PART = re.compile(r"\.(train|valid|test)\.csv(\.gz)?$")
_PARTS = {"train": TRAIN, "valid": VALIDATION, "test": TEST}
_CSV = {"user_id": USER_ID, "parent_asin": ITEM_ID, "rating": RATING, "timestamp": TIMESTAMP}


def _image(record: Record) -> str | None:
    """The address of the first picture, in the size in which all have it."""
    images = record.get("images")
    first = images[0] if isinstance(images, list) and images else None
    return as_text(first.get("large")) if isinstance(first, dict) else None


REVIEWS = RecordKind(
    parse_json,
    {
        USER_ID: identifier("user_id"),
        ITEM_ID: identifier("parent_asin"),
        RATING: number("rating"),
        TIMESTAMP: moment("timestamp", "ms"),
    },
)
METADATA = RecordKind(
    parse_json,
    {
        ITEM_ID: identifier("parent_asin"),
        "title": text("title"),
        "brand": text("store"),
        "features": text("features"),
        "categories": texts("categories"),
        "description": text("description"),
        "image_url": Field(pa.string(), _image),
        IMAGE_PATH: Field(pa.string(), lambda record: file_name(_image(record))),
    },
)


def _scan_items(path: UPath) -> pl.LazyFrame:
    return scan_records(path, METADATA)


def _scan_interactions(path: UPath) -> pl.LazyFrame:
    if not path.name.endswith((".csv", ".csv.gz")):
        return scan_records(path, REVIEWS)
    frame = rename_all(scan_table(path), path, _CSV).with_columns(
        pl.from_epoch(pl.col(TIMESTAMP).cast(pl.Int64), "ms").dt.replace_time_zone("UTC")
    )
    part = _PART.search(path.name)
    return frame.with_columns(pl.lit(_PARTS[part[1]]).alias(SPLIT)) if part else frame


AMAZON_2023 = Source(
    endings=(".jsonl", ".jsonl.gz", ".csv", ".csv.gz"),
    items_from="interactions",
    scan_items=_scan_items,
    scan_interactions=_scan_interactions,
)
