"""Checking a catalogue before anything is computed from it: what is there, what is missing, what will be dropped."""

import statistics
from typing import TYPE_CHECKING, Any

import polars as pl

from features.modality import ModalityConfig
from pipeline.catalogue import (
    clean_items,
    collect_interactions,
    collect_items,
    interaction_steps,
    losses,
    read_catalogue,
    require_interactions,
    require_weights,
    rows_without_id,
    unused_mappings,
)
from pipeline.columns import CONTENT_HASH, IMAGE_PATH, ITEM_ID, TIMESTAMP, USER_ID
from pipeline.contents import picture_root, read_texts
from pipeline.errors import InputError
from pipeline.pictures import NOT_FOUND, UNREADABLE, check_pictures
from pipeline.precomputed import PRECOMPUTED, load_precomputed
from pipeline.split import split_interactions
from pipeline.validation_report import find_warnings, render

if TYPE_CHECKING:
    from pipeline.config import Config

__all__ = ["render", "validate"]

NAMED = 20  # items named per finding
_ROWS, _ITEMS, _USERS = "__rows", "__items", "__users"
_MICROSECONDS_A_YEAR = 365.2425 * 86_400 * 1e6
_NUM_ROWS = pl.len().alias(_ROWS)

Report = dict[str, Any]


def validate(config: "Config") -> Report:
    """Read everything once and count; the report holds plain JSON values.

    Raises:
        InputError: an input no run could use: a table that cannot be read, ids that do not fit, nothing left, or not
            what `split` needs.
        FeatureError: precomputed vectors that cannot be used.
    """
    items = clean_items(config, [IMAGE_PATH])
    interactions, kept = _interactions(config, items)
    split_interactions(kept, config.split)  # what cannot be split is refused before anything is encoded
    report = {
        "items": _items(config, items, kept),
        "interactions": interactions,
        "users": _users(kept, interactions.pop("users_before")),
        "density": len(kept) / (len(items) * kept[USER_ID].n_unique()),
        "modalities": {name: _modality(config, items, name) for name in config.modalities},
    }
    unused = [f"catalogue.columns maps {name!r}, a column that no file has" for name in unused_mappings(config)]
    return {**report, "warnings": [*unused, *find_warnings(report)]}


def _items(config: "Config", items: pl.DataFrame, kept: pl.DataFrame) -> Report:
    raw = read_catalogue(config)
    distinct = pl.col(ITEM_ID).drop_nulls().n_unique().alias(_ITEMS)
    counts = collect_items(config, raw.select(_NUM_ROWS, distinct, pl.all().null_count())).row(0, named=True)
    rows, in_catalogue = counts.pop(_ROWS), counts.pop(_ITEMS)
    added = items.lazy().select(ITEM_ID).join(raw.select(ITEM_ID), on=ITEM_ID, how="anti")
    not_in_catalogue = len(collect_items(config, added))
    touched = kept[ITEM_ID].n_unique()
    return {
        "rows": rows,
        "kept": len(items),
        "without_id": counts[ITEM_ID],
        "rows_without_id": rows_without_id(config, interactions=False) if counts[ITEM_ID] else [],
        "repeated_rows": rows - counts[ITEM_ID] - in_catalogue,
        "left_out": in_catalogue - len(items) + not_in_catalogue,
        "not_in_catalogue": not_in_catalogue,
        "without_interactions": len(items) - touched,
        "id_type": str(items.schema[ITEM_ID]),
        "nulls": counts,
    }


def _interactions(config: "Config", items: pl.DataFrame) -> tuple[Report, pl.DataFrame]:
    """Counts, and the interactions that are left."""
    steps = interaction_steps(config, items)
    raw = steps[0][1]
    users = pl.col(USER_ID).drop_nulls().n_unique().alias(_USERS)
    counts = collect_interactions(config, raw.select(_NUM_ROWS, users, pl.all().null_count())).row(0, named=True)
    rows, num_users = counts.pop(_ROWS), counts.pop(_USERS)
    kept = collect_interactions(config, steps[-1][1])
    dropped = losses(config, steps)
    require_interactions(config, kept, dropped)
    require_weights(config, kept)
    report = {
        "rows": rows,
        "kept": len(kept),
        "dropped": dropped,
        "rows_without_id": rows_without_id(config, interactions=True) if dropped["without_id"] else [],
        "unknown_items": _unknown_items(config, raw, items),
        "nulls": counts,
        "timestamps": _timestamps(config, kept),
        "users_before": num_users,
    }
    return report, kept


def _unknown_items(config: "Config", raw: pl.LazyFrame, items: pl.DataFrame) -> Report:
    orphans = raw.drop_nulls(ITEM_ID).join(items.lazy().select(ITEM_ID), on=ITEM_ID, how="anti")
    ids = collect_interactions(config, orphans.select(pl.col(ITEM_ID).unique().sort())).to_series()
    return {"count": len(ids), "ids": ids.head(NAMED).to_list()}


def _timestamps(config: "Config", kept: pl.DataFrame) -> Report | None:
    if TIMESTAMP not in kept.columns:
        return None
    if isinstance(kept.schema[TIMESTAMP], pl.Datetime):
        _require_years(config, kept[TIMESTAMP].to_physical())
    first, last = kept[TIMESTAMP].min(), kept[TIMESTAMP].max()
    return {"first": _plain(first), "last": _plain(last), "missing": kept[TIMESTAMP].null_count()}


def _require_years(config: "Config", microseconds: pl.Series) -> None:
    """Refuse moments that Python's calendar does not have: they were written in another unit."""
    moments = microseconds.drop_nulls().to_numpy()
    if not len(moments):
        return
    first, last = (1970 + float(moment) / _MICROSECONDS_A_YEAR for moment in (moments.min(), moments.max()))
    if first < 1 or last >= 10_000:
        raise InputError(
            f"{', '.join(config.catalogue.interactions)}, column {TIMESTAMP}: moments are of the years {int(first)} to "
            f"{int(last)}; were they written in another unit, such as milliseconds for seconds?"
        )


def _plain(moment: Any) -> Any:
    return moment.isoformat() if hasattr(moment, "isoformat") else moment


def _users(kept: pl.DataFrame, before: int) -> Report:
    counts = kept.group_by(USER_ID).len()["len"].to_list()
    spread = {"min": min(counts), "median": statistics.median(counts), "max": max(counts)}
    return {"before": before, "kept": len(counts), "interactions_per_user": spread}


def _modality(config: "Config", items: pl.DataFrame, name: str) -> Report:
    """Of one modality: how many items have usable content, and what is wrong with the rest."""
    modality = config.modalities[name]
    if modality.encoder == PRECOMPUTED:
        return _precomputed(config, modality, items)
    if modality.columns:
        return _report_missing("text", items, read_texts(config, name, items)[CONTENT_HASH].is_null())
    return _pictures(config, items, name)


def _report_missing(content: str, items: pl.DataFrame, missing: pl.Series) -> Report:
    ids = items.filter(missing)[ITEM_ID]
    return {
        "content": content,
        "usable": len(items) - len(ids),
        "missing": len(ids),
        "missing_items": ids.head(NAMED).to_list(),
    }


def _precomputed(config: "Config", modality: ModalityConfig, items: pl.DataFrame) -> Report:
    vectors = load_precomputed(config, modality, items[ITEM_ID].to_list())
    unknown = vectors.num_vectors - int(vectors.present.sum())
    return {**_report_missing(PRECOMPUTED, items, ~pl.Series(vectors.present)), "of_unknown_items": unknown}


def _pictures(config: "Config", items: pl.DataFrame, name: str) -> Report:
    if IMAGE_PATH not in items.columns:
        raise InputError(
            f"{config.catalogue.items}: modality {name!r} needs a column {IMAGE_PATH!r}; "
            f'map yours under [catalogue.columns]: THEIRS = "{IMAGE_PATH}", or leave the modality out'
        )
    root = picture_root(config)
    locations = items[IMAGE_PATH].cast(pl.String).to_list()
    report = _report_missing("image", items, pl.Series([not location for location in locations]))
    findings = check_pictures(root, locations)
    rows = list(zip(items[ITEM_ID].to_list(), locations, findings, strict=True))
    for kind in (NOT_FOUND, UNREADABLE):
        found = [
            {ITEM_ID: item, IMAGE_PATH: location, "problem": finding.problem}
            for item, location, finding in rows
            if finding and finding.kind == kind
        ]
        report |= {kind: len(found), f"{kind}_items": found[:NAMED]}
        report["usable"] -= len(found)
    return report
