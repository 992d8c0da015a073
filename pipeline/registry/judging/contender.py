"""What the gate compares: a release's vectors, or those that will become one, and what their run held out.

Shapes: U users, I items, D dimension.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow.compute as pc
import torch
from torch import Tensor
from upath import UPath

from model.evaluation import InnerProduct
from pipeline.columns import EMBEDDING, ITEM_ID, SOURCE, USER_ID
from pipeline.dataset.alignment import rows_of
from pipeline.dataset.dataset import INTERACTIONS, Dataset, load_dataset
from pipeline.errors import DamagedError
from pipeline.release.format import ITEM_EMBEDDINGS, USER_VECTORS
from pipeline.release.manifest import read_manifest
from pipeline.release.sound import sound_table
from pipeline.storage.arrow import vectors_of
from pipeline.storage.files import is_complete
from pipeline.storage.generations import present_folder
from pipeline.storage.layout import Store

PREPARED = "prepare"
"""Folder of stage `prepare` in a run's; `pipeline.run` stands above this room."""
COLD_ITEMS = "cold-items"


@dataclass(frozen=True, kw_only=True)
class Contender:
    """Vectors and the dataset behind them."""

    run_id: str
    users: pl.Series
    """Ids of the rows of `user_UD`."""
    items: pl.Series
    user_UD: Tensor
    item_ID: Tensor
    has_content_I: np.ndarray
    """Whether content contributed to the item's vector, bool."""
    dataset: Dataset | None
    """What its run prepared, without features; None where that is gone."""
    cold_items: bool
    """Whether whole items are held out, so that only those without a training interaction compete."""

    def scorer(self, users: pl.Series, items: pl.Series) -> InnerProduct:
        """Score these users and items, which it must know, by their row numbers."""
        user_U, item_I = rows_of(users, self.users), rows_of(items, self.items)
        if (user_U < 0).any() or (item_I < 0).any():
            raise DamagedError(
                f"release {self.run_id} lacks vectors of users or items that its run prepared: export again"
            )
        return InnerProduct(self.user_UD[torch.from_numpy(user_U)], self.item_ID[torch.from_numpy(item_I)])


def released(store: Store, run_id: str, manifest_sha256: str | None = None) -> Contender:
    """A published release; its manifest's sha256 is what refers to it has recorded.

    Raises `StoreError` where there is none, or it cannot be read or is not that one.
    """
    release = store.release(run_id)
    manifest = read_manifest(release, manifest_sha256)
    items, users = sound_table(release, ITEM_EMBEDDINGS), sound_table(release, USER_VECTORS)
    return Contender(
        run_id=run_id,
        users=_ids(users.column(USER_ID)),
        items=_ids(items.column(ITEM_ID)),
        user_UD=torch.from_numpy(vectors_of(users, EMBEDDING).copy()),
        item_ID=torch.from_numpy(vectors_of(items, EMBEDDING).copy()),
        has_content_I=pc.match_substring(items.column(SOURCE), "content").to_numpy(zero_copy_only=False),
        dataset=prepared(present_folder(store, run_id) / PREPARED),
        cold_items=manifest.config.get("split", {}).get("strategy") == COLD_ITEMS,
    )


def prepared(folder: UPath) -> Dataset | None:
    """What a run prepared; None where that is gone."""
    if not (is_complete(folder) and (folder / INTERACTIONS).exists()):
        return None
    return load_dataset(folder, with_features=False)


def _ids(column: object) -> pl.Series:
    series = pl.from_arrow(column)
    assert isinstance(series, pl.Series)
    return series
