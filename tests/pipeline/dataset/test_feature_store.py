import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from upath import UPath

from pipeline.dataset import feature_store
from pipeline.dataset.feature_store import OK, UNREADABLE, Encoded, FeatureStore
from pipeline.errors import DamagedError, StoreError


def digest(number):
    return f"{number:064x}"


@pytest.fixture
def store(tmp_path):
    return FeatureStore(UPath(str(tmp_path)))


def test_read_gives_vectors_in_the_order_asked_for(store):
    store.write_part([Encoded(digest(1), np.array([1, 2], np.float32)), Encoded(digest(2), None, "broken")], 2)
    store.write_part([Encoded(digest(3), np.array([5, 6], np.float32))], 2)
    matrix, statuses = store.read(pl.Series([digest(3), None, digest(2), digest(9), digest(1), digest(3)]))
    assert statuses.to_list() == [OK, None, UNREADABLE, None, OK, OK]
    np.testing.assert_array_equal(matrix, [[5, 6], [0, 0], [0, 0], [0, 0], [1, 2], [5, 6]])
    assert matrix.dtype == np.float32


def test_statuses_of_an_empty_store_are_unknown(store):
    assert store.statuses(pl.Series([digest(1), None], dtype=pl.String)).to_list() == [None, None]


def test_of_a_content_in_two_parts_the_first_by_name_counts(tmp_path):
    store = FeatureStore(UPath(str(tmp_path)), block_rows=1)
    store.write_part([Encoded(digest(1), np.array([1.0, 2.0], np.float32)), Encoded(digest(2), None, "broken")], 2)
    store.write_part([Encoded(digest(1), np.array([3.0, 4.0], np.float32))], 2)
    first = min(tmp_path.glob("part-*.parquet"))
    expected = pl.read_parquet(first).filter(pl.col("content_hash") == digest(1))["vector"].to_list()[0]
    matrix, statuses = store.read(pl.Series([digest(2), None, digest(1), digest(9), digest(1)]))
    assert statuses.to_list() == [UNREADABLE, None, OK, None, OK]
    np.testing.assert_array_equal(matrix, [[0, 0], [0, 0], expected, [0, 0], expected])


def test_write_part_again_leaves_the_first(store):
    store.write_part([Encoded(digest(1), np.array([1], np.float32))], 1)
    store.write_part([Encoded(digest(1), np.array([2], np.float32))], 1)
    matrix, _ = store.read(pl.Series([digest(1)]))
    np.testing.assert_array_equal(matrix, [[1]])


@settings(max_examples=25, deadline=None)
@given(
    numbers=st.lists(st.integers(0, 30), min_size=1, max_size=20, unique=True),
    asked=st.lists(st.integers(0, 40), max_size=20),
    block_rows=st.integers(1, 9),
)
def test_read_is_a_dictionary_whatever_the_blocks(tmp_path_factory, numbers, asked, block_rows):
    store = FeatureStore(UPath(str(tmp_path_factory.mktemp("features"))), block_rows=block_rows)
    known = {number: np.array([number, -number], np.float32) for number in numbers}
    for start in range(0, len(numbers), 6):
        store.write_part([Encoded(digest(number), known[number]) for number in numbers[start : start + 6]], 2)
    matrix, statuses = store.read(pl.Series([digest(number) for number in asked], dtype=pl.String))
    for row, number in enumerate(asked):
        np.testing.assert_array_equal(matrix[row], known.get(number, [0, 0]))
        assert (statuses[row] == OK) is (number in known)


def test_damaged_part_is_named_with_the_mend(store):
    for number in (1, 2):
        store.write_part([Encoded(digest(number), np.array([1, 2], np.float32))], 2)
    part = max(store.folder.glob("part-*.parquet"), key=lambda path: path.name)
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(StoreError, match=rf"{part.name} is damaged.*delete it, and stage `extract`"):
        store.statuses(pl.Series([digest(1)]))


def test_passing_fault_of_the_store_advises_deleting_nothing(store, monkeypatch):
    """The parts are whole; reading them fails, as it does while an object store is away."""
    store.write_part([Encoded(digest(1), np.array([1, 2], np.float32))], 2)

    def away(path):
        raise OSError("the store does not answer")

    def failing(*_, **__):
        raise pl.exceptions.ComputeError("error sending request")

    monkeypatch.setattr(feature_store, "read_bytes", away)
    monkeypatch.setattr(pl, "scan_parquet", failing)
    with pytest.raises(OSError, match="the store does not answer"):
        store.statuses(pl.Series([digest(1)]))


def test_fault_that_is_over_by_the_time_of_asking_says_try_again(store, monkeypatch):
    store.write_part([Encoded(digest(1), np.array([1, 2], np.float32))], 2)

    def failing(*_, **__):
        raise pl.exceptions.ComputeError("error sending request")

    monkeypatch.setattr(pl, "scan_parquet", failing)
    with pytest.raises(StoreError, match="error sending request; try again") as error:
        store.statuses(pl.Series([digest(1)]))
    assert "delete" not in str(error.value)


def flipped(part, place):
    payload = bytearray(part.read_bytes())
    payload[place] ^= 4
    part.write_bytes(bytes(payload))


def test_read_part_with_a_flipped_bit_is_damaged_wherever_it_is(store):
    """No single bit gives another vector, another status, or a content that was never extracted."""
    hashes = pl.Series([digest(1), digest(2)])
    store.write_part([Encoded(digest(1), np.array([1, 2], np.float32)), Encoded(digest(2), None, "broken")], 2)
    (part,) = store.folder.glob("part-*.parquet")
    whole, (matrix, statuses) = part.read_bytes(), store.read(hashes)
    named = []
    for place in range(len(whole)):
        flipped(part, place)
        try:
            found, said = store.read(hashes)
        except DamagedError as error:
            named.append(str(error))
        else:
            np.testing.assert_array_equal(found, matrix)
            assert said.to_list() == statuses.to_list()
        part.write_bytes(whole)
    assert len(named) > len(whole) / 4
    assert all(part.name in message and "delete it" in message for message in named)


def test_read_part_of_an_earlier_version_without_digest_is_read(store):
    store.write_part([Encoded(digest(1), np.array([1, 2], np.float32))], 2)
    (part,) = store.folder.glob("part-*.parquet")
    pq.write_table(pq.read_table(str(part)).replace_schema_metadata(), str(part))
    np.testing.assert_array_equal(store.read(pl.Series([digest(1)]))[0], [[1, 2]])
