"""Two datasets side by side, ids compared as text."""

import polars as pl
import pytest

from pipeline.dataset.alignment import HELD_OUT, TRAINED_ON, earlier_rows, pairs_among, pairs_by_id, rows_of
from pipeline.dataset.dataset import Dataset


def dataset(users, items, interactions):
    frame = pl.DataFrame(interactions, schema=["user_index", "item_index", "split"], orient="row")
    tables = {"users": pl.DataFrame({"user_id": users}), "items": pl.DataFrame({"item_id": items})}
    return Dataset(**tables, interactions=frame, features={}, present={})


@pytest.fixture
def numbers():
    return dataset([7, 8, 9], [10, 20, 30], [(0, 0, "train"), (1, 2, "validation"), (2, 1, "test")])


def test_rows_of_unknown_id_is_minus_one():
    assert rows_of(pl.Series(["b", "x", "a"]), pl.Series(["a", "b"])).tolist() == [1, -1, 0]


def test_earlier_rows_numbers_and_texts_are_the_same_ids(numbers):
    text = dataset(["9", "10"], ["30", "10"], [(0, 0, "train")])
    user_U, item_I = earlier_rows(numbers, text)
    assert (user_U.tolist(), item_I.tolist()) == ([2, -1], [2, 0])


def test_pairs_by_id_are_those_of_the_part(numbers):
    assert pairs_by_id(numbers, HELD_OUT).rows() == [("8", "30"), ("9", "20")]
    assert pairs_by_id(numbers, TRAINED_ON).rows() == [("7", "10")]


def test_pairs_among_leaves_out_what_is_not_there(numbers):
    found = pairs_among(numbers, pl.Series(["9", "8", "1"]), pl.Series(["20", "10"]))
    assert found.rows() == [(0, 0, "test")]
