"""Groups of purchases and shoppers, on a shop that can be counted by hand."""

import numpy as np
import polars as pl
import torch

from model.evaluation import InnerProduct
from pipeline.columns import ITEM_ID, KIND, USER_ID
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.groups import head_items, measure_groups
from pipeline.dataset.protocol import EvaluationProtocol
from pipeline.dataset.split import SplitConfig

NUM_USERS, NUM_ITEMS = 40, 40
FIRST_ROWS = InnerProduct(torch.ones(NUM_USERS, 1), -torch.arange(NUM_ITEMS).float()[:, None])
"""Ranks items by their row."""


def shop():
    """Every user has item 0; user 0 has eleven more; the even ones take item 20 later, the odd ones the new item 39."""
    rows = [(user, 0, "train") for user in range(NUM_USERS)] + [(0, item, "train") for item in range(2, 13)]
    rows += [(user, 39 if user % 2 else 20, "test") for user in range(NUM_USERS)] + [(5, 20, "train")]
    picture = np.ones(NUM_ITEMS, dtype=bool)
    picture[20] = False
    return Dataset(
        items=pl.DataFrame(
            {ITEM_ID: range(NUM_ITEMS), KIND: ["shoe" if item == 39 else "hat" for item in range(NUM_ITEMS)]}
        ),
        users=pl.DataFrame({USER_ID: range(NUM_USERS)}),
        interactions=pl.DataFrame(rows, schema=["user_index", "item_index", "split"], orient="row"),
        features={"image": np.ones((NUM_ITEMS, 2), dtype=np.float32)},
        present={"image": picture},
    )


def test_measure_groups_counts_users_and_finds_what_lists_find():
    dataset = shop()
    protocol = EvaluationProtocol(dataset, SplitConfig())
    contest = protocol.open_contest(FIRST_ROWS)
    groups = {one.name: one for one in measure_groups(protocol, dataset.items, {"model": contest})}
    counts = {name: (one.of, one.users, one.interactions) for name, one in groups.items()}
    assert counts == {
        "all": ("all", 40, 40),
        "other items": ("items", 20, 20),  # item 20, which one user has in training
        "new items": ("items", 20, 20),
        "items without image": ("items", 20, 20),
        "users with fewer than 10 interactions": ("users", 39, 39),
        "users with 10 interactions or more": ("users", 1, 1),
    }
    assert groups["other items"].found["model"]["hit@20"].value == 1.0
    assert groups["new items"].found["model"]["hit@20"].value == 0.0  # it is the last of 40 rows
    assert groups["users with 10 interactions or more"].found["model"]["hit@20"].interval is None


def test_measure_groups_kinds_are_those_that_enough_users_took():
    dataset = shop()
    rows = pl.DataFrame({"user_index": range(NUM_USERS), "item_index": [3] * NUM_USERS, "split": ["test"] * NUM_USERS})
    dataset.interactions.extend(rows.filter(pl.col("user_index") > 0))
    protocol = EvaluationProtocol(dataset, SplitConfig())
    contest = protocol.open_contest(FIRST_ROWS)
    kinds = [one for one in measure_groups(protocol, dataset.items, {"model": contest}) if one.of == "kind"]
    assert [(one.name, one.users) for one in kinds] == [("hat", 40)]  # twenty took shoes


def test_measure_groups_without_held_out_interactions_are_none():
    dataset = shop()
    dataset = Dataset(**{**vars(dataset), "interactions": dataset.interactions.filter(pl.col("split") == "train")})
    protocol = EvaluationProtocol(dataset, SplitConfig())
    contest = protocol.open_contest(FIRST_ROWS)
    assert measure_groups(protocol, dataset.items, {"model": contest}) == []


def test_head_items_are_a_fifth_of_those_with_interactions():
    head_I = head_items(np.array([0, 5, 1, 9, 1, 1, 1, 1, 1, 1, 1]))
    assert np.flatnonzero(head_I).tolist() == [1, 3]
