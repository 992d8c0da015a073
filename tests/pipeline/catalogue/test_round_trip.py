"""A catalogue that is written in any format is read as it was written."""

import csv
import gzip
import json
import tempfile
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.catalogue.cleaning import clean_items
from pipeline.catalogue.contents import join_texts
from tests.pipeline.catalogue.cases import shop

ENDINGS = (".parquet", ".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".json")
_TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12)
_ODD = st.sampled_from(['5" x', 'say "hi"', "a,b", "two\nlines", "\r\n", "nan", "NULL", "007", "1e3", "\\", '\\"', "é"])
TITLE = st.none() | _TEXT | _ODD
ID = st.text(st.characters(categories=("L", "N", "P")), min_size=1, max_size=6) | _ODD.filter(str.strip)
TAGS = st.none() | st.lists(st.text("ab ,é", max_size=3), max_size=3)
ROWS = st.lists(st.tuples(ID, TITLE, TAGS), min_size=1, max_size=8, unique_by=lambda row: row[0])


def write_csv(path, ids, titles):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["item_id", "title"], *zip(ids, titles, strict=True)])


def write_parts(folder, ending, rows, parts):
    """The rows in so many files; csv has no lists, so tags are left out there."""
    suffix = ending.removesuffix(".gz")
    for part in range(parts):
        some = rows[part::parts]
        ids, titles, tags = (list(column) for column in zip(*some, strict=True)) if some else ([], [], [])
        path = folder / f"part-{part}{suffix}"
        if suffix == ".parquet":
            kinds = {"item_id": pa.string(), "title": pa.string(), "tags": pa.list_(pa.string())}
            columns = dict(zip(kinds, (ids, titles, tags), strict=True))
            pq.write_table(pa.table({name: pa.array(columns[name], kind) for name, kind in kinds.items()}), path)
        elif suffix == ".csv":
            write_csv(path, ids, titles)
        else:
            records = [
                {"item_id": item, "title": title, "tags": tag}
                for item, title, tag in zip(ids, titles, tags, strict=True)
            ]
            path.write_text("".join(json.dumps(record) + "\n" for record in records))
        if ending.endswith(".gz"):
            path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()


@pytest.mark.parametrize("ending", ENDINGS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ROWS, st.integers(1, 3))
def test_items_of_any_format_are_those_that_were_written(ending, rows, parts):
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "items").mkdir()
        write_parts(folder / "items", ending, rows, parts)
        items = clean_items(shop(folder, items="items").open_catalogue())
        assert items["item_id"].to_list() == sorted((row[0] for row in rows), key=str.encode)
        read = dict(items.select("item_id", "title").rows())
        for item, title, _ in rows:
            assert (read[item] or "") == (title or "")
        if "tags" in items.columns:
            texts = dict(zip(items["item_id"], join_texts(items, ["tags"]), strict=True))
            for item, _, tags in rows:
                assert texts[item].replace(",", " ").split() == " ".join(tags or []).replace(",", " ").split()


NUMBER = st.none() | st.integers(-(10**9), 10**9) | st.floats(-1e6, 1e6)
PAIR = st.tuples(st.sampled_from("uvw"), st.sampled_from("abc"), NUMBER, st.none() | st.integers(0, 10**8 - 1))


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".jsonl"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(PAIR, min_size=1, max_size=8))
def test_interactions_of_any_format_are_those_that_were_written(ending, rows):
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        names = ["user_id", "item_id", "rating", "timestamp"]
        schema = {"user_id": pl.String, "item_id": pl.String, "rating": pl.Float64, "timestamp": pl.Int64}
        frame = pl.DataFrame(rows, schema=schema, orient="row", strict=False)
        if ending == ".parquet":
            frame.write_parquet(folder / "inter.parquet")
        elif ending == ".csv":
            frame.write_csv(folder / "inter.csv")
        else:
            records = [dict(zip(names, row, strict=True)) for row in rows]
            (folder / "inter.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        read = shop(folder, interactions=f"inter{ending}").open_catalogue().scan_interactions().collect()
        assert read.select("user_id", "item_id").rows() == frame.select("user_id", "item_id").rows()
        assert read["rating"].to_list() == pytest.approx(frame["rating"].to_list())
        assert read["timestamp"].to_list() == frame["timestamp"].to_list()
