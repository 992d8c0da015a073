"""The Amazon reviews and metadata of 2014 (McAuley et al., SIGIR 2015), which the paper's data sets are made of.

Reviews (`reviews_<Category>_5.json.gz`) are JSON, one a line. Metadata (`meta_<Category>.json.gz`) are not, whatever
their name says: each line is a Python dict. Picture features (`image_features_<Category>.b`) are precomputed vectors.
"""

import polars as pl
import pyarrow as pa
from upath import UPath

from pipeline.catalogue.json_values import parse_json
from pipeline.catalogue.sources.fields import Field, file_name, identifier, moment, number, text, texts
from pipeline.catalogue.sources.records import RecordKind, parse_literal, scan_records
from pipeline.catalogue.sources.source import Source
from pipeline.columns import IMAGE_PATH, ITEM_ID, RATING, TIMESTAMP, USER_ID

_IMAGE = text("imUrl")

REVIEWS = RecordKind(
    parse_json,
    {
        USER_ID: identifier("reviewerID"),
        ITEM_ID: identifier("asin"),
        RATING: number("overall"),
        TIMESTAMP: moment("unixReviewTime", "s"),
    },
)
METADATA = RecordKind(
    parse_literal,
    {
        ITEM_ID: identifier("asin"),
        "title": text("title"),
        "brand": text("brand"),
        "categories": texts("categories"),
        "description": text("description"),
        "image_url": _IMAGE,
        IMAGE_PATH: Field(pa.string(), lambda record: file_name(_IMAGE.read(record))),
    },
)


def _scan_items(path: UPath) -> pl.LazyFrame:
    return scan_records(path, METADATA)


def _scan_interactions(path: UPath) -> pl.LazyFrame:
    return scan_records(path, REVIEWS)


AMAZON_2014 = Source(
    endings=(".json", ".json.gz"),
    items_from="interactions",
    scan_items=_scan_items,
    scan_interactions=_scan_interactions,
)
