import polars as pl
import pytest
from upath import UPath

from pipeline.columns import LOCATION, SIZE, VERSION
from pipeline.dataset.content_store import SCHEMA, ContentStore
from pipeline.errors import DamagedError

ROW = {
    "location": "a.jpg",
    "size": 3,
    "version": "1",
    "sha256": "ab",
    "problem": None,
    "read_at": 5,
    "settled": True,
}


@pytest.mark.parametrize("odd", [{"version": "verskon"}, {"size": "sizf"}], ids=["text", "number"])
def test_known_part_whose_column_has_another_name_is_named_as_damaged(tmp_path, odd):
    """One flipped bit in a Parquet footer: the file can be read, and a column is not there."""
    pl.DataFrame([ROW], SCHEMA).write_parquet(tmp_path / "part-a.parquet")
    pl.DataFrame([ROW], SCHEMA).rename(odd).write_parquet(tmp_path / "part-b.parquet")
    versions = pl.DataFrame({name: [ROW[name]] for name in (LOCATION, SIZE, VERSION)})
    with pytest.raises(
        DamagedError, match=r"part-b\.parquet is damaged .*; delete it, and its pictures are read again"
    ):
        ContentStore(UPath(tmp_path)).known(versions)
    (tmp_path / "part-b.parquet").unlink()
    assert ContentStore(UPath(tmp_path)).known(versions)["sha256"].to_list() == ["ab"]
