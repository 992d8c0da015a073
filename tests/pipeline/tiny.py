"""A catalogue of a dozen items with precomputed vectors: a run on it loads no encoder and trains in a moment."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipeline.config.config import Config
from tests.pipeline.release_factory import make_config

NUM_ITEMS, NUM_USERS, FEATURES, WITHOUT_CONTENT = 14, 10, 6, 13


def make_tiny(folder: Path, *, integer_ids: bool = False, **sections: Any) -> Config:
    """Write the catalogue into `folder`; the last item has no vector, and nobody has touched the last two."""
    rng = np.random.default_rng(0)
    ids = [100 + row if integer_ids else f"item-{row:02d}" for row in range(NUM_ITEMS)]
    pairs = [(user, item) for user in range(NUM_USERS) for item in rng.permutation(NUM_ITEMS - 2)[:5].tolist()]
    pl.DataFrame({"item_id": ids, "title": [f"Title {one}" for one in ids]}).write_parquet(folder / "items.parquet")
    pl.DataFrame(
        {"user_id": [f"user-{user}" for user, _ in pairs], "item_id": [ids[item] for _, item in pairs]}
    ).write_parquet(folder / "interactions.parquet")
    write_vectors(folder / "text.parquet", ids[:WITHOUT_CONTENT], rng.normal(size=(WITHOUT_CONTENT, FEATURES)))
    settings: dict[str, Any] = {
        "modalities": {"text": {"encoder": "precomputed", "vectors": "text.parquet"}},
        "model": {"embedding_dim": 8, "neighbours": 4},
        "train": {"max_epochs": 2, "check_every": 1, "device": "cpu", "batch_size": 16},
    }
    return make_config(folder, database=False, **{**settings, **sections})


def write_vectors(file: Path, ids: list[Any], matrix: np.ndarray) -> None:
    """Vectors as `encoder = "precomputed"` reads them."""
    pl.DataFrame({"item_id": ids, "vector": matrix.astype(np.float32)}).write_parquet(file)
