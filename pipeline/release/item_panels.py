"""New items and similar items for people: what the model comes to, beside content alone."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.dataset.records import CO_PURCHASES, SAME_KIND, SLOT_SHARE, Evaluation, ItemQuality, Metrics

Columns = dict[str, Callable[[ItemQuality], str]]
"""Name of a column to what stands in it."""
LEARNED = "learned vectors"
RECALL = "recall@20"


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A small table with what it means."""

    title: str
    lead: str
    columns: list[str]
    rows: dict[str, list[str]]
    """Cells by who made the lists or neighbours, the model first."""
    note: str = ""


def new_items_panel(metrics: Evaluation) -> Panel | None:
    """How often lists show new items and how well they find them; None where there is none, or no list."""
    new = metrics.new_items
    if not new or not new["items"]:
        return None
    columns: Columns = {"places in the top 20": lambda one: percent(_value(one.new_items, SLOT_SHARE))}
    if metrics.cold_open:
        columns["purchases found"] = lambda one: percent(_value(one.cold_open, RECALL))
    rows = _rows(metrics, columns)
    rows["share of the catalogue"] = [percent(new["catalogue_share"]), *([""] * (len(columns) - 1))]
    warm, alone = _value(metrics.warm, RECALL), _value(metrics.warm_alone, RECALL)
    told = warm is not None and alone is not None
    return Panel(
        title="New items",
        lead=f"{new['items']:,.0f} items, {percent(new['catalogue_share'])} of the catalogue, have no interactions to "
        "learn from. How many places in the users’ lists of 20 do they get, where all items compete?"
        + (
            " And how many purchases of them, which training did not see, do the lists find?"
            if metrics.cold_open
            else ""
        ),
        columns=list(columns),
        rows=rows,
        note=f"What they cost the others: {RECALL} of items with interactions is {warm:.4f} with the new ones in the "
        f"contest, {alone:.4f} without them."
        if told
        else "",
    )


def similar_items_panel(metrics: Evaluation, kind: str = "kind") -> Panel | None:
    """How good the ten nearest neighbours are; None where nothing of it was measured.

    Args:
        metrics: of one model.
        kind: what the catalogue calls the kind of an item.
    """
    columns: Columns = {}
    told = []
    similar = metrics.similar_items or {}
    if SAME_KIND in similar:
        columns["same kind"] = lambda one: percent(_value(one.similar_items, SAME_KIND))
        told.append(f"How many of an item’s ten nearest neighbours are of its kind ({kind})?")
    if CO_PURCHASES in similar:
        columns["co-purchases found"] = lambda one: percent(_value(one.similar_items, CO_PURCHASES))
        told.append(
            "Where a user took two items and training did not see one of them: how often does that one stand among the "
            "other’s ten nearest?"
        )
    if not columns:
        return None
    return Panel(title="Similar items", lead=" ".join(told), columns=list(columns), rows=_rows(metrics, columns))


def percent(share: float | None) -> str:
    """A share for people: three figures at most, a dash where there is none."""
    if share is None or not math.isfinite(share):
        return "–"
    decimals = 1 if share == 0 or share >= 0.01 else 2 if share >= 0.0001 else 4
    return f"{100 * share:.{decimals}f} %"


def _rows(metrics: Evaluation, columns: Columns) -> dict[str, list[str]]:
    model = ItemQuality(
        test=metrics.test,
        cold_open=metrics.cold_open,
        new_items=metrics.new_items,
        similar_items=metrics.similar_items,
    )
    made_by = {LEARNED: model, **{f"{name} alone": one for name, one in metrics.yardsticks.items()}}
    return {name: [cell(one) for cell in columns.values()] for name, one in made_by.items()}


def _value(metrics: Metrics | None, name: str) -> float | None:
    return None if metrics is None else metrics.get(name)
