"""The kind of each item, such as its product type: a column of the catalogue that the configuration names."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from pipeline.columns import KIND

NO_KIND = -1
KIND_SETTING = "evaluation.kind"


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What is measured beside the ranking."""

    kind: str | None = None
    """Column of the catalogue that names the kind of an item, such as its product type. `evaluate` then measures how
    many of an item's nearest neighbours are of its kind. A whole list is one kind."""

    @property
    def columns(self) -> list[str]:
        """The columns of the catalogue that are named here."""
        return [self.kind] if self.kind else []


def with_kind(items: pl.DataFrame, config: EvaluationConfig) -> pl.DataFrame:
    """Add the column `kind` as text, null where it is empty; the items as they are where no column is configured.

    A list, such as the path of categories that leads to an item, is one kind as a whole.
    """
    if config.kind is None:
        return items
    column = pl.col(config.kind)
    is_list = isinstance(items.schema[config.kind], pl.List)
    text = (column.cast(pl.List(pl.String)).list.join(" | ") if is_list else column.cast(pl.String)).str.strip_chars()
    return items.with_columns(pl.when(text != "").then(text).alias(KIND))


def kind_numbers(items: pl.DataFrame) -> np.ndarray | None:
    """The same number for items of the same kind, `NO_KIND` where it is not known, int64; None without kinds."""
    if KIND not in items.columns:
        return None
    ranks = items[KIND].rank("dense").cast(pl.Int64).fill_null(NO_KIND)
    return ranks.to_numpy().copy()
