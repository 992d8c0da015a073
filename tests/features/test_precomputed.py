from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import FeatureError
from features.precomputed import ROWS, read_precomputed
from tests.pipeline.catalogue.sources.files import write_image_features


def write_parquet(path, ids, vectors, kind=None):
    pq.write_table(pa.table({"item_id": ids, "vector": pa.array(vectors, kind or pa.list_(pa.float32()))}), path)
    return path


@pytest.mark.parametrize("block", [1, 1024])
@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.large_list(pa.float64())])
def test_read_precomputed_parquet_rows_stand_in_the_catalogues_order(tmp_path, block, kind):
    path = write_parquet(tmp_path / "a.parquet", ["b", "n", "a", "z"], [[1, 2], None, [3, 4], [5, 6]], kind)
    loaded = read_precomputed(path, None, ["a", "x", "b", "n"], block=block)
    assert loaded.matrix.tolist() == [[3, 4], [0, 0], [1, 2], [0, 0]]
    assert loaded.present.tolist() == [True, False, True, False]
    assert (loaded.matrix.dtype, loaded.num_vectors) == (np.float32, 3)


def test_read_precomputed_parquet_lists_of_fixed_size(tmp_path):
    kind = pa.list_(pa.float32(), 2)
    path = write_parquet(tmp_path / "a.parquet", ["b", "a"], [[1, 2], [3, 4]], kind)
    assert read_precomputed(path, None, ["a", "b"]).matrix.tolist() == [[3, 4], [1, 2]]
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(FeatureError, match=r"a\.parquet cannot be read as Parquet"):
        read_precomputed(path, None, ["a"])


def test_read_precomputed_parquet_parts_are_read_one_after_the_other(tmp_path):
    write_parquet(tmp_path / "1.parquet", [1], [[1.0]])
    write_parquet(tmp_path / "2.parquet", [2], [[2.0]])
    assert read_precomputed([tmp_path / "1.parquet", tmp_path / "2.parquet"], None, [2, 1]).matrix.tolist() == [
        [2],
        [1],
    ]


@pytest.mark.parametrize("block", [2, 1024])
def test_read_precomputed_npy_and_integer_ids(tmp_path, block):
    np.save(tmp_path / "v.npy", np.eye(3))
    (tmp_path / "ids.txt").write_text("30\n10\n20\n")
    matrix = read_precomputed(tmp_path / "v.npy", tmp_path / "ids.txt", [10, 20, 30], block=block).matrix
    assert matrix.tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
    loaded = read_precomputed(tmp_path / "v.npy", ROWS, [2, 3, 0], block=block)
    assert loaded.matrix.tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]
    assert loaded.present.tolist() == [True, False, True]


def test_read_precomputed_amazon_picks_the_items_out_of_the_file(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(5, 4096)).astype(np.float32)
    path = write_image_features(tmp_path / "x.b", [(b"B%09d" % row, vector) for row, vector in enumerate(vectors)])
    loaded = read_precomputed(path, None, ["B000000004", "absent", "B000000000"], block=2)
    np.testing.assert_array_equal(loaded.matrix, [vectors[4], np.zeros(4096), vectors[0]])
    assert loaded.present.tolist() == [True, False, True]
    assert loaded.num_vectors == 5


def test_read_precomputed_amazon_damage_is_named_by_record(tmp_path):
    ones = np.ones(4096)
    path = write_image_features(tmp_path / "x.b", [(b"B000000001", ones), (b"B000000002", ones)])
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(FeatureError, match=r"x\.b is cut off in record 2: its 32,688 bytes .* fetch it again"):
        read_precomputed(path, None, [])
    path.write_bytes(whole[:16_394] + b"\xff" * 10 + whole[16_394 + 10 :])
    with pytest.raises(FeatureError, match=r"x\.b, record 2: the id .* not ASCII"):
        read_precomputed(path, None, [])
    path.write_bytes(b"")
    with pytest.raises(FeatureError, match=r"x\.b: there is no vector"):
        read_precomputed(path, None, [])


@pytest.mark.parametrize("block", [1, 1024])
def test_read_precomputed_repeated_id_counts_once_unless_its_vectors_differ(tmp_path, block):
    ones = np.ones(4096)
    same = write_image_features(tmp_path / "same.b", [(b"B000000001", ones)] * 2)
    assert read_precomputed(same, None, ["B000000001"], block=block).matrix.sum() == 4096
    other = write_image_features(tmp_path / "other.b", [(b"B000000001", ones), (b"B000000001", 2 * ones)])
    with pytest.raises(FeatureError, match=r"other\.b: item 'B000000001' stands twice"):
        read_precomputed(other, None, ["B000000001"], block=block)
    assert not read_precomputed(other, None, ["B000000002"], block=block).present.any()


def test_digest_depends_on_ids_presence_and_vectors(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", ["a", "b"], [[3.0], [1.0]])
    ids = ["a", "b"]
    digest = read_precomputed(path, None, ids).digest(ids)
    assert read_precomputed(path, None, ids).digest(ids) == digest
    assert read_precomputed(path, None, ids).digest(["a", "c"]) != digest
    assert read_precomputed(path, None, ["x", "b"]).digest(ids) != digest
    other = write_parquet(tmp_path / "b.parquet", ["a", "b"], [[3.0], [2.0]])
    assert read_precomputed(other, None, ids).digest(ids) != digest


def test_read_precomputed_wrong_input_is_named(tmp_path):
    ids = ["a", "b"]
    with pytest.raises(FeatureError, match="does not exist"):
        read_precomputed(tmp_path / "absent.parquet", None, ids)
    with pytest.raises(FeatureError, match="lengths"):
        read_precomputed(write_parquet(tmp_path / "a.parquet", ids, [[1.0], [1.0, 2.0]]), None, ids)
    for wrong in (float("nan"), float("inf"), None):
        with pytest.raises(FeatureError, match=r"c\.parquet: item 'b' has a vector with NaN"):
            read_precomputed(write_parquet(tmp_path / "c.parquet", ids, [[1.0], [wrong]]), None, ids)
    pq.write_table(pa.table({"id": ids}), tmp_path / "d.parquet")
    with pytest.raises(FeatureError, match="no column 'item_id', only id"):
        read_precomputed(tmp_path / "d.parquet", None, ids)
    np.save(tmp_path / "v.npy", np.eye(3))
    (tmp_path / "ids.txt").write_text("1\n2\n")
    with pytest.raises(FeatureError, match="must agree"):
        read_precomputed(tmp_path / "v.npy", tmp_path / "ids.txt", ids)
    with pytest.raises(FeatureError, match="needs ids = 'FILE'"):
        read_precomputed(tmp_path / "v.npy", None, ids)
    np.save(tmp_path / "flat.npy", np.ones(3))
    with pytest.raises(FeatureError, match=r"flat\.npy has shape \(3,\)"):
        read_precomputed(tmp_path / "flat.npy", ROWS, ids)
    (tmp_path / "text.npy").write_text("no matrix")
    with pytest.raises(FeatureError, match=r"text\.npy cannot be read"):
        read_precomputed(tmp_path / "text.npy", ROWS, ids)
    with (tmp_path / "archive.npy").open("wb") as file:
        np.savez(file, a=np.eye(2))
    with pytest.raises(FeatureError, match=r"archive\.npy holds several arrays"):
        read_precomputed(tmp_path / "archive.npy", ROWS, ids)
    for wrong in (np.array([["1", "2"]]), np.array([[1j, 2j]])):
        np.save(tmp_path / "odd.npy", wrong)
        with pytest.raises(FeatureError, match=r"odd\.npy holds .*; a matrix of numbers"):
            read_precomputed(tmp_path / "odd.npy", ROWS, ids)
    np.save(tmp_path / "narrow.npy", np.ones((2, 0)))
    with pytest.raises(FeatureError, match="length 0"):
        read_precomputed(tmp_path / "narrow.npy", ROWS, ids)
    for kind, values in ((pa.string(), ["1 2", "3 4"]), (pa.list_(pa.string()), [["1"], ["2"]])):
        with pytest.raises(FeatureError, match=r"column vector: values are .*; lists of numbers"):
            read_precomputed(write_parquet(tmp_path / "e.parquet", ids, values, kind), None, ids)
    for odd in ([1.0, 2.0], [b"a", b"b"]):
        with pytest.raises(FeatureError, match=r"column item_id: ids are .*; write them as text or whole numbers"):
            read_precomputed(write_parquet(tmp_path / "f.parquet", odd, [[1.0], [2.0]]), None, ids)
    (tmp_path / "text.npy").write_bytes(b"\x93NUMPY\x01\x00\x08\x00{(descr'")
    with pytest.raises(FeatureError, match=r"text\.npy cannot be read"):
        read_precomputed(tmp_path / "text.npy", ROWS, ids)
    with pytest.raises(FeatureError, match="needs ids = 'FILE'"):
        read_precomputed(tmp_path / "v.npy", tmp_path, ids)
    (tmp_path / "ids.txt").write_bytes("1\né\n".encode("latin-1"))
    with pytest.raises(FeatureError, match=r"ids\.txt is not UTF-8 text"):
        read_precomputed(tmp_path / "v.npy", tmp_path / "ids.txt", ids)


def test_read_precomputed_numbers_of_every_kind_are_numbers(tmp_path):
    np.save(tmp_path / "v.npy", np.eye(2, dtype=bool))
    assert read_precomputed(tmp_path / "v.npy", ROWS, ["1"]).matrix.tolist() == [[0, 1]]
    for kind, one in (
        (pa.list_(pa.bool_()), True),
        (pa.list_(pa.decimal128(5, 2)), Decimal(1)),
        (pa.list_(pa.float16()), np.float16(1)),
        (pa.large_list(pa.int8()), 1),
    ):
        path = write_parquet(tmp_path / "a.parquet", ["a", None], [[one, one], [one, one]], kind)
        loaded = read_precomputed(path, None, ["a", "None"])
        assert (loaded.matrix.tolist(), loaded.present.tolist()) == ([[1, 1], [0, 0]], [True, False])


def test_read_precomputed_byte_order_mark_is_no_part_of_an_id(tmp_path):
    np.save(tmp_path / "v.npy", np.eye(2))
    (tmp_path / "ids.txt").write_text("a\nb\n", encoding="utf-8-sig")
    assert read_precomputed(tmp_path / "v.npy", tmp_path / "ids.txt", ["b", "a"]).matrix.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("scale", [5e-324 * 2**60, 1e-60, 1e19, 1e30, 1e300])
def test_read_precomputed_very_long_and_short_vectors_keep_their_directions_and_are_counted(tmp_path, scale):
    np.save(tmp_path / "v.npy", np.array([[3.0, 4.0], [scale, -scale], [0.0, 0.0]]))
    loaded = read_precomputed(tmp_path / "v.npy", ROWS, ["0", "1", "2"])
    assert (loaded.num_scaled, loaded.num_zero, loaded.present.tolist()) == (1, 1, [True, True, False])
    np.testing.assert_array_equal(loaded.matrix[0], [3, 4])
    assert loaded.matrix[1, 0] == -loaded.matrix[1, 1] > 0.4
    path = write_parquet(tmp_path / "a.parquet", ["1"], [[scale, -scale]], pa.list_(pa.float64()))
    np.testing.assert_array_equal(read_precomputed(path, None, ["1"]).matrix, loaded.matrix[1:2])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_read_precomputed_value_that_is_not_finite_is_refused_with_the_item(tmp_path, value):
    np.save(tmp_path / "v.npy", np.array([[1.0, 2.0], [value, 1e300]]))
    (tmp_path / "ids.txt").write_text("a\nb\n")
    with pytest.raises(FeatureError, match=r"v\.npy: item 'b' has a vector with NaN or infinite.*leave the item out"):
        read_precomputed(tmp_path / "v.npy", tmp_path / "ids.txt", ["a", "b"])
