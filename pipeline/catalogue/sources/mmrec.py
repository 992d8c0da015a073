"""The layout of the toolbox MMRec (Zhou, arXiv:2302.03497): the fixed split that many published tables rest on.

`<name>.inter` holds the interactions, separated by tabs, users and items numbered from 0, `x_label` the split.
`i_id_mapping.csv` (tabs) says which asin an `itemID` is; `meta-<name>.csv` (commas) holds titles and texts besides.
Row `itemID` of `image_feat.npy` and `text_feat.npy` is the item's vector: precomputed vectors with `ids = "rows"`.
"""

import polars as pl
from upath import UPath

from pipeline.catalogue.csv_files import scan_csv
from pipeline.catalogue.sources.source import Source, rename_all
from pipeline.columns import ITEM_ID, SPLIT, TEST, TRAIN, USER_ID, VALIDATION

_INTERACTIONS = {"userID": USER_ID, "itemID": ITEM_ID, "x_label": SPLIT}
_LABELS = {"0": TRAIN, "1": VALIDATION, "2": TEST}


def _scan_items(path: UPath) -> pl.LazyFrame:
    return rename_all(scan_csv(path, "\t,"), path, {"itemID": ITEM_ID}).with_columns(pl.col(ITEM_ID).cast(pl.Int64))


def _scan_interactions(path: UPath) -> pl.LazyFrame:
    return rename_all(scan_csv(path, "\t"), path, _INTERACTIONS).with_columns(
        pl.col(USER_ID, ITEM_ID).cast(pl.Int64), pl.col(SPLIT).replace(_LABELS)
    )


MMREC = Source(
    endings=(".inter", ".csv"),
    items_from="both",
    scan_items=_scan_items,
    scan_interactions=_scan_interactions,
)
