"""Checking a catalogue before anything is computed from it: what is there, what is missing, what will be dropped."""

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl
from rich.console import Console
from rich.table import Table
from upath import UPath

from features.modality import ModalityConfig
from features.precomputed import read_precomputed
from pipeline.catalogue import (
    clean_items,
    collect_interactions,
    collect_items,
    interaction_steps,
    losses,
    read_items,
)
from pipeline.columns import IMAGE_PATH, ITEM_ID, TIMESTAMP, USER_ID
from pipeline.contents import texts
from pipeline.errors import InputError
from pipeline.pictures import NOT_FOUND, UNREADABLE, check_pictures
from pipeline.storage import is_local, local_path

if TYPE_CHECKING:
    from pipeline.config import Config

NAMED = 20  # items named per finding
PRECOMPUTED = "precomputed"

Report = dict[str, Any]


def validate(config: "Config") -> Report:
    """Read everything once and count; the report holds plain JSON values.

    Raises:
        InputError: an input no run could use: a table that cannot be read, ids that do not fit, nothing left.
        FeatureError: precomputed vectors that cannot be used.
    """
    items = clean_items(config)
    interactions, kept = _interactions(config, items)
    report = {
        "items": _items(config, items, kept),
        "interactions": interactions,
        "users": _users(kept, interactions.pop("users_before")),
        "density": len(kept) / (len(items) * kept[USER_ID].n_unique()),
        "modalities": {name: _modality(config, items, name) for name in config.modalities},
    }
    return {**report, "warnings": _warnings(config, report)}


def _items(config: "Config", items: pl.DataFrame, kept: pl.DataFrame) -> Report:
    raw = read_items(config)
    counts = collect_items(config, raw.select(pl.len().alias(""), pl.all().null_count())).row(0, named=True)
    rows = counts.pop("")
    touched = kept[ITEM_ID].n_unique()
    return {
        "rows": rows,
        "kept": len(items),
        "without_id": counts[ITEM_ID],
        "repeated_rows": rows - counts[ITEM_ID] - len(items),
        "without_interactions": len(items) - touched,
        "id_type": str(items.schema[ITEM_ID]),
        "nulls": counts,
    }


def _interactions(config: "Config", items: pl.DataFrame) -> tuple[Report, pl.DataFrame]:
    """Counts, and the interactions that are left."""
    steps = interaction_steps(config, items)
    raw = steps[0][1]
    query = raw.select(pl.len().alias(""), pl.all().null_count(), pl.col(USER_ID).n_unique().alias("users_before"))
    counts = collect_interactions(config, query).row(0, named=True)
    rows, users = counts.pop(""), counts.pop("users_before") - (counts[USER_ID] > 0)
    kept = collect_interactions(config, steps[-1][1])
    dropped = losses(config, steps)
    if kept.is_empty():
        told = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in dropped.items())
        raise InputError(
            f"{', '.join(config.catalogue.interactions)}: of {rows} interactions none is left; dropped: {told}"
        )
    report = {
        "rows": rows,
        "kept": len(kept),
        "dropped": dropped,
        "unknown_items": _unknown_items(config, raw, items),
        "nulls": counts,
        "timestamps": _timestamps(kept),
        "users_before": users,
    }
    return report, kept


def _unknown_items(config: "Config", raw: pl.LazyFrame, items: pl.DataFrame) -> Report:
    orphans = raw.drop_nulls(ITEM_ID).join(items.lazy().select(ITEM_ID), on=ITEM_ID, how="anti")
    ids = collect_interactions(config, orphans.select(pl.col(ITEM_ID).unique().sort())).to_series()
    return {"count": len(ids), "ids": ids.head(NAMED).to_list()}


def _timestamps(kept: pl.DataFrame) -> Report | None:
    if TIMESTAMP not in kept.columns:
        return None
    first, last = kept[TIMESTAMP].min(), kept[TIMESTAMP].max()
    return {"first": _plain(first), "last": _plain(last), "missing": kept[TIMESTAMP].null_count()}


def _plain(moment: Any) -> Any:
    return moment.isoformat() if hasattr(moment, "isoformat") else moment


def _users(kept: pl.DataFrame, before: int) -> Report:
    counts = kept.group_by(USER_ID).len()["len"].to_list()
    spread = {"min": min(counts), "median": statistics.median(counts), "max": max(counts)}
    return {"before": before, "kept": len(counts), "interactions_per_user": spread}


def _modality(config: "Config", items: pl.DataFrame, name: str) -> Report:
    modality = config.modalities[name]
    if modality.encoder == PRECOMPUTED:
        return _precomputed(config, modality, items)
    if modality.columns:
        without = [content.digest is None for content in texts(items, name, modality)]
        return {"content": "text", "missing": sum(without), **_named("missing", items.filter(pl.Series(without)))}
    return _pictures(config, items, name)


def _precomputed(config: "Config", modality: ModalityConfig, items: pl.DataFrame) -> Report:
    files = [config.path(location) if location else None for location in (modality.vectors, modality.ids)]
    remote = [str(file) for file in files if file is not None and not is_local(file)]
    if remote:
        raise InputError(f"precomputed vectors are read from local files only, not {remote[0]}")
    vectors, ids = (local_path(file) if file is not None else None for file in files)
    assert vectors is not None  # ModalityConfig refuses an empty one
    loaded = read_precomputed(vectors, ids)
    _, present = loaded.rows_for(items[ITEM_ID].to_list())
    return {
        "content": PRECOMPUTED,
        "missing": int((~present).sum()),
        **_named("missing", items.filter(pl.Series(~present))),
        "of_unknown_items": len(loaded.ids) - int(present.sum()),
    }


def _pictures(config: "Config", items: pl.DataFrame, name: str) -> Report:
    if IMAGE_PATH not in items.columns:
        raise InputError(
            f"{config.catalogue.items}: modality {name!r} needs a column {IMAGE_PATH!r}; "
            f'map yours under [catalogue.columns]: THEIRS = "{IMAGE_PATH}", or leave the modality out'
        )
    root = config.path(config.catalogue.image_root)
    if not root.exists():
        raise InputError(f"catalogue.image_root: {root} does not exist; name the folder of the pictures")
    locations = items[IMAGE_PATH].cast(pl.String).to_list()
    findings = check_pictures(root, locations)
    report: Report = {"content": "image", "missing": sum(not location for location in locations)}
    report |= _named("missing", items.filter(pl.Series([not location for location in locations])))
    for kind in (NOT_FOUND, UNREADABLE):
        found = [place for place, finding in enumerate(findings) if finding and finding.kind == kind]
        report[kind] = len(found)
        report[f"{kind}_items"] = [
            {ITEM_ID: items[ITEM_ID][place], IMAGE_PATH: locations[place], "problem": findings[place].problem}
            for place in found[:NAMED]
        ]
    return report


def _named(kind: str, items: pl.DataFrame) -> Report:
    return {f"{kind}_items": items[ITEM_ID].head(NAMED).to_list()}


def _warnings(config: "Config", report: Report) -> list[str]:
    """What deserves a look, though it stops nothing."""
    items, interactions, users = report["items"], report["interactions"], report["users"]
    dropped, spread = interactions["dropped"], users["interactions_per_user"]
    times = interactions["timestamps"]
    checks = [
        (items["without_id"], f"{items['without_id']} items have no {ITEM_ID} and are left out"),
        (items["repeated_rows"], f"{items['repeated_rows']} item rows are repeated word for word; one of each is kept"),
        (dropped["without_id"], f"{dropped['without_id']} interactions lack {USER_ID} or {ITEM_ID} and are left out"),
        (
            dropped["of_unknown_items"],
            f"{dropped['of_unknown_items']} interactions are of {interactions['unknown_items']['count']} items that "
            f"the catalogue lacks, such as {', '.join(map(repr, interactions['unknown_items']['ids'][:3]))}",
        ),
        (dropped["repeated_pairs"], f"{dropped['repeated_pairs']} repeated (user, item) pairs; the earliest is kept"),
        (times and times["missing"], f"{times and times['missing']} interactions have no {TIMESTAMP}"),
        (spread["median"] < 3, f"half of the users have fewer than 3 interactions: little can be learned or measured"),
        *((name, f"catalogue.columns maps {name!r}, which no table has") for name in _unused_mappings(config)),
    ]
    lines = [text for found, text in checks if found]
    return lines + [line for name, found in report["modalities"].items() for line in _content_warnings(name, found, items)]


def _content_warnings(name: str, found: Report, items: Report) -> Sequence[str]:
    counts = {kind: found.get(kind, 0) for kind in ("missing", NOT_FOUND, UNREADABLE)}
    lines = [f"{name}: {counts[NOT_FOUND]} pictures are named but not there"] if counts[NOT_FOUND] else []
    lines += [f"{name}: {counts[UNREADABLE]} pictures cannot be decoded"] if counts[UNREADABLE] else []
    if sum(counts.values()) == items["kept"]:
        lines.append(f"{name}: no item has content; leave the modality out, or mend its columns or paths")
    return lines


def _unused_mappings(config: "Config") -> list[str]:
    return []


def render(report: Report, console: Console) -> None:
    """Print the report for a person."""
