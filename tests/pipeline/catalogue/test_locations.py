"""Folders that are taken for lists of files."""

import gzip
import os

import pytest
from upath import UPath

from pipeline.catalogue import table_logs
from pipeline.catalogue.locations import find_files, partition_values
from pipeline.errors import InputError, InputMissingError
from tests.pipeline.catalogue.cases import INTERACTIONS, ITEMS, PAIRS, checked, items_of, pairs_of, shop, write

ENDINGS = (".parquet", ".csv", ".jsonl", ".json")


def names(folder, location):
    return [str(file).removeprefix(f"{folder}/") for file in find_files(UPath(str(folder / location)), ENDINGS)]


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("location", ["inter", "inter/*"])
def test_parts_that_hold_nothing_are_passed_over(tmp_path, ending, location):
    write(tmp_path / f"inter/part-1{ending}", INTERACTIONS)
    (tmp_path / f"inter/part-0{ending}").write_bytes(b"")
    (tmp_path / "inter/part-2.csv").write_text("\n\n")
    (tmp_path / "inter/part-3.csv.gz").write_bytes(gzip.compress(b""))
    (tmp_path / "inter/part-4.csv").write_text("\ufeff")
    config = shop(tmp_path, interactions=location)
    assert pairs_of(config) == PAIRS
    assert checked(config)["interactions"]["rows"] == 16


def test_items_in_parts_that_hold_nothing_are_passed_over(tmp_path):
    write(tmp_path / "items/part-1.jsonl", ITEMS)
    (tmp_path / "items/part-0.jsonl").write_bytes(b"")
    assert items_of(shop(tmp_path, items="items"))["item_id"] == ITEMS["item_id"]


def test_folder_of_nothing_but_empty_parts_is_refused(tmp_path):
    (tmp_path / "inter").mkdir()
    for name in ("part-0.csv", "part-1.jsonl", "part-2.parquet"):
        (tmp_path / "inter" / name).write_bytes(b"")
    with pytest.raises(InputError, match=r"part-0\.csv cannot be read as csv: it is empty"):
        checked(shop(tmp_path, interactions="inter"))


@pytest.mark.parametrize(
    "hidden",
    ["_temporary/0/task_1", ".hive-staging_1", "_delta_index", "day=1/_tmp", "day=1/.staging", "__MACOSX/inter"],
)
@pytest.mark.parametrize("pattern", ["inter/**/*.csv", "inter/*/*.csv", "inter/*/*/*.csv"])
def test_glob_leaves_folders_out_that_are_not_committed(tmp_path, hidden, pattern):
    for good in ("day=1", "day=2/hour=3"):
        write(tmp_path / "inter" / good / "part-0.csv", INTERACTIONS)
    write(tmp_path / "inter" / hidden / "part-1.csv", INTERACTIONS)
    assert not [name for name in names(tmp_path, pattern) if hidden in name]
    assert names(tmp_path, "inter/**/*.csv") == ["inter/day=1/part-0.csv", "inter/day=2/hour=3/part-0.csv"]


def test_glob_takes_hidden_names_that_it_spells_out(tmp_path):
    write(tmp_path / "_exports/day/a.csv", ITEMS)
    write(tmp_path / "out/_new/a.csv", ITEMS)
    assert names(tmp_path, "_exports/*/*.csv") == ["_exports/day/a.csv"]
    assert names(tmp_path, "out/_new/*.csv") == ["out/_new/a.csv"]
    with pytest.raises(InputMissingError, match="names that begin with _"):
        names(tmp_path, "out/*/*.csv")


LAKES = {
    "Delta": ["_delta_log/00000000000000000000.json"],
    "Hudi": [".hoodie/hoodie.properties"],
    "Iceberg": ["metadata/v1.metadata.json", "data/.keep"],
}


@pytest.mark.parametrize(("kind", "logs"), LAKES.items())
@pytest.mark.parametrize(
    ("part", "location"),
    [
        ("part-0.parquet", "inter"),
        ("part-0.parquet", "inter/*.parquet"),
        ("day=1/part-0.parquet", "inter"),
        ("day=1/part-0.parquet", "inter/*/*.parquet"),
        ("day=1/part-0.parquet", "inter/day=1"),
        ("data/part-0.parquet", "inter/data"),
        ("data/day=1/part-0.parquet", "inter/**/*.parquet"),
        ("part-0.parquet", "inter/part-0.parquet"),
        ("part-0.parquet", "*/*.parquet"),
    ],
)
def test_table_with_a_log_is_refused(tmp_path, kind, logs, part, location):
    for log in logs:
        (tmp_path / "inter" / log).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "inter" / log).write_text("{}")
    write(tmp_path / "inter" / part, INTERACTIONS)
    with pytest.raises(InputError, match=rf"inter is a table of {kind}: .*export its present rows"):
        checked(shop(tmp_path, interactions=location))
    with pytest.raises(InputError, match=rf"is a table of {kind}"):
        checked(shop(tmp_path, items=location))


def test_vectors_in_a_table_with_a_log_are_refused_and_empty_parts_passed_over(tmp_path):
    vectors = {"item_id": ITEMS["item_id"], "vector": [[1.0, float(row)] for row in range(6)]}
    write(tmp_path / "vectors/part-1.parquet", vectors)
    (tmp_path / "vectors/part-0.parquet").write_bytes(b"")
    write(tmp_path / "vectors/_temporary/part-2.parquet", vectors)
    config = shop(tmp_path, modalities={"image": {"encoder": "precomputed", "vectors": "vectors"}})
    assert checked(config)["modalities"]["image"]["usable"] == 6
    (tmp_path / "vectors/_delta_log").mkdir()
    with pytest.raises(InputError, match="vectors is a table of Delta"):
        checked(config)


def test_hive_partitions_of_a_folder_are_read_with_their_values(tmp_path):
    halves = {"train": PAIRS[:8], "test": PAIRS[8:14], "validation": PAIRS[14:]}
    for part, pairs in halves.items():
        columns = {"user_id": [user for user, _ in pairs], "item_id": [item for _, item in pairs]}
        write(tmp_path / f"inter/split={part}/rating=4/part-0.parquet", columns)
    write(tmp_path / "inter/split=test/rating=4/_temporary/part-0.parquet", INTERACTIONS)
    config = shop(tmp_path, interactions="inter", split={"strategy": "given"})
    frame = config.open_catalogue().scan_interactions().collect()
    assert dict(frame["split"].value_counts().rows()) == {"train": 8, "test": 6, "validation": 2}
    assert frame["rating"].unique().to_list() == [4.0]
    assert checked(config)["interactions"]["rows"] == 16


def test_partition_values_are_unquoted_and_a_column_of_the_file_stays(tmp_path):
    path = UPath(str(tmp_path / "a%20b=c%2Fd" / "x=__HIVE_DEFAULT_PARTITION__" / "title=folder" / "items.csv"))
    assert partition_values(path, UPath(str(tmp_path))) == {"a%20b": "c/d", "x": None, "title": "folder"}
    write(tmp_path / "items/title=folder/shop=s/items.csv", ITEMS)
    items = items_of(shop(tmp_path, items="items"))
    assert items["title"] == ITEMS["title"]
    assert items["shop"] == ["s"] * 6


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("in", {"day": "1", "hour": "2"}),
        ("in/day=1", {"hour": "2"}),
        ("in/day=1/hour=2/a.csv", {}),
        ("in/day=1/*/*.csv", {"hour": "2"}),
        ("in/day=*/hour=2/a.csv", {"day": "1", "hour": "2"}),
        ("**/*.csv", {"split": "train", "day": "1", "hour": "2"}),
        ("elsewhere", {}),
    ],
)
def test_partition_values_are_of_the_folders_below_the_location(location, expected):
    root = UPath("/data/year=7/shop")
    file = root / ("split=train/in" if location.startswith("**") else "in") / "day=1/hour=2/a.csv"
    assert partition_values(file, root / location) == expected


def test_project_below_a_folder_that_looks_like_a_partition_has_no_column_of_it(tmp_path):
    folder = tmp_path / "split=train"
    write(folder / "inter/rating=4/a.csv", INTERACTIONS)
    frame = shop(folder, interactions="inter").open_catalogue().scan_interactions().collect()
    assert frame.columns == ["user_id", "item_id", "rating"]
    assert "split" not in items_of(shop(folder))


def test_glob_descends_into_the_folders_that_it_matches(tmp_path):
    for name in ("day1.parquet", "day2.parquet/part-0.parquet", "day2.parquet/hour=1/part-0.parquet"):
        write(tmp_path / "in" / name, ITEMS)
    (tmp_path / "in/day2.parquet/_SUCCESS").touch()
    (tmp_path / "in/day2.parquet/_tmp").mkdir()
    expected = ["in/day1.parquet", "in/day2.parquet/hour=1/part-0.parquet", "in/day2.parquet/part-0.parquet"]
    assert names(tmp_path, "in/*.parquet") == names(tmp_path, "in/**/*.parquet") == expected
    (tmp_path / "in/day2.parquet/_delta_log").mkdir()
    with pytest.raises(InputError, match=r"day2\.parquet is a table of Delta"):
        names(tmp_path, "in/*.parquet")


def test_logs_are_looked_for_no_further_up_than_the_location(tmp_path):
    (tmp_path / "_delta_log").mkdir()
    write(tmp_path / "shop/in/day=1/a.csv", ITEMS)
    for location in ("shop/in", "shop/in/*/*.csv", "shop/in/day=1", "shop/in/day=1/a.csv"):
        assert names(tmp_path, location) == ["shop/in/day=1/a.csv"]


def test_metadata_that_are_not_iceberg_s_are_no_log(tmp_path):
    write(tmp_path / "items.csv", ITEMS)
    write(tmp_path / "data/inter.csv", ITEMS)
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata/shop.metadata.json").write_text("{}")
    assert names(tmp_path, "items.csv") == ["items.csv"]
    assert names(tmp_path, "data") == ["data/inter.csv"]
    (tmp_path / "metadata/00001-5c1f.metadata.json").write_text("{}")
    with pytest.raises(InputError, match="is a table of Iceberg"):
        names(tmp_path, "data")


def test_folder_that_may_not_be_listed_is_no_table_with_a_log(tmp_path, monkeypatch):
    def refused(self):
        raise PermissionError

    write(tmp_path / "items.csv", ITEMS)
    monkeypatch.setattr(type(UPath(str(tmp_path))), "is_dir", refused)
    assert table_logs._table_kind(UPath(str(tmp_path))) is None


def test_json_lines_under_the_name_json_are_read_but_for_descriptions_beside_tables(tmp_path):
    write(tmp_path / "a/part-0.json", ITEMS)
    assert items_of(shop(tmp_path, items="a")) == ITEMS
    write(tmp_path / "b/part-0.parquet", ITEMS)
    (tmp_path / "b/schema.json").write_text('{"fields": []}')
    assert items_of(shop(tmp_path, items="b")) == ITEMS
    (tmp_path / "b/part-0.parquet").unlink()
    with pytest.raises(InputError, match=r"schema\.json: there is no column 'item_id'"):
        checked(shop(tmp_path, items="b"))
    (tmp_path / "whole.json").write_text('[\n{"item_id": "A1"}\n]')
    with pytest.raises(InputError, match=r"whole\.json, line 1: .*one JSON document.*one record a line"):
        checked(shop(tmp_path, items="whole.json"))


def not_read(config):
    """The warnings of what is not read."""
    return [line for line in checked(config)["warnings"] if line.startswith("not read")]


def test_data_that_is_not_read_is_named_in_one_line(tmp_path):
    write(tmp_path / "inter/part-0.csv", INTERACTIONS)
    write(tmp_path / "inter/old/part-0.csv", INTERACTIONS)
    write(tmp_path / "inter/pictures/x.csv", INTERACTIONS).rename(tmp_path / "inter/pictures/x.png")
    for name in ("part-1.csv.zst", "part-00002", "README.md", "_part-3.tsv", "more.tsv", "schema.json"):
        (tmp_path / "inter" / name).write_text("x")
    folder = tmp_path / "inter"
    assert not_read(shop(tmp_path, interactions="inter")) == [
        f"not read, by name or as folders below (4 in all): {folder}/more.tsv, {folder}/old, {folder}/part-00002 …"
    ]


@pytest.mark.parametrize("location", ["inter", "inter/*"])
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"user_id": "u1"}\n{"user_id": "u2"}\n', True),
        ('[\n{"user_id": "u1"}]', True),
        ('[{"user_id": "u1"}]', True),
        ('{"fields": []}', False),
        ('{\n"fields": []\n}', False),
        ("", False),
    ],
)
@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
def test_records_named_json_beside_other_tables_are_named(tmp_path, location, text, told, ending):
    write(tmp_path / f"inter/part-0{ending}", INTERACTIONS)
    (tmp_path / "inter/part-1.json").write_text(text)
    assert not_read(shop(tmp_path, interactions=location)) == (
        [f"not read, by name or as folders below (1 in all): {tmp_path}/inter/part-1.json"] if told else []
    )


def test_what_other_settings_name_is_no_oversight(tmp_path):
    write(tmp_path / "data/items.csv", ITEMS)
    write(tmp_path / "data/interactions/a.csv", INTERACTIONS)
    write(tmp_path / "data/vectors/a.parquet", {"item_id": ITEMS["item_id"], "vector": [[1.0]] * 6})
    write(tmp_path / "data/pictures/captions.csv", ITEMS)
    write(tmp_path / "data/more/sizes.csv", ITEMS)
    (tmp_path / "data/more/a.jpg").touch()
    vectors = {"encoder": "precomputed", "vectors": "data/vectors/*.parquet"}
    layout = {"items": "data", "interactions": ["data/interactions"], "image_root": "data/pictures"}
    config = shop(tmp_path, "data", "data/interactions", catalogue=layout, modalities={"image": vectors})
    assert not_read(config) == []
    assert not_read(shop(tmp_path, "data", "data/interactions")) == [
        f"not read, by name or as folders below (2 in all): {tmp_path}/data/pictures, {tmp_path}/data/vectors"
    ]


def test_endings_in_capital_letters_are_known(tmp_path):
    write(tmp_path / "items.csv", ITEMS).rename(tmp_path / "ITEMS.CSV")
    assert items_of(shop(tmp_path, items="*.CSV")) == ITEMS


def test_links_to_files_are_followed(tmp_path):
    write(tmp_path / "elsewhere.csv", INTERACTIONS)
    (tmp_path / "inter").mkdir()
    (tmp_path / "inter/part-0.csv").symlink_to(tmp_path / "elsewhere.csv")
    assert pairs_of(shop(tmp_path, interactions="inter")) == PAIRS
    assert pairs_of(shop(tmp_path, interactions="inter/*.csv")) == PAIRS


@pytest.mark.timeout(60)
def test_what_is_no_regular_file_is_refused_or_passed_over(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(InputError, match=r"pipe\.csv is not a regular file"):
        checked(shop(tmp_path, interactions="pipe.csv"))
    write(tmp_path / "inter/part-0.csv", INTERACTIONS)
    os.mkfifo(tmp_path / "inter/part-1.csv")
    assert pairs_of(shop(tmp_path, interactions="inter")) == PAIRS
    assert pairs_of(shop(tmp_path, interactions="inter/*.csv")) == PAIRS
