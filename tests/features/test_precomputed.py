import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import FeatureError
from features.precomputed import read_precomputed


def write_parquet(path, ids, vectors):
    pq.write_table(pa.table({"item_id": ids, "vector": pa.array(vectors, pa.list_(pa.float32()))}), path)
    return path


def test_read_precomputed_parquet_rows_stand_in_the_catalogues_order(tmp_path):
    path = write_parquet(tmp_path / "audio.parquet", ["b", "a"], [[1.0, 2.0], [3.0, 4.0]])
    matrix, present = read_precomputed(path, None).rows_for(["a", "x", "b"])
    assert matrix.tolist() == [[3, 4], [0, 0], [1, 2]]
    assert present.tolist() == [True, False, True]


def test_read_precomputed_npy_and_integer_ids(tmp_path):
    np.save(tmp_path / "v.npy", np.eye(3))
    (tmp_path / "ids.txt").write_text("30\n10\n20\n")
    matrix, _ = read_precomputed(tmp_path / "v.npy", tmp_path / "ids.txt").rows_for([10, 20, 30])
    assert matrix.tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]


def test_read_precomputed_wrong_input_is_named(tmp_path):
    with pytest.raises(FeatureError, match="does not exist"):
        read_precomputed(tmp_path / "absent.parquet", None)
    with pytest.raises(FeatureError, match="lengths"):
        read_precomputed(write_parquet(tmp_path / "a.parquet", ["a", "b"], [[1.0], [1.0, 2.0]]), None)
    with pytest.raises(FeatureError, match="stands twice"):
        read_precomputed(write_parquet(tmp_path / "b.parquet", ["a", "a"], [[1.0], [2.0]]), None)
    with pytest.raises(FeatureError, match="NaN"):
        read_precomputed(write_parquet(tmp_path / "c.parquet", ["a"], [[float("nan")]]), None)
    np.save(tmp_path / "v.npy", np.eye(3))
    (tmp_path / "ids.txt").write_text("1\n2\n")
    with pytest.raises(FeatureError, match="must agree"):
        read_precomputed(tmp_path / "v.npy", tmp_path / "ids.txt")
