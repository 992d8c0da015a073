"""The files that the registered model reads (`serving/ranker.py`): plain arrays, made to be mapped into memory.

Parquet cannot be mapped: each worker would hold a copy of every vector.

Shapes: I items, U users, D dimension, P pairs of a user and an item that the user has.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from upath import UPath

from pipeline.columns import EMBEDDING, ITEM_ID, USER_ID
from pipeline.release.fold_in import FoldIn, prior
from pipeline.release.format import ITEM_EMBEDDINGS, SEEN, TABLES_OF, USER_VECTORS
from pipeline.release.increment import Published, merged
from pipeline.release.manifest import read_manifest
from pipeline.release.sound import sound_table
from pipeline.storage.arrow import vectors_of
from pipeline.storage.files import as_json


@dataclass(frozen=True, kw_only=True)
class Served:
    """A release in the form that serving needs; users and items in order of their ids."""

    user_id: pa.Array
    user_UD: np.ndarray
    item_id: pa.Array
    item_ID: np.ndarray
    user_P: np.ndarray
    """Rows of what users have, int (P,), in any order; none where the release does not say."""
    item_P: np.ndarray
    fold_in: FoldIn
    about: dict[str, str]
    """Which release it is."""
    added_I: np.ndarray | None = None
    """Rows of an increment, bool (I,): users are folded in by the release's alone. None: there are none."""

    @classmethod
    def of(cls, release: UPath, increment: Published | None = None) -> "Served":
        """Read a release of any schema version, with what is new since; raises `StoreError` where it cannot be read."""
        manifest = read_manifest(release)
        table = sound_table(release, ITEM_EMBEDDINGS)
        released_id, released_ID = _sorted_rows(table, ITEM_ID)
        item_id, item_ID = _sorted_rows(merged(table, increment), ITEM_ID)
        user_id, user_UD = _sorted_rows(sound_table(release, USER_VECTORS), USER_ID)
        user_P = item_P = np.empty(0, np.int32)
        if SEEN in TABLES_OF[manifest.schema_version]:
            seen = sound_table(release, SEEN)
            user_P = pc.index_in(seen.column(USER_ID), value_set=user_id).to_numpy()
            item_P = pc.index_in(seen.column(ITEM_ID), value_set=item_id).to_numpy()
        fold_in = manifest.fold_in or FoldIn.of(released_ID, len(user_id), manifest.counts.get("interactions", 0))
        return cls(
            user_id=user_id, user_UD=user_UD, item_id=item_id, item_ID=item_ID, user_P=user_P, item_P=item_P,
            fold_in=fold_in, about={"run_id": manifest.run_id, "release_digest": manifest.release_digest},
            added_I=pc.invert(pc.is_in(item_id, value_set=released_id)).to_numpy(zero_copy_only=False),
        )  # fmt: skip

    def write(self, folder: Path) -> None:
        """Write the files into an empty local folder."""
        length_I = self.write_items(folder)
        _write_ids(self.user_id, folder / "user_ids.arrow")
        popularity_I = self._popularity()
        order = np.lexsort((self.item_P, self.user_P))
        released_ID = self.item_ID if self.added_I is None else self.item_ID[~self.added_I]
        count_U = np.bincount(self.user_P, minlength=len(self.user_id))
        arrays = {
            "user_UD": self.user_UD,
            "seen_start_U": np.concatenate([[0], np.cumsum(count_U)]).astype(np.int64),
            "seen_item_P": self.item_P[order].astype(np.int32),
            "popularity_I": popularity_I,
            "popular_item_I": np.argsort(-popularity_I, kind="stable").astype(np.int64),
            "fold_in_DD": prior(released_ID, self.fold_in),
        }
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array)
        numbers = {"fold_in_scale": self.fold_in.scale, "longest_item": float(length_I.max(initial=0))}
        (folder / "about.json").write_bytes(as_json({**self.about, **numbers}))

    def write_items(self, folder: Path) -> np.ndarray:
        """Write ids and vectors of the items alone; the vectors' lengths, float (I,)."""
        _write_ids(self.item_id, folder / "item_ids.arrow")
        length_I: np.ndarray = np.linalg.norm(self.item_ID, axis=1)
        np.save(folder / "item_ID.npy", self.item_ID)
        np.save(folder / "item_scale_I.npy", (1 / np.maximum(length_I, 1e-12)).astype(np.float32))
        return length_I

    def _popularity(self) -> np.ndarray:
        """Share of the users that have an item, float32 (I,).

        Where the release does not say what users have, the score that an item has with the mean user.
        """
        if len(self.item_P):
            count_I = np.bincount(self.item_P, minlength=len(self.item_ID))
            return np.asarray(count_I / max(1, len(self.user_UD)), np.float32)
        mean_D = self.user_UD.sum(axis=0, dtype=np.float64) / max(1, len(self.user_UD))
        return np.asarray(self.item_ID @ mean_D, np.float32)


def _sorted_rows(table: pa.Table, key: str) -> tuple[pa.Array, np.ndarray]:
    """Ids in order, which the ranker looks up by bisection, and their vectors."""
    order = pc.sort_indices(table.column(key))
    return table.column(key).take(order).combine_chunks(), vectors_of(table, EMBEDDING)[order.to_numpy()]


def _write_ids(ids: pa.Array, file: Path) -> None:
    batch = pa.record_batch({"id": ids})  # one, also of no ids: the ranker maps one array
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
