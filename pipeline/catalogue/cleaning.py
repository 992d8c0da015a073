"""The clean tables that the pipeline uses: one row an item, each pair of user and item once."""

from collections.abc import Sequence

import polars as pl

from pipeline.catalogue.catalogue import INTERACTION_COLUMNS, NAMED, Catalogue, require_same_id_type
from pipeline.columns import ITEM_ID, RATING, USER_ID, WEIGHT
from pipeline.draws import draw_of
from pipeline.errors import InputError


def clean_items(catalogue: Catalogue, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """The items with one row each, sorted by id (integers by value, text by bytes).

    Rows without an id and exact repetitions are dropped. Of the columns only `item_id` and those of `columns` that
    are there are read, all without `columns`: texts can be larger than memory.

    Raises:
        InputError: no item is left, or rows of the same id differ.
    """
    rows = catalogue.scan_items().drop_nulls(ITEM_ID)
    there = rows.collect_schema().names()
    asked = there if columns is None else [name for name in there if name in (ITEM_ID, *columns)]
    items = catalogue.collect_items(rows.select(asked))
    if items.is_empty():
        raise InputError(f"{catalogue.settings.items}: no row has an {ITEM_ID}; give at least one")
    repeated = items.filter(pl.col(ITEM_ID).is_duplicated()).select(ITEM_ID).unique()
    if len(repeated):
        _refuse_differing(catalogue, catalogue.collect_items(rows.join(repeated.lazy(), on=ITEM_ID, how="semi")))
        items = items.unique(ITEM_ID, keep="any")
    return items.sort(ITEM_ID)


def _refuse_differing(catalogue: Catalogue, repeated: pl.DataFrame) -> None:
    """Raise `InputError` unless all rows of an id are the same."""
    differing = repeated.unique().filter(pl.col(ITEM_ID).is_duplicated())[ITEM_ID].unique().sort()
    if len(differing):
        raise InputError(
            f"{catalogue.settings.items}, column {ITEM_ID}: {len(differing)} ids have several rows that differ, "
            f"such as {', '.join(map(repr, differing[:NAMED].to_list()))}; keep one row each"
        )


def clean_interactions(catalogue: Catalogue, items: pl.DataFrame) -> pl.DataFrame:
    """Unique (user_id, item_id) pairs of known items after the filters, sorted by both; any input order gives the same.

    Of a repeated pair the earliest stays (without timestamps, the smallest row), so that nothing of the future
    enters training.

    Raises:
        InputError: ids of another type than the catalogue's, a filter without its column, an infinite rating, a weight
            that is no positive number, or nothing is left.
    """
    steps = interaction_steps(catalogue, items)
    interactions = catalogue.collect_interactions(steps[-1][1]).sort(USER_ID, ITEM_ID)
    require_numbers(catalogue, interactions)
    if interactions.is_empty():
        require_interactions(catalogue, interactions, losses(catalogue, steps))
    return interactions


def require_interactions(catalogue: Catalogue, interactions: pl.DataFrame, dropped: dict[str, int]) -> None:
    """Raise `InputError` when nothing is left, telling where it went."""
    if interactions.is_empty():
        told = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in dropped.items() if count)
        raise InputError(
            f"{catalogue.shown_interactions}: no interaction is left; dropped were "
            f"{told or 'none: there were none'}; check the ids and catalogue.filter"
        )


def require_numbers(catalogue: Catalogue, interactions: pl.DataFrame) -> None:
    """Raise `InputError` for a rating that is infinite, and for a weight that is not above 0 and finite.

    An empty weight counts as 1. A text such as 1e999, which no float64 holds, is read as infinite.
    """
    sound = {RATING: pl.col(RATING).is_finite(), WEIGHT: pl.col(WEIGHT).is_finite() & (pl.col(WEIGHT) > 0)}
    wanted = {RATING: "ratings are infinite", WEIGHT: "weights are not above 0 and finite"}
    for name in [name for name in sound if name in interactions.columns]:
        wrong = interactions.filter(~sound[name])
        if len(wrong):
            user, item, value = wrong.select(USER_ID, ITEM_ID, name).row(0)
            raise InputError(
                f"{catalogue.shown_interactions}, column {name}: {len(wrong)} {wanted[name]}, such as {value} of user "
                f"{user!r} and item {item!r}; correct them, or leave these rows out"
            )


def interaction_steps(catalogue: Catalogue, items: pl.DataFrame) -> list[tuple[str, pl.LazyFrame]]:
    """The cleaning, step by step: what a step drops, and what is left after it. The first is the raw table.

    Raises `InputError` as `clean_interactions` does, except for an empty result.
    """
    rules, where = catalogue.settings.filter, catalogue.shown_interactions
    raw = catalogue.scan_interactions()
    schema = raw.collect_schema()
    require_same_id_type(schema[ITEM_ID], items.schema[ITEM_ID], where)
    complete = raw.drop_nulls([USER_ID, ITEM_ID])
    frame = complete.join(items.lazy().select(ITEM_ID), on=ITEM_ID, how="semi")
    steps = [("rows", raw), ("without_id", complete), ("of_unknown_items", frame)]
    if rules.user_share < 1:
        frame = frame.filter(draw_of(0, USER_ID) < int(rules.user_share * 2**64))
        steps.append(("of_users_left_out", frame))
    if rules.min_rating is not None:
        _require_column(RATING, schema, where, "min_rating")
        frame = frame.filter(pl.col(RATING) >= rules.min_rating)
        steps.append(("below_min_rating", frame))
    order = [USER_ID, ITEM_ID, *(name for name in INTERACTION_COLUMNS[2:] if name in schema)]
    frame = frame.sort(order, nulls_last=True).unique([USER_ID, ITEM_ID], keep="first", maintain_order=True)
    steps.append(("repeated_pairs", frame))
    if rules.max_user_interactions is not None:
        place = draw_of(0, USER_ID, ITEM_ID).rank("ordinal").over(USER_ID)
        frame = frame.filter(place <= rules.max_user_interactions)
        steps.append(("beyond_max_of_user", frame))
    for name, column, minimum in (
        ("of_light_users", USER_ID, rules.min_user_interactions),
        ("of_rare_items", ITEM_ID, rules.min_item_interactions),
    ):
        if minimum > 1:
            frame = frame.filter(pl.len().over(column) >= minimum)
            steps.append((name, frame))
    return steps


def losses(catalogue: Catalogue, steps: list[tuple[str, pl.LazyFrame]]) -> dict[str, int]:
    """How many rows each step dropped; the raw table's own step is left out."""
    lengths = pl.concat(frame.select(pl.len()) for _, frame in steps)
    counts = catalogue.collect_interactions(lengths).to_series().to_list()
    names = [name for name, _ in steps[1:]]
    return {name: before - after for name, before, after in zip(names, counts[:-1], counts[1:], strict=True)}


def _require_column(name: str, schema: pl.Schema, where: str, rule: str) -> None:
    if name not in schema:
        raise InputError(f"{where}: catalogue.filter.{rule} needs a column {name!r}; map it or unset the filter")
