"""The bench of folding in, on a small planted catalogue."""

import numpy as np
import polars as pl

from bench.fold_in import measure
from pipeline.config.config import compose
from pipeline.dataset.dataset import Dataset

NUM_USERS, NUM_ITEMS, NUM_FAMILIES = 80, 60, 4


def make_dataset():
    """Users like one family of items; two of each user's items are held out."""
    rng, rows = np.random.default_rng(0), []
    for user in range(NUM_USERS):
        items = rng.permutation(np.arange(user % NUM_FAMILIES, NUM_ITEMS, NUM_FAMILIES))[:10]
        parts = ["validation", "test"] + ["train"] * 8
        rows += [(user, int(item), part) for item, part in zip(items, parts, strict=True)]
    return Dataset(
        items=pl.DataFrame({"item_id": list(range(NUM_ITEMS))}),
        users=pl.DataFrame({"user_id": list(range(NUM_USERS))}),
        interactions=pl.DataFrame(rows, schema=["user_index", "item_index", "split"], orient="row"),
        features={},
        present={},
    )


def test_measure_folded_users_are_nearly_as_well_served_as_trained_ones(tmp_path, capsys):
    document = {
        "catalogue": {"items": "i.parquet", "interactions": ["u.parquet"]},
        "model": {"embedding_dim": 8, "taste_weight": 0.0, "new_items": "map"},
        "train": {"device": "cpu", "max_epochs": 30},
    }
    found = measure(make_dataset(), compose(document, base=tmp_path))
    (popular, _), (trained, _), (folded, _) = list(found.values())[:3]
    assert popular < 0.6  # 60 items, 20 places
    assert folded > 0.9 * trained > popular
    assert capsys.readouterr().out.count("validation") >= len(found)
