"""Indices against loops over ids, and a dataset that is the same when it is read back."""

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from upath import UPath

from pipeline.dataset.dataset import Dataset, index_interactions, load_dataset

INTERACTIONS = [(0, 2, "train"), (1, 0, "validation"), (1, 1, "train"), (2, 0, "train"), (2, 2, "test")]


def make_dataset(weights=None):
    rng = np.random.default_rng(0)
    interactions = pl.DataFrame(INTERACTIONS, schema=["user_index", "item_index", "split"], orient="row")
    if weights is not None:
        interactions = interactions.with_columns(pl.Series("weight", weights, dtype=pl.Float64))
    return Dataset(
        items=pl.DataFrame({"item_id": ["a", "b", "c"], "title": ["A", None, "C"]}),
        users=pl.DataFrame({"user_id": [7, 8, 9]}),
        interactions=interactions,
        features={
            "text": rng.normal(size=(3, 4)).astype(np.float32),
            "my-image_2": rng.normal(size=(3, 5)).astype(np.float32),
        },
        present={"text": np.array([True, False, True]), "my-image_2": np.array([True, True, True])},
    )


@pytest.mark.parametrize("weights", [None, [1.0, 0.5, 2.0, 1.0, 3.0]])
def test_load_dataset_gives_back_what_was_saved(tmp_path, weights):
    dataset = make_dataset(weights)
    dataset.save(tmp_path)
    loaded = load_dataset(UPath(str(tmp_path)))
    for table in ("items", "users", "interactions"):
        assert getattr(loaded, table).equals(getattr(dataset, table))
        assert getattr(loaded, table).schema == getattr(dataset, table).schema
    assert set(loaded.features) == set(loaded.present) == {"text", "my-image_2"}
    for name, matrix in dataset.features.items():
        assert loaded.features[name].dtype == np.float32
        np.testing.assert_array_equal(loaded.features[name], matrix)
        assert loaded.present[name].dtype == bool
        np.testing.assert_array_equal(loaded.present[name], dataset.present[name])


def test_load_dataset_matrix_that_is_a_view_keeps_its_rows(tmp_path):
    """A transposed matrix lies in memory by columns."""
    dataset = make_dataset()
    turned = np.ascontiguousarray(dataset.features["text"].T).T
    assert not turned.flags.c_contiguous
    dataset.features["text"] = turned
    dataset.save(tmp_path)
    np.testing.assert_array_equal(load_dataset(UPath(str(tmp_path))).features["text"], turned)


def test_load_dataset_without_features_reads_none(tmp_path):
    dataset = make_dataset()
    dataset.save(tmp_path)
    for file in tmp_path.glob("features-*"):
        file.write_bytes(b"damaged")
    loaded = load_dataset(UPath(str(tmp_path)), with_features=False)
    assert (loaded.features, loaded.present) == ({}, {})
    assert loaded.interactions.equals(dataset.interactions)


def test_load_dataset_of_a_catalogue_without_modalities_has_none(tmp_path):
    dataset = make_dataset()
    Dataset(**{**vars(dataset), "features": {}, "present": {}}).save(tmp_path)
    assert load_dataset(UPath(str(tmp_path))).features == {}


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_pairs_are_those_of_the_split_in_order(split):
    user_P, item_P = make_dataset().pairs(split)
    assert (user_P.dtype, item_P.dtype) == (torch.int64, torch.int64)
    assert list(zip(user_P.tolist(), item_P.tolist(), strict=True)) == [
        row[:2] for row in INTERACTIONS if row[2] == split
    ]


def test_pairs_of_a_part_without_interactions_are_none():
    user_P, item_P = make_dataset().pairs("holdout")
    assert (len(user_P), len(item_P), user_P.dtype) == (0, 0, torch.int64)


def test_pairs_may_be_changed_without_changing_the_dataset():
    dataset = make_dataset()
    dataset.pairs("train")[0][:] = 99
    assert dataset.interactions["user_index"].to_list() == [row[0] for row in INTERACTIONS]


def test_training_data_holds_the_training_interactions_and_every_item():
    dataset = make_dataset()
    data = dataset.training_data()
    assert (data.num_users, data.num_items, data.weight_T) == (3, 3, None)
    assert (data.user_T.tolist(), data.item_T.tolist()) == ([0, 1, 2], [2, 1, 0])
    assert list(data.features) == list(data.present) == ["text", "my-image_2"]
    for name in data.features:
        np.testing.assert_array_equal(data.features[name].numpy(), dataset.features[name])
        np.testing.assert_array_equal(data.present[name].numpy(), dataset.present[name])


def test_training_data_weights_are_those_of_the_training_interactions():
    data = make_dataset(weights=[1.0, 0.5, 2.0, 4.0, 3.0]).training_data()
    assert data.weight_T.dtype == torch.float32
    assert data.weight_T.tolist() == [1, 2, 4]


ids = st.text(st.sampled_from("abcAB0é"), min_size=1, max_size=2) | st.text(max_size=3)


@st.composite
def tables(draw):
    """Items sorted by id, as a catalogue's are, and interactions in any order."""
    kind = draw(st.sampled_from([ids, st.integers(-(2**40), 2**40)]))
    items = sorted(draw(st.lists(kind, min_size=1, max_size=8, unique=True)))
    users = draw(st.lists(kind, min_size=1, max_size=5, unique=True))
    pair = st.tuples(st.sampled_from(users), st.sampled_from(items))
    pairs = draw(st.lists(pair, min_size=1, max_size=20, unique=True))
    weights = draw(st.none() | st.lists(st.none() | st.floats(0.1, 9), min_size=len(pairs), max_size=len(pairs)))
    splits = draw(st.lists(st.sampled_from(["train", "test"]), min_size=len(pairs), max_size=len(pairs)))
    return items, pairs, splits, weights


@settings(deadline=None)
@given(tables())
def test_index_interactions_is_a_loop_over_ids(table):
    items, pairs, splits, weights = table
    columns = {"user_id": [user for user, _ in pairs], "item_id": [item for _, item in pairs], "split": splits}
    if weights is not None:
        columns["weight"] = pl.Series(weights, dtype=pl.Float64)
    users, indexed = index_interactions(pl.DataFrame(columns), pl.DataFrame({"item_id": items, "title": items}))
    expected_users = sorted({user for user, _ in pairs}, key=lambda one: one.encode() if isinstance(one, str) else one)
    assert users.columns == ["user_id"]
    assert users["user_id"].to_list() == expected_users
    assert indexed.columns == ["user_index", "item_index", "split", *(["weight"] if weights is not None else [])]
    assert indexed.schema["user_index"] == indexed.schema["item_index"] == pl.Int64
    for row, (user, item) in zip(indexed.to_dicts(), pairs, strict=True):
        assert (expected_users[row["user_index"]], items[row["item_index"]]) == (user, item)
    assert indexed["split"].to_list() == splits
    if weights is not None:
        assert indexed["weight"].to_list() == [1.0 if weight is None else weight for weight in weights]


def test_index_interactions_items_that_nobody_touched_keep_their_rows():
    items = pl.DataFrame({"item_id": ["a", "b", "c"]})
    interactions = pl.DataFrame({"user_id": ["u"], "item_id": ["c"], "split": ["train"], "rating": [5]})
    users, indexed = index_interactions(interactions, items)
    assert (users.rows(), indexed.rows()) == ([("u",)], [(0, 2, "train")])
