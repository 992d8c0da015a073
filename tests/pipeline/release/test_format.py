"""The digest is of the content alone, and the parts hold the table whole."""

import itertools

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from upath import UPath

from pipeline.errors import DamagedError
from pipeline.release import format as release_format
from pipeline.release.format import (
    FOOTER_DIGEST,
    FOOTER_SCHEMA,
    SCHEMA_VERSION,
    TABLES,
    TABLES_OF,
    expected_columns,
    is_sorted,
    read_table,
    release_digest,
    table_digest,
    write_table,
)
from pipeline.storage.arrow import vector_column
from tests.pipeline.release_factory import make_tables

DIGEST = "ab" * 32


def table(ids=("a", "b", "c"), vectors=((1, 2), (3, 4), (5, 6)), weights=(0.5, 0.25, 0.0)):
    columns = {
        "item_id": pa.array(list(ids), pa.string()),
        "embedding": vector_column(np.array(vectors, np.float32)),
        "weight": pa.array(list(weights), pa.float32()),
    }
    return pa.table(columns)


def chunked(whole, cuts):
    """The same rows, a chunk from each cut to the next."""
    places = [0, *sorted(cuts), whole.num_rows]
    return pa.concat_tables(whole.slice(start, end - start) for start, end in itertools.pairwise(places))


@settings(deadline=None)
@given(st.lists(st.text(max_size=3), min_size=1, max_size=12), st.data())
def test_table_digest_any_chunks_is_the_same(ids, data):
    whole = table(ids, np.arange(2 * len(ids)).reshape(-1, 2), np.arange(len(ids)))
    cuts = data.draw(st.lists(st.integers(0, len(ids)), max_size=4))
    assert table_digest(chunked(whole, cuts)) == table_digest(whole)


@settings(deadline=None)
@given(st.data())
def test_table_digest_part_of_a_table_is_that_of_the_same_rows_alone(data):
    """A slice shares the buffers of the whole, whose other rows must not count."""
    start = data.draw(st.integers(0, 5))
    rows = slice(start, data.draw(st.integers(start + 1, 6)))
    ids, vectors, weights = [f"item-{row}" for row in range(6)], np.arange(12).reshape(6, 2), np.arange(6)
    sliced = table(ids, vectors, weights).slice(rows.start, rows.stop - rows.start)
    assert table_digest(sliced) == table_digest(table(ids[rows], vectors[rows], weights[rows]))


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
def test_table_digest_written_and_read_back_is_the_same(tmp_path, compression):
    whole = make_tables()["item_embeddings"]
    file = tmp_path / "table.parquet"
    pq.write_table(whole, file, compression=compression, row_group_size=7)
    assert table_digest(pq.read_table(file)) == table_digest(whole)


def test_table_digest_metadata_and_nullability_do_not_count():
    whole = table()
    fields = [field.with_metadata({"note": "x"}).with_nullable(False) for field in whole.schema]
    noted = whole.cast(pa.schema(fields, metadata={"made": "today"}))
    assert noted.schema.metadata
    assert table_digest(noted) == table_digest(whole)


OTHERS = {
    "another id": table(ids=("a", "b", "d")),
    "ids that join to the same text": table(ids=("ab", "", "c")),
    "another vector": table(vectors=((1, 2), (3, 4), (5, 7))),
    "the same numbers as vectors of another length": table(vectors=((1, 2, 3, 4, 5, 6),), ids=("a",), weights=(0.5,)),
    "another weight": table(weights=(0.5, 0.25, 1e-9)),
    "rows in another order": table().take(pa.array([1, 0, 2])),
    "a row less": table().slice(0, 2),
    "another name": table().rename_columns(["item_id", "embedding", "share"]),
    "columns in another order": table().select(["embedding", "item_id", "weight"]),
    "a column less": table().select(["item_id", "embedding"]),
    "another type": table().set_column(2, "weight", pa.array([0.5, 0.25, 0.0], pa.float64())),
    "large text": table().set_column(0, "item_id", pa.array(["a", "b", "c"], pa.large_string())),
    "a null": table().set_column(2, "weight", pa.array([0.5, 0.25, None], pa.float32())),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_table_digest_other_content_differs(other):
    assert table_digest(other) != table_digest(table())


def test_table_digest_vectors_differ_from_the_same_numbers_one_a_row():
    flat = pa.table({"embedding": pa.array([1, 2, 3, 4], pa.float32())})
    paired = pa.table({"embedding": vector_column(np.array([[1, 2], [3, 4]], np.float32))})
    long = pa.table({"embedding": vector_column(np.array([[1, 2, 3, 4]], np.float32))})
    assert len({table_digest(one) for one in (flat, paired, long)}) == 3


def test_release_digest_depends_on_the_content_and_name_of_every_table():
    tables = make_tables()
    assert release_digest(dict(reversed(tables.items()))) == release_digest(tables)
    shorter = [{**tables, name: tables[name].slice(1)} for name in TABLES]
    renamed = {name.upper(): one for name, one in tables.items()}
    assert len({release_digest(one) for one in (tables, renamed, *shorter)}) == 6


@pytest.mark.parametrize(
    ("version", "known"),
    [
        (1, "91e3a2f1a8127823054ef4fc72113930079bdb255826e36348db473795ab72cd"),
        (2, "1378d6d0be4e349b0a053adf7dd232631a01db0db66ed5457859277693094340"),
    ],
)
def test_release_digest_is_the_one_that_releases_carry(version, known):
    """A later version of this program, or of Arrow, that gives another one cannot verify today's releases."""
    assert release_digest({name: table() for name in TABLES_OF[version]}, version) == known


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 13), st.integers(1, 6))
def test_write_table_cuts_parts_that_read_back_whole(tmp_path_factory, rows, rows_per_part):
    release = tmp_path_factory.mktemp("release")
    whole = table([f"item-{row}" for row in range(rows)], np.arange(2 * rows).reshape(rows, 2), np.arange(rows))
    write_table(whole, release / "items", DIGEST, rows_per_part)
    counts = [pq.read_metadata(part).num_rows for part in sorted((release / "items").iterdir())]
    expected = [min(rows_per_part, rows - start) for start in range(0, rows, rows_per_part)]
    assert counts == (expected or [0])
    assert read_table(UPath(str(release)), "items").replace_schema_metadata().equals(whole)


def test_write_table_layout_is_what_other_readers_want(tmp_path):
    rows, rng = 60_000, np.random.default_rng(0)
    ids = [f"item-{row:06d}" for row in range(rows)]
    whole = table(ids, rng.normal(size=(rows, 2)), rng.random(rows))
    write_table(whole, tmp_path / "items", DIGEST, sorted_by=("item_id",))
    [part] = (tmp_path / "items").iterdir()
    metadata = pq.read_metadata(part)
    groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
    assert [group.num_rows for group in groups] == [50_000, 10_000]
    for group in groups:
        columns = {group.column(place).path_in_schema: group.column(place) for place in range(group.num_columns)}
        assert {column.compression for column in columns.values()} == {"ZSTD"}
        for name in ("embedding.list.element", "weight"):
            assert "BYTE_STREAM_SPLIT" in columns[name].encodings
            assert not columns[name].has_dictionary_page
        assert [(one.column_index, one.descending) for one in group.sorting_columns] == [(0, False)]
    kind = pq.read_schema(part).field("embedding").type
    assert (kind.list_size, kind.value_type) == (2, pa.float32())
    one = pq.read_table(part, filters=[("item_id", "=", ids[-1])])
    assert one.replace_schema_metadata().equals(whole.slice(rows - 1))


@pytest.mark.parametrize(
    ("ids", "declared"), [(["a", "b", "b"], True), (["b", "a", "c"], False), ([], True), (["B", "a", "ä"], True)]
)
def test_write_table_declares_an_order_only_where_it_is_the_rows(tmp_path, ids, declared):
    write_table(
        table(ids, np.zeros((len(ids), 2)), [0.0] * len(ids)), tmp_path / "items", DIGEST, sorted_by=("item_id",)
    )
    metadata = pq.read_metadata(tmp_path / "items/part-00000.parquet")
    groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
    assert all(bool(group.sorting_columns) == declared for group in groups)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=6))
def test_is_sorted_by_two_keys_is_pythons(pairs):
    whole = pa.table(
        {"a": pa.array([a for a, _ in pairs], pa.int64()), "b": pa.array([b for _, b in pairs], pa.int64())}
    )
    assert is_sorted(whole, ("a", "b")) == (pairs == sorted(pairs))


def test_write_table_parts_stay_under_half_a_gigabyte(monkeypatch, tmp_path):
    monkeypatch.setattr(release_format, "BYTES_PER_PART", 900_000)
    rows = 120_000
    write_table(pa.table({"row": pa.array(np.random.default_rng(0).random(rows))}), tmp_path / "rows", DIGEST)
    parts = sorted((tmp_path / "rows").iterdir())
    assert [pq.read_metadata(part).num_rows for part in parts] == [100_000, 20_000]  # 0.4 MB a group
    assert all(part.stat().st_size < 900_000 for part in parts)


def test_read_table_of_the_layout_before_is_the_same(tmp_path):
    whole = table()
    (tmp_path / "items").mkdir()
    pq.write_table(
        whole, tmp_path / "items/part-00000.parquet", compression="zstd"
    )  # with dictionaries, as version 1 did
    assert read_table(UPath(str(tmp_path)), "items").equals(whole)


def test_write_table_footer_of_every_part_names_release_and_schema(tmp_path):
    write_table(table().replace_schema_metadata({"theirs": "x"}), tmp_path / "items", DIGEST, 2)
    for part in (tmp_path / "items").iterdir():
        metadata = pq.read_metadata(part).metadata
        assert (metadata[FOOTER_DIGEST], metadata[FOOTER_SCHEMA]) == (DIGEST.encode(), str(SCHEMA_VERSION).encode())
        assert b"theirs" not in metadata


def test_read_table_without_parts_is_named(tmp_path):
    (tmp_path / "items").mkdir()
    (tmp_path / "items/notes.txt").touch()
    with pytest.raises(DamagedError, match=r"items has no part-\*\.parquet"):
        read_table(UPath(str(tmp_path)), "items")


def test_expected_columns_are_those_of_a_release():
    assert {name: set(expected_columns(name)) for name in TABLES} == {
        name: {column for column in one.column_names if column != "weight_text"} for name, one in make_tables().items()
    }
