"""The dataset of a run: indices, split interactions and features as the model takes them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from safetensors.numpy import load_file, save_file
from upath import UPath

from model.data import TrainingData
from pipeline.columns import ITEM_ID, ITEM_INDEX, SPLIT, TRAIN, USER_ID, USER_INDEX, WEIGHT
from pipeline.storage.committed import Committed, committed

ITEMS, USERS, INTERACTIONS = "items.parquet", "users.parquet", "interactions.parquet"


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """What `prepare` committed. Row numbers of `items` and `users` are the indices used everywhere else."""

    items: pl.DataFrame
    """The cleaned catalogue, sorted by item_id: ids, and what the report shows (title, image_path)."""
    users: pl.DataFrame
    interactions: pl.DataFrame
    """user_index, item_index, split; weight where the input has one."""
    features: dict[str, np.ndarray]
    """Modality to float32 (I, D)."""
    present: dict[str, np.ndarray]
    """Modality to bool (I,)."""

    def pairs(self, split: str) -> tuple[torch.Tensor, torch.Tensor]:
        """User and item indices of one part of the split, int64."""
        part = self.interactions.filter(pl.col(SPLIT) == split)
        return torch.from_numpy(part[USER_INDEX].to_numpy().copy()), torch.from_numpy(
            part[ITEM_INDEX].to_numpy().copy()
        )

    def training_data(self) -> TrainingData:
        """The model's input."""
        user_T, item_T = self.pairs(TRAIN)
        training = self.interactions.filter(pl.col(SPLIT) == TRAIN)
        weight = training[WEIGHT].to_numpy().astype(np.float32) if WEIGHT in training.columns else None
        return TrainingData(
            num_users=len(self.users),
            num_items=len(self.items),
            user_T=user_T,
            item_T=item_T,
            weight_T=None if weight is None else torch.from_numpy(weight),
            features={name: torch.from_numpy(matrix) for name, matrix in self.features.items()},
            present={name: torch.from_numpy(mask) for name, mask in self.present.items()},
        )

    def save(self, folder: Path) -> None:
        """Write everything into a local folder."""
        self.items.write_parquet(folder / ITEMS)
        self.users.write_parquet(folder / USERS)
        self.interactions.write_parquet(folder / INTERACTIONS)
        for name, matrix in self.features.items():
            save_file(
                {"vectors": np.ascontiguousarray(matrix), "present": self.present[name]},
                folder / _feature_file(name),
            )


def load_dataset(folder: UPath, *, with_features: bool = True) -> Dataset:
    """Read what `Dataset.save` wrote; the feature matrices, which are most of it, only `with_features`.

    Raises `DamagedError` for a file that is not the one that stage `prepare` committed, or is gone.
    """
    source, tables = committed(folder), {}
    for name in (ITEMS, USERS, INTERACTIONS):
        with source.open(name) as file:
            tables[name] = pl.read_parquet(file)
    features, present = {}, {}
    for name in _feature_files(source) if with_features else []:
        modality = name.removeprefix("features-").removesuffix(".safetensors")
        with source.open(name) as file:
            arrays = load_file(file)
        features[modality], present[modality] = arrays["vectors"], arrays["present"]
    return Dataset(
        items=tables[ITEMS],
        users=tables[USERS],
        interactions=tables[INTERACTIONS],
        features=features,
        present=present,
    )


def index_interactions(interactions: pl.DataFrame, items: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Replace ids by row numbers; return the users (sorted by id) and the indexed interactions."""
    users = interactions.select(USER_ID).unique().sort(USER_ID)
    indexed = interactions.join(users.with_row_index(USER_INDEX), on=USER_ID, maintain_order="left").join(
        items.select(ITEM_ID).with_row_index(ITEM_INDEX), on=ITEM_ID, maintain_order="left"
    )
    weight = [pl.col(WEIGHT).fill_null(1.0)] if WEIGHT in indexed.columns else []
    return users, indexed.select(pl.col(USER_INDEX).cast(pl.Int64), pl.col(ITEM_INDEX).cast(pl.Int64), SPLIT, *weight)


def _feature_files(source: Committed) -> list[str]:
    """Those that were committed; of an earlier version's, those that it promised and those that are there."""
    there = set(source.digests or ())
    if source.digests is None:
        there = {path.name for path in source.folder.glob(_feature_file("*"))}
        there |= {_feature_file(name) for name in source.record.get("encoders", {})}
    return sorted(name for name in there if name.startswith("features-"))


def _feature_file(modality: str) -> str:
    return f"features-{modality}.safetensors"
