"""The bench of stability, on a tiny planted catalogue."""

import numpy as np
import polars as pl
import pytest

from bench.stability import grown, measure
from pipeline.dataset.dataset import Dataset
from tests.pipeline.release_factory import make_config

NUM_USERS, NUM_ITEMS = 40, 30


@pytest.fixture(scope="module")
def dataset():
    """Users like a third of the items; every fifth of what they like is held out for validation, another for test."""
    parts = ("train", "train", "train", "validation", "test")
    liked = [(user, item) for user in range(NUM_USERS) for item in range(user % 3, NUM_ITEMS, 3)]
    rows = [(user, item, parts[(user + item // 3) % 5]) for user, item in liked]
    return Dataset(
        items=pl.DataFrame({"item_id": [f"i{item:02}" for item in range(NUM_ITEMS)]}),
        users=pl.DataFrame({"user_id": [f"u{user:02}" for user in range(NUM_USERS)]}),
        interactions=pl.DataFrame(rows, schema=["user_index", "item_index", "split"], orient="row"),
        features={},
        present={},
    )


def test_grown_takes_training_interactions_alone_and_always_those_of_a_smaller_share(dataset):
    some, more = (grown(dataset, share).interactions for share in (0.5, 0.8))
    assert len(some) < len(more) < len(dataset.interactions)
    assert len(some.join(more, on=some.columns, how="anti")) == 0
    held_out = [one.filter(pl.col("split") != "train") for one in (some, dataset.interactions)]
    assert held_out[0].equals(held_out[1])
    assert grown(dataset, 1).interactions.equals(dataset.interactions)


def test_measure_tells_every_night_and_how_much_stayed(dataset, tmp_path, capsys):
    config = make_config(tmp_path, database=False, train={"max_epochs": 2, "device": "cpu"})
    rows = measure(dataset, config, nights=1, new=0.1, cold=False, seeds=True)
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in told] == ["night", "0", "1"]
    assert len(rows) == 1
    assert f"{rows[0].neighbours_kept:.4f}" in told[2]
    assert np.isfinite(rows[0].cosine_tail)
