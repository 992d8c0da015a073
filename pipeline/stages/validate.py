"""Stage `validate`: a catalogue is checked before anything is computed from it: what is there, missing, dropped."""

import dataclasses
import statistics
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from features.modality import ModalityConfig
from pipeline.catalogue.catalogue import Catalogue
from pipeline.catalogue.cleaning import clean_items, interaction_steps, losses, require_interactions, require_weights
from pipeline.catalogue.contents import has_text, read_texts, require_image_path
from pipeline.catalogue.pictures import NOT_FOUND, UNREADABLE, check_pictures
from pipeline.catalogue.pin import take_pin, unmoved
from pipeline.catalogue.precomputed import PRECOMPUTED, load_precomputed
from pipeline.columns import CONTENT_HASH, IMAGE_PATH, ITEM_ID, TIMESTAMP, USER_ID
from pipeline.config.config import Config
from pipeline.dataset.kinds import require_kind
from pipeline.dataset.split import split_interactions
from pipeline.errors import InputError, InputMovedError
from pipeline.run import Run
from pipeline.stages.results import ValidateResult
from pipeline.stages.validation_report import (
    ContentReport,
    InteractionsReport,
    ItemsReport,
    PictureProblem,
    Spread,
    Timestamps,
    UnknownItems,
    UsersReport,
    ValidationReport,
    find_warnings,
)

NAMED = 20  # items named per finding
TRIES = 3
"""How often input that is replaced meanwhile is read."""
_ROWS, _ITEMS, _USERS, _LAST, _VALUES = "__rows", "__items", "__users", "__last", "__values "
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECONDS_A_YEAR = 365.2425 * 86_400 * 1e6
_NUM_ROWS = pl.len().alias(_ROWS)


def validate(run: Run, folder: Path) -> ValidateResult:
    """Pin the run's tables and check its catalogue (`check_catalogue`); pin and report are all there is.

    Raises `InputError` as `check_catalogue` does, and where files are replaced again and again while they are read.
    """
    catalogue, moved = run.config.open_catalogue(), ""
    for _ in range(TRIES):
        try:
            pin = take_pin(catalogue)
            with unmoved(catalogue, pin):
                return ValidateResult(report=check_catalogue(run.config), input=pin)
        except InputMovedError as error:
            moved = str(error)
            run.reporter.say(f"validate: the input moved while it was read ({moved}); it is read again")
    raise InputError(
        f"the input moved {TRIES} times while it was read ({moved}); start when whoever writes it has finished"
    )


def check_catalogue(config: Config) -> ValidationReport:
    """Read everything once and count.

    Raises:
        InputError: an input no run could use: a table that cannot be read, ids that do not fit, nothing left, or not
            what `split` or `evaluation` needs.
        FeatureError: precomputed vectors that cannot be used.
    """
    catalogue = config.open_catalogue()
    require_kind(config.evaluation, catalogue.scan_items().collect_schema(), catalogue.settings.items)
    items = clean_items(catalogue, [IMAGE_PATH])
    interactions, kept, users_before = _interactions(catalogue, items)
    split_interactions(kept, config.split)  # what cannot be split is refused before anything is encoded
    report = ValidationReport(
        items=_items(catalogue, config.modalities, items, kept),
        interactions=interactions,
        users=_users(kept, users_before),
        density=len(kept) / (len(items) * kept[USER_ID].n_unique()),
        modalities={name: _modality(catalogue, name, one, items) for name, one in config.modalities.items()},
    )
    unused = [f"catalogue.columns maps {name!r}, a column that no file has" for name in catalogue.unused_mappings()]
    return dataclasses.replace(report, warnings=[*unused, *find_warnings(report)])


def _items(
    catalogue: Catalogue, modalities: dict[str, ModalityConfig], items: pl.DataFrame, kept: pl.DataFrame
) -> ItemsReport:
    raw = catalogue.scan_catalogue()
    distinct = pl.col(ITEM_ID).drop_nulls().n_unique().alias(_ITEMS)
    content = _content_columns(modalities, raw.collect_schema())
    values = [filled.sum().alias(_VALUES + name) for name, filled in content.items()]
    wanted = raw.select(_NUM_ROWS, distinct, pl.all().null_count(), *values)
    counts = catalogue.collect_items(wanted).row(0, named=True)
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
    )


def _content_columns(modalities: dict[str, ModalityConfig], schema: pl.Schema) -> dict[str, pl.Expr]:
    """The columns that contents are made of and the catalogue has, each with whether a row has something in it."""
    named = [
        name
        for modality in modalities.values()
        if modality.encoder != PRECOMPUTED
        for name in modality.columns or (IMAGE_PATH,)
    ]
    return {name: has_text(name, schema[name]) for name in named if name in schema}


def _interactions(catalogue: Catalogue, items: pl.DataFrame) -> tuple[InteractionsReport, pl.DataFrame, int]:
    """Counts, the interactions that are left, and the number of users before anything was dropped."""
    steps = interaction_steps(catalogue, items)
    raw = steps[0][1]
    users = pl.col(USER_ID).drop_nulls().n_unique().alias(_USERS)
    schema = raw.collect_schema()
    last = [pl.col(TIMESTAMP).max().to_physical().alias(_LAST)] if TIMESTAMP in schema else []
    wanted = raw.select(_NUM_ROWS, users, pl.all().null_count(), *last)
    counts = catalogue.collect_interactions(wanted).row(0, named=True)
    rows, users_before, latest = counts.pop(_ROWS), counts.pop(_USERS), counts.pop(_LAST, None)
    kept = catalogue.collect_interactions(steps[-1][1])
    dropped = losses(catalogue, steps)
    require_interactions(catalogue, kept, dropped)
    require_weights(catalogue, kept)
    report = InteractionsReport(
        rows=rows,
        kept=len(kept),
        dropped=dropped,
        rows_without_id=catalogue.rows_without_id(interactions=True) if dropped["without_id"] else [],
        unknown_items=_unknown_items(catalogue, raw, items),
        nulls=counts,
        last_timestamp=_spelled(latest) if isinstance(schema.get(TIMESTAMP), pl.Datetime) else latest,
        timestamps=_timestamps(catalogue, kept),
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


def _modality(catalogue: Catalogue, name: str, modality: ModalityConfig, items: pl.DataFrame) -> ContentReport:
    if modality.encoder == PRECOMPUTED:
        return _precomputed(catalogue, modality, items)
    if modality.columns:
        missing = read_texts(catalogue, name, modality.columns, items)[CONTENT_HASH].is_null()
        return _without_content("text", items, missing)
    return _pictures(catalogue, name, items)


def _without_content(content: str, items: pl.DataFrame, missing: pl.Series) -> ContentReport:
    ids = items.filter(missing)[ITEM_ID]
    return ContentReport(
        content=content, usable=len(items) - len(ids), missing=len(ids), missing_items=ids.head(NAMED).to_list()
    )


def _precomputed(catalogue: Catalogue, modality: ModalityConfig, items: pl.DataFrame) -> ContentReport:
    vectors = load_precomputed(catalogue, modality, items[ITEM_ID].to_list())
    report = _without_content(PRECOMPUTED, items, ~pl.Series(vectors.present))
    return dataclasses.replace(report, of_unknown_items=vectors.num_vectors - int(vectors.present.sum()))


def _pictures(catalogue: Catalogue, name: str, items: pl.DataFrame) -> ContentReport:
    require_image_path(catalogue, name, items)
    root = catalogue.picture_root()
    locations = items[IMAGE_PATH].cast(pl.String).to_list()
    report = _without_content("image", items, pl.Series([not location for location in locations]))
    rows = list(zip(items[ITEM_ID].to_list(), locations, check_pictures(root, locations), strict=True))
    not_found, unreadable = (
        [
            PictureProblem(item_id=item, image_path=location, problem=finding.problem)
            for item, location, finding in rows
            if finding and finding.kind == kind
        ]
        for kind in (NOT_FOUND, UNREADABLE)
    )
    return dataclasses.replace(
        report,
        usable=report.usable - len(not_found) - len(unreadable),
        not_found=len(not_found),
        not_found_items=not_found[:NAMED],
        unreadable=len(unreadable),
        unreadable_items=unreadable[:NAMED],
    )
