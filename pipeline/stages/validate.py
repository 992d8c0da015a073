"""Stage `validate`: a catalogue is checked before anything is computed: what is there, missing or dropped."""

import dataclasses
import statistics
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from features.precomputed import ROWS
from pipeline.catalogue.catalogue import Catalogue
from pipeline.catalogue.cleaning import clean_items, interaction_steps, losses, require_interactions, require_numbers
from pipeline.catalogue.contents import has_text, require_image_path
from pipeline.catalogue.oddities import require_unit, take_words, units, words_for_nothing
from pipeline.catalogue.pin import take_pin, unmoved
from pipeline.catalogue.precomputed import PRECOMPUTED
from pipeline.columns import IMAGE_PATH, ITEM_ID, TIMESTAMP, USER_ID
from pipeline.config.config import Config
from pipeline.dataset.content_store import ContentStore
from pipeline.dataset.kinds import KIND_SETTING
from pipeline.dataset.split import split_interactions
from pipeline.errors import InputError, InputMovedError
from pipeline.run import Run
from pipeline.stages.pinned_pictures import keep_pictures
from pipeline.stages.results import ValidateResult
from pipeline.stages.validate_contents import check_content
from pipeline.stages.validate_pictures import NAMED, Look, look_at_pictures
from pipeline.stages.validation_report import (
    InteractionsReport,
    ItemsReport,
    Spread,
    Timestamps,
    UnknownItems,
    UsersReport,
    ValidationReport,
    find_warnings,
)

TRIES = 3
"""How often input is read at most, if it is replaced meanwhile."""
_ROWS, _ITEMS, _USERS, _LAST, _VALUES = "__rows", "__items", "__users", "__last", "__values "
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECONDS_A_YEAR = 365.2425 * 86_400 * 1e6
_SHOWN = 3
_NUM_ROWS = pl.len().alias(_ROWS)


def validate(run: Run, folder: Path) -> ValidateResult:
    """Pin the run's tables, check its catalogue (`check_catalogue`) and keep the listing of its pictures.

    Raises `InputError` as `check_catalogue` does, and where files are replaced again and again while they are read.
    """
    catalogue, moved = run.config.open_catalogue(), ""
    for _ in range(TRIES):
        try:
            pin = take_pin(catalogue)
            with unmoved(catalogue, pin):
                return ValidateResult(report=check_catalogue(run.config, folder), input=pin)
        except InputMovedError as error:
            moved = str(error)
            run.reporter.say(f"validate: the input moved while it was read ({moved}); it is read again")
    raise InputError(f"the input moved {TRIES} times while it was read ({moved}); start when its writer has finished")


def check_catalogue(config: Config, folder: Path | None = None, *, deep: bool = False) -> ValidationReport:
    """Read the tables once and count; of pictures see `validate_pictures`.

    Args:
        folder: where the listing of the pictures is kept, and those that were read.
        deep: decode every picture.

    Raises:
        InputError: an input no run could use: a table that cannot be read, ids that do not fit, nothing left, or not
            what `split` or `evaluation` needs.
        FeatureError: precomputed vectors that cannot be used.
    """
    catalogue = config.open_catalogue()
    catalogue.require_columns(config.evaluation.columns, KIND_SETTING)
    items = clean_items(catalogue, [IMAGE_PATH])
    interactions, kept, users_before = _interactions(catalogue, items)
    split_interactions(kept, config.split)  # data that cannot be split is refused before anything is encoded
    look = _look(config, catalogue, items, deep=deep)
    if look and folder:
        keep_pictures(folder, look.listing, look.checked)
    report = ValidationReport(
        items=_items(catalogue, config, items, kept),
        interactions=interactions,
        users=_users(kept, users_before),
        density=len(kept) / (len(items) * kept[USER_ID].n_unique()),
        modalities={name: check_content(catalogue, name, one, items, look) for name, one in config.modalities.items()},
    )
    unused = [f"catalogue.columns maps {name!r}, a column that no file has" for name in catalogue.unused_mappings()]
    return dataclasses.replace(report, warnings=[*unused, *_not_read(config, catalogue), *find_warnings(report)])


def _look(config: Config, catalogue: Catalogue, items: pl.DataFrame, *, deep: bool) -> Look | None:
    """At the pictures; None where no modality is made of them."""
    names = [name for name, one in config.modalities.items() if one.encoder != PRECOMPUTED and not one.columns]
    if not names:
        return None
    require_image_path(catalogue, names[0], items)
    return look_at_pictures(catalogue, ContentStore(config.open_store().contents), items, deep=deep)


def _not_read(config: Config, catalogue: Catalogue) -> list[str]:
    """One warning of all that seems to be data and is not read."""
    named = [one for modality in config.modalities.values() for one in (modality.vectors, modality.ids)]
    paths = catalogue.overlooked(one for one in named if one and one != ROWS)
    if not paths:
        return []
    shown = ", ".join(map(str, paths[:_SHOWN])) + (" …" if len(paths) > _SHOWN else "")
    return [f"not read, by name or as folders below ({len(paths)} in all): {shown}"]


def _items(catalogue: Catalogue, config: Config, items: pl.DataFrame, kept: pl.DataFrame) -> ItemsReport:
    raw = catalogue.scan_catalogue()
    schema = raw.collect_schema()
    distinct = pl.col(ITEM_ID).drop_nulls().n_unique().alias(_ITEMS)
    content = _configured_columns(config, schema)
    values = [filled.sum().alias(_VALUES + name) for name, filled in content.items()]
    words = words_for_nothing([ITEM_ID, *(name for name in content if name != IMAGE_PATH)], schema)
    wanted = raw.select(_NUM_ROWS, distinct, pl.all().null_count(), *values, *words)
    counts = catalogue.collect_items(wanted).row(0, named=True)
    found = take_words(counts)
    rows, in_catalogue = counts.pop(_ROWS), counts.pop(_ITEMS)
    added = items.lazy().select(ITEM_ID).join(raw.select(ITEM_ID), on=ITEM_ID, how="anti")
    not_in_catalogue = len(catalogue.collect_items(added))
    touched = kept[ITEM_ID].n_unique()
    return ItemsReport(
        rows=rows,
        kept=len(items),
        without_id=counts[ITEM_ID],
        rows_without_id=catalogue.rows_without_id(interactions=False) if counts[ITEM_ID] else [],
        repeated_rows=rows - counts[ITEM_ID] - in_catalogue,
        left_out=in_catalogue - len(items) + not_in_catalogue,
        not_in_catalogue=not_in_catalogue,
        without_interactions=len(items) - touched,
        id_type=str(items.schema[ITEM_ID]),
        values={name: counts.pop(_VALUES + name) for name in content},
        nulls=counts,
        words_for_nothing=found,
    )


def _configured_columns(config: Config, schema: pl.Schema) -> dict[str, pl.Expr]:
    """The columns that contents and kinds are made of and the catalogue has, each with whether a row has a value."""
    contents = [
        name
        for modality in config.modalities.values()
        if modality.encoder != PRECOMPUTED
        for name in modality.columns or (IMAGE_PATH,)
    ]
    return {name: has_text(name, schema[name]) for name in [*contents, *config.evaluation.columns] if name in schema}


def _interactions(catalogue: Catalogue, items: pl.DataFrame) -> tuple[InteractionsReport, pl.DataFrame, int]:
    """Counts, the interactions that are left, and the number of users before anything was dropped."""
    steps = interaction_steps(catalogue, items)
    raw = steps[0][1]
    users = pl.col(USER_ID).drop_nulls().n_unique().alias(_USERS)
    schema = raw.collect_schema()
    last = [pl.col(TIMESTAMP).max().to_physical().alias(_LAST)] if TIMESTAMP in schema else []
    odd = [*words_for_nothing([USER_ID, ITEM_ID], schema), *units(schema)]
    wanted = raw.select(_NUM_ROWS, users, pl.all().null_count(), *last, *odd)
    counts = catalogue.collect_interactions(wanted).row(0, named=True)
    words = take_words(counts)
    require_unit(counts, catalogue.shown_interactions)
    rows, users_before, latest = counts.pop(_ROWS), counts.pop(_USERS), counts.pop(_LAST, None)
    kept = catalogue.collect_interactions(steps[-1][1])
    dropped = losses(catalogue, steps)
    require_interactions(catalogue, kept, dropped)
    require_numbers(catalogue, kept)
    report = InteractionsReport(
        rows=rows,
        kept=len(kept),
        dropped=dropped,
        rows_without_id=catalogue.rows_without_id(interactions=True) if dropped["without_id"] else [],
        unknown_items=_unknown_items(catalogue, raw, items),
        nulls=counts,
        last_timestamp=_spelled(latest) if isinstance(schema.get(TIMESTAMP), pl.Datetime) else latest,
        timestamps=_timestamps(catalogue, kept),
        words_for_nothing=words,
    )
    return report, kept, users_before


def _spelled(microseconds: int | None) -> str | None:
    """A moment in ISO 8601; None for one that Python's calendar does not have, in a row that cleaning drops."""
    try:
        return None if microseconds is None else (_EPOCH + timedelta(microseconds=microseconds)).isoformat()
    except OverflowError:
        return None


def _unknown_items(catalogue: Catalogue, raw: pl.LazyFrame, items: pl.DataFrame) -> UnknownItems:
    orphans = raw.drop_nulls(ITEM_ID).join(items.lazy().select(ITEM_ID), on=ITEM_ID, how="anti")
    ids = catalogue.collect_interactions(orphans.select(pl.col(ITEM_ID).unique().sort())).to_series()
    return UnknownItems(count=len(ids), ids=ids.head(NAMED).to_list())


def _timestamps(catalogue: Catalogue, kept: pl.DataFrame) -> Timestamps | None:
    if TIMESTAMP not in kept.columns:
        return None
    if isinstance(kept.schema[TIMESTAMP], pl.Datetime):
        _require_years(catalogue, kept[TIMESTAMP].to_physical())
    moments = kept[TIMESTAMP]
    return Timestamps(first=_plain(moments.min()), last=_plain(moments.max()), missing=moments.null_count())


def _require_years(catalogue: Catalogue, microseconds: pl.Series) -> None:
    """Refuse moments that Python's calendar does not have: they were written in another unit."""
    moments = microseconds.drop_nulls().to_numpy()
    if not len(moments):
        return
    first, last = (1970 + float(moment) / _MICROSECONDS_A_YEAR for moment in (moments.min(), moments.max()))
    if first < 1 or last >= 10_000:
        raise InputError(
            f"{catalogue.shown_interactions}, column {TIMESTAMP}: moments are of the years {int(first)} to "
            f"{int(last)}; were they written in another unit, such as milliseconds for seconds?"
        )


def _plain(moment: Any) -> Any:
    return moment.isoformat() if hasattr(moment, "isoformat") else moment


def _users(kept: pl.DataFrame, before: int) -> UsersReport:
    counts = kept.group_by(USER_ID).len()["len"].to_list()
    spread = Spread(min=min(counts), median=statistics.median(counts), max=max(counts))
    return UsersReport(before=before, kept=len(counts), interactions_per_user=spread)
