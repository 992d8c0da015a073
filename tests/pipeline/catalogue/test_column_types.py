"""Types that are met: what is plain is read, all else is refused with file, column and type where it is asked for."""

import datetime as dt
from decimal import Decimal

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.catalogue.cleaning import clean_items
from pipeline.catalogue.contents import join_texts
from pipeline.cli.failures import exit_status
from pipeline.errors import InputError
from tests.pipeline.catalogue.cases import INTERACTIONS, ITEMS, PAIRS, checked, items_of, pairs_of, shop, write

MAP = pa.map_(pa.string(), pa.string())
HUGGING_FACE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
NIL = pa.nulls(5)


def parquet_items(folder, **columns):
    table = pa.table({**{name: pa.array(values) for name, values in ITEMS.items()}, **columns})
    pq.write_table(table, folder / "items.parquet")
    return shop(folder, items="items.parquet")


def column(first, kind=None):
    return pa.array([first, *[None] * 5], kind)


@pytest.mark.parametrize(
    ("first", "text"),
    [
        (column([["Baby", "Toys"], ["Baby", None, "Soft"], []]), "Baby, Toys, Baby, Soft"),
        (column([[[["a"]], [["b", "c"]]]]), "a, b, c"),
        (column(["a", "b"], pa.list_(pa.string(), 2)), "a, b"),
        (column([["a", "b"], ["c", "d"]], pa.list_(pa.list_(pa.string(), 2))), "a, b, c, d"),
        (column([["a"], ["b"]], pa.list_(pa.list_(pa.string()), 2)), "a, b"),
        (column(["a", "b"], pa.large_list(pa.large_string())), "a, b"),
        (column([1, None, 2]), "1, 2"),
        (column([1.5, float("nan")]), "1.5"),
        (column("x").dictionary_encode(), "x"),
        (column("x", pa.string_view()), "x"),
        (column(7, pa.uint64()), "7"),
        (column(2**64 - 1, pa.uint64()), "18446744073709551615"),
        (column(Decimal("1.50")), "1.50"),
        (column(True), "true"),
        (column(dt.date(2025, 1, 2)), "2025-01-02"),
        (column(1.5, pa.float16()), "1.5"),
        (column(float("nan")), ""),
        (column(None), ""),
    ],
)
def test_content_of_a_plain_type_is_read_as_text(tmp_path, first, text):
    config = parquet_items(tmp_path, more=first)
    assert join_texts(clean_items(config.open_catalogue()), ["more"]) == [text, *[""] * 5]
    named = parquet_items(tmp_path, title=first)
    report = checked(named)
    assert report["items"]["values"]["title"] == report["modalities"]["text"]["usable"] == int(bool(text))
    assert report["modalities"]["text"]["examples"] == ([text] if text else [])


ODD = {
    "Binary": column(b"x"),
    "Struct": column({"en": "x"}),
    "Map": column([("en", "x")], MAP),
    "List": column([{"name": "x"}]),
    "Duration": column(dt.timedelta(1)),
    "pictures": column({"bytes": b"x", "path": "a.png"}, HUGGING_FACE),
    "list of bytes": column([b"x"]),
    "digits": column(Decimal("1.5"), pa.decimal256(50, 2)),
    "view": column(["x"], pa.list_view(pa.string())),
    "list of moments": column([10**15], pa.list_(pa.timestamp("us", "+05:30"))),
}


@pytest.mark.parametrize("kind", ODD)
def test_column_of_an_odd_type_is_refused_where_it_is_used_and_harmless_elsewhere(tmp_path, kind, capsys):
    used = parquet_items(tmp_path, title=ODD[kind])
    assert exit_status(lambda: checked(used) and 0) == 2
    told = capsys.readouterr().err
    assert "items.parquet, column title: values are " in told
    assert "modalities.text.columns needs text" in told
    config = parquet_items(tmp_path, more=ODD[kind])
    assert checked(config)["modalities"]["text"]["usable"] == 6
    assert items_of(config) == ITEMS


@pytest.mark.parametrize("kind", [*ODD, "list of paths", "number"])
def test_image_path_that_is_no_text_is_refused_where_pictures_are_asked_for(tmp_path, kind, capsys):
    odd = {**ODD, "list of paths": column(["a.png"]), "number": column(7)}[kind]
    parquet_items(tmp_path, image_path=odd)
    pictures = shop(tmp_path, items="items.parquet", modalities={"image": {"encoder": "efficientnet-lite0"}})
    assert exit_status(lambda: checked(pictures) and 0) == 2
    assert "items.parquet, column image_path: values are " in capsys.readouterr().err
    assert checked(shop(tmp_path, items="items.parquet"))["modalities"]["text"]["usable"] == 6


def test_kind_of_an_odd_type_is_refused_with_file_column_and_type(tmp_path):
    parquet_items(tmp_path, shelf=column({"en": "x"}))
    config = shop(tmp_path, items="items.parquet", evaluation={"kind": "shelf"})
    with pytest.raises(InputError, match=r"items\.parquet, column shelf: values are Struct.*evaluation\.kind"):
        checked(config)


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
@pytest.mark.parametrize(
    ("one", "other"),
    [(["x", "y"], "x"), ({"a": 1}, "x"), ([1], {"a": 1}), (1, "x"), (True, 2.5), ([["a"]], ["a"]), ("x", None)],
)
def test_parts_that_differ_in_a_column_that_nobody_uses_are_read(tmp_path, ending, one, other):
    for name, value, rows in (("a", one, slice(0, 3)), ("b", other, slice(3, 6))):
        some = {column: values[rows] for column, values in ITEMS.items()}
        write(tmp_path / f"items/{name}{ending}", {**some, "offers": [value] * 3})
        write(tmp_path / f"inter/{name}{ending}", {**INTERACTIONS, "offers": [value] * 16})
    config = shop(tmp_path, items="items", interactions="inter")
    assert items_of(config)["item_id"] == ITEMS["item_id"]
    assert pairs_of(config) == sorted(PAIRS * 2)
    assert checked(config)["warnings"] == ["interactions: 16 rows repeat a (user, item) pair; the earliest is kept"]


@pytest.mark.parametrize(
    ("one", "other", "texts"),
    [
        (["x", "y"], "z", ["x, y", "z"]),
        (7, "z", ["7", "z"]),
        ([["x"]], ["y", "z"], ["x", "y, z"]),
        (2, 2.5, ["2.0", "2.5"]),
        (True, "z", ["true", "z"]),
    ],
)
def test_parts_that_differ_in_a_text_column_are_read_as_text(tmp_path, one, other, texts):
    write(tmp_path / "items/a.parquet", {"item_id": ["A1"], "more": [one]})
    write(tmp_path / "items/b.parquet", {"item_id": ["A2"], "more": [other]})
    items = clean_items(shop(tmp_path, items="items").open_catalogue())
    assert join_texts(items, ["more"]) == texts


def test_parts_of_which_one_holds_records_name_it(tmp_path):
    write(tmp_path / "items/a.parquet", {"item_id": ["A1"], "title": ["x"]})
    write(tmp_path / "items/b.jsonl", {"item_id": ["A2"], "title": [{"en": "x"}]})
    with pytest.raises(InputError, match=r"items/b\.jsonl, column title: values are Struct"):
        checked(shop(tmp_path, items="items"))


@pytest.mark.parametrize("zone", ["+05:30", "-08:00", "+00:00", "Nowhere/Land"])
def test_moments_of_a_zone_without_a_name_are_read(tmp_path, zone):
    moments = pa.array([1_700_000_000_000_000 + row for row in range(16)], pa.timestamp("us", zone))
    pq.write_table(pa.table({**INTERACTIONS, "timestamp": moments}), tmp_path / "inter.parquet")
    found = checked(shop(tmp_path, interactions="inter.parquet"))["interactions"]["timestamps"]
    assert (found["first"], found["missing"]) == ("2023-11-14T22:13:20+00:00", 0)


@pytest.mark.parametrize("name", ["user_id", "item_id"])
def test_unsigned_ids_are_read_up_to_what_int64_holds(tmp_path, name):
    ids = [2**63 - 1 - row for row in range(16)]
    columns = {"user_id": INTERACTIONS["user_id"], "item_id": ids, name: ids}
    pl.DataFrame(columns, schema_overrides={name: pl.UInt64}).write_parquet(tmp_path / "inter.parquet")
    config = shop(tmp_path, interactions="inter.parquet")
    assert config.open_catalogue().scan_interactions().collect()[name].to_list() == ids
    columns[name] = [2**63 + row for row in range(16)]
    pl.DataFrame(columns, schema_overrides={name: pl.UInt64}).write_parquet(tmp_path / "inter.parquet")
    with pytest.raises(InputError, match=rf"inter\.parquet, column {name}: ids are UInt64, such as 92233720368"):
        checked(config)


@pytest.mark.parametrize("name", ["rating", "weight", "timestamp", "split"])
@pytest.mark.parametrize("value", [[1], {"a": 1}, b"1", dt.timedelta(1)])
def test_numbers_of_interactions_of_an_odd_type_are_refused(tmp_path, name, value):
    pq.write_table(pa.table({**INTERACTIONS, name: pa.array([value] * 16)}), tmp_path / "inter.parquet")
    with pytest.raises(InputError, match=rf"inter\.parquet, column {name}: values are "):
        checked(shop(tmp_path, interactions="inter.parquet"))


def test_ratings_with_blanks_around_them_are_read(tmp_path):
    write(tmp_path / "inter.csv", {**INTERACTIONS, "rating": [" 4", "5 ", "  ", None] * 4})
    found = shop(tmp_path, interactions="inter.csv").open_catalogue().scan_interactions().collect()
    assert found["rating"].to_list() == [4.0, 5.0, None, None] * 4


def test_decimal_ids_are_whole_numbers(tmp_path):
    ids, kind = [Decimal(7 + row) for row in range(16)], pa.decimal128(38, 0)
    pq.write_table(pa.table({**INTERACTIONS, "user_id": pa.array(ids, kind)}), tmp_path / "inter.parquet")
    config = shop(tmp_path, interactions="inter.parquet")
    assert [user for user, _ in pairs_of(config)] == list(range(7, 23))
    ids[0] = Decimal(2**63)
    pq.write_table(pa.table({**INTERACTIONS, "user_id": pa.array(ids, kind)}), tmp_path / "inter.parquet")
    with pytest.raises(InputError, match=r"column user_id: ids are Decimal.*, such as 9223372036854775808"):
        checked(config)
