"""Two datasets side by side: which rows and pairs of one are in the other.

Ids are compared as text: a csv catalogue that becomes a Parquet one keeps its items.
"""

import numpy as np
import polars as pl
import torch

from pipeline.columns import ITEM_ID, ITEM_INDEX, SPLIT, TRAIN, USER_ID, USER_INDEX
from pipeline.dataset.dataset import Dataset

HELD_OUT = pl.col(SPLIT) != TRAIN
TRAINED_ON = pl.col(SPLIT) == TRAIN


def as_text(ids: pl.Series) -> pl.Series:
    """Ids as they are compared."""
    return ids.cast(pl.String)


def rows_of(ids: pl.Series, table: pl.Series) -> np.ndarray:
    """Row that each id has in `table`, int64; -1 where it is not there."""
    rows = pl.DataFrame({"id": as_text(table)}).with_row_index("row")
    found = pl.DataFrame({"id": as_text(ids)}).join(rows, on="id", how="left", maintain_order="left")
    return found["row"].cast(pl.Int64).fill_null(-1).to_numpy().copy()


def earlier_rows(earlier: Dataset, today: Dataset) -> tuple[torch.Tensor, torch.Tensor]:
    """Row that each user and each item of today had earlier, int64 (U,) and (I,); -1 for a new one."""
    user_U = rows_of(today.users[USER_ID], earlier.users[USER_ID])
    item_I = rows_of(today.items[ITEM_ID], earlier.items[ITEM_ID])
    return torch.from_numpy(user_U), torch.from_numpy(item_I)


def pairs_by_id(dataset: Dataset, part: pl.Expr) -> pl.DataFrame:
    """Users and items of some interactions, their ids as text."""
    chosen = dataset.interactions.filter(part)
    return pl.DataFrame(
        {
            USER_ID: as_text(dataset.users[USER_ID]).gather(chosen[USER_INDEX]),
            ITEM_ID: as_text(dataset.items[ITEM_ID]).gather(chosen[ITEM_INDEX]),
        }
    )


def pairs_among(dataset: Dataset, users: pl.Series, items: pl.Series) -> pl.DataFrame:
    """The interactions between these users and items, as row numbers into them; columns as in `interactions`."""
    user_U = rows_of(dataset.users[USER_ID], users)
    item_I = rows_of(dataset.items[ITEM_ID], items)
    interactions = dataset.interactions
    return pl.DataFrame(
        {
            USER_INDEX: user_U[interactions[USER_INDEX].to_numpy()],
            ITEM_INDEX: item_I[interactions[ITEM_INDEX].to_numpy()],
            SPLIT: interactions[SPLIT],
        }
    ).filter((pl.col(USER_INDEX) >= 0) & (pl.col(ITEM_INDEX) >= 0))
