"""Deltas: the champion's rows, the delta and the release's changed rows give the release, to the last bit."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from upath import UPath

from pipeline.release.delta import (
    apply_delta,
    changed_rows,
    count_changes,
    delta_problems,
    make_delta,
    read_delta,
    write_deltas,
)
from pipeline.release.format import non_null_table
from pipeline.storage.arrow import vector_column


def make_table(vectors, key="item_id", **columns):
    """Rows by id: vectors of two columns."""
    ids = sorted(vectors)
    matrix = np.array([vectors[one] for one in ids], dtype=np.float32).reshape(len(ids), 2)
    extra = {name: pa.array(values) for name, values in columns.items()}
    return non_null_table({key: pa.array(ids, pa.string()), "embedding": vector_column(matrix), **extra})


IDS = st.text(alphabet="abcdé", min_size=1, max_size=2)
VECTORS = st.dictionaries(IDS, st.tuples(st.integers(-1, 1), st.integers(-1, 1)), max_size=12)


@settings(max_examples=80, deadline=None)
@given(then=VECTORS, now=VECTORS)
def test_apply_delta_rebuilds_the_release_from_the_champion(then, now):
    before, after = make_table(then), make_table(now)
    delta = make_delta(before, after, "item_id")
    rebuilt = apply_delta(before, delta, changed_rows(delta, after, "item_id"), "item_id")
    assert rebuilt.equals(after.combine_chunks())
    told = {row["id"]: row for row in delta.to_pylist()}
    assert list(told) == sorted(told)
    for one in {*then, *now}:
        change = "removed" if one not in now else "added" if one not in then else "moved"
        if then.get(one) == now.get(one):
            assert one not in told
        else:
            assert told[one]["change"] == change
            assert (told[one]["cosine"] is None) == (change != "moved")


def test_make_delta_cosine_is_that_of_both_vectors_and_0_of_a_zero_vector():
    before = make_table({"a": (1, 0), "b": (1, 0), "c": (0, 0), "d": (2, 0)})
    after = make_table({"a": (1, 1), "b": (-3, 0), "c": (1, 0), "d": (2, 0)})
    found = {row["id"]: row["cosine"] for row in make_delta(before, after, "item_id").to_pylist()}
    assert found == {"a": pytest.approx(0.5**0.5), "b": -1.0, "c": 0.0}


def test_make_delta_vector_that_differs_in_its_last_bit_has_moved():
    before, after = (
        make_table({"a": (1, 0), "b": (1, 1)}),
        make_table({"a": (np.nextafter(1, 2, dtype="f4"), 0), "b": (1, 1)}),
    )
    assert make_delta(before, after, "item_id").column("id").to_pylist() == ["a"]


def test_make_delta_row_that_differs_beside_its_vector_has_moved():
    vectors = {"a": (1, 0), "b": (1, 1)}
    delta = make_delta(make_table(vectors, source=["x", "x"]), make_table(vectors, source=["x", "y"]), "item_id")
    assert delta.select(["id", "change", "cosine"]).to_pylist() == [{"id": "b", "change": "moved", "cosine": 1.0}]


def test_make_delta_other_columns_move_every_row():
    vectors = {"a": (1, 0), "b": (1, 1)}
    before, after = make_table(vectors), make_table(vectors, source=["x", "y"])
    delta = make_delta(before, after, "item_id")
    assert count_changes(delta) == {"added": 0, "removed": 0, "moved": 2}
    assert apply_delta(before, delta, changed_rows(delta, after, "item_id"), "item_id").equals(after)


def test_make_delta_of_ids_of_another_type_is_an_error():
    numbers = non_null_table({"item_id": pa.array([1]), "embedding": vector_column(np.ones((1, 2)))})
    with pytest.raises(ValueError, match="item_id is int64 now, string then"):
        make_delta(make_table({"1": (1, 0)}), numbers, "item_id")


def test_delta_problems_names_ids_that_do_not_agree_with_the_tables(tmp_path):
    before, after = make_table({"a": (1, 0), "b": (1, 1)}), make_table({"b": (1, 0), "c": (1, 1)})
    users = make_table({"u": (1, 0)}, key="user_id")
    deltas = {"items": make_delta(before, after, "item_id"), "users": make_delta(users, users, "user_id")}
    write_deltas(deltas, tmp_path, "d" * 64)
    release = UPath(str(tmp_path))
    assert read_delta(release, "items").to_pylist() == deltas["items"].to_pylist()
    assert read_delta(release, "users").num_rows == 0
    assert delta_problems(release, {"item_embeddings": after, "user_vectors": users}) == []
    assert delta_problems(release, {"item_embeddings": before, "user_vectors": users}) == [
        "delta/items and item_embeddings do not agree on which ids are there"
    ]
    (tmp_path / "delta/users/part-00000.parquet").unlink()
    assert delta_problems(release, {"item_embeddings": after, "user_vectors": users}) == [
        f"release {release}: delta/users has no part-*.parquet"
    ]
