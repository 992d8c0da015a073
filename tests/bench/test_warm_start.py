"""The bench of the warm start, on a small planted catalogue."""

import dataclasses
import re
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from bench.warm_start import LEAST_PER_ITEM, MOST_PER_USER, TRAIN, is_new, measure, sparse_interactions
from pipeline.dataset.dataset import Dataset

NUM_USERS, NUM_ITEMS, NUM_FAMILIES = 80, 60, 4


@pytest.fixture(scope="module")
def rated():
    """Users like one family of items, and dislike item 59 alone."""
    rng, start = np.random.default_rng(0), datetime(2026, 1, 1, tzinfo=UTC)
    rows = [
        (f"u{user:02}", f"i{item:02}", 5.0 if item != 59 else 1.0, start + timedelta(minutes=int(rng.integers(10**6))))
        for user in range(NUM_USERS)
        for item in range(user % NUM_FAMILIES, NUM_ITEMS, NUM_FAMILIES)
        if rng.random() < 0.9
    ]
    return pl.DataFrame(rows, schema=["user_id", "item_id", "rating", "timestamp"], orient="row")


@pytest.fixture(scope="module")
def interactions(rated, tmp_path_factory):
    file = tmp_path_factory.mktemp("bench") / "interactions.parquet"
    rated.write_parquet(file)
    return sparse_interactions(str(file))


def test_sparse_interactions_are_liked_ones_few_a_user_of_items_with_some(interactions):
    assert interactions.group_by("user_id").len()["len"].max() == MOST_PER_USER
    assert interactions.group_by("item_id").len()["len"].min() >= LEAST_PER_ITEM
    assert "i59" not in interactions["item_id"]


def test_is_new_is_a_hundredth_with_whole_users_and_otherwise_the_newest():
    start = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [(f"u{n // 5:04}", f"i{n % 997:03}", start + timedelta(minutes=n)) for n in range(10_000)]
    table = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    new = is_new(table, seed=0)
    assert new.sum() == 100
    assert new.tail(40).all()
    older = pl.DataFrame({"user": table["user_id"], "item": table["item_id"], "new": new}).head(-100)
    by_user, by_item = (older.group_by(name).agg(pl.col("new").all())["new"].sum() for name in ("user", "item"))
    assert by_user > 0
    assert by_item > 0


def test_measure_tells_the_cold_and_the_warm_training(interactions, capsys):
    train = dataclasses.replace(TRAIN, learning_rate=1e-3)
    rng, family = np.random.default_rng(1), np.arange(NUM_ITEMS) % NUM_FAMILIES
    features = rng.normal(size=(NUM_FAMILIES, 8))[family] + 0.3 * rng.normal(size=(NUM_ITEMS, 8))
    catalogue = Dataset(
        items=pl.DataFrame({"item_id": [f"i{item:02}" for item in range(NUM_ITEMS)]}),
        users=pl.DataFrame({"user_id": [f"u{user:02}" for user in range(NUM_USERS)]}),
        interactions=pl.DataFrame({"user_index": [0], "item_index": [0], "split": ["train"]}),
        features={"content": features.astype(np.float32)},
        present={"content": np.ones(NUM_ITEMS, dtype=bool)},
    )
    measure(catalogue, interactions, seed=0, rates=[0.1], train=train)
    told = capsys.readouterr().out
    assert f"seed 0: {len(interactions)} interactions, {round(0.01 * len(interactions))} new" in told
    cold, warm = (re.search(rf"  {name}.*: +(\d+) \(", told) for name in ("cold", "warm"))
    assert int(warm[1]) < int(cold[1])  # epochs to 98 % of the cold one's best
