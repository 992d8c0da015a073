import gzip
import json
import random
from datetime import UTC, datetime

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pipeline.catalogue.cleaning import clean_interactions, clean_items
from pipeline.catalogue.pin import take_pin
from pipeline.config.config import compose
from pipeline.dataset.split import SplitConfig, split_interactions
from pipeline.errors import InputError
from pipeline.stages.prepare import assemble
from pipeline.stages.validate import check_catalogue
from tests.pipeline.catalogue.sources.files import write_amazon_2014

ITEMS = {"item_id": ["a", "b", "c"], "title": ["A", "B", "C"]}
PAIRS = {"user_id": ["u", "v", "v"], "item_id": ["a", "a", "b"]}


def settle(folder, items="items.parquet", interactions=("interactions.parquet",), **catalogue):
    """A configuration whose files stand in `folder`."""
    document = {"catalogue": {"items": items, "interactions": list(interactions), **catalogue}}
    return compose(document, base=folder)


def write(path, columns, **schema):
    """Write columns in the format that the name says."""
    frame = pl.DataFrame(columns, schema_overrides=schema)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        frame.write_parquet(path)
        return
    text = frame.write_csv() if ".csv" in path.name else frame.write_ndjson()
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def clean(config):
    return clean_interactions(config.open_catalogue(), clean_items(config.open_catalogue()))


@pytest.fixture
def config(tmp_path):
    write(tmp_path / "items.parquet", ITEMS)
    write(tmp_path / "interactions.parquet", PAIRS)
    return settle(tmp_path)


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".csv.gz", ".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz"])
def test_clean_every_format_gives_the_same_tables(tmp_path, ending):
    write(tmp_path / f"items{ending}", ITEMS)
    write(tmp_path / f"pairs{ending}", PAIRS | {"rating": [1.5, None, 3.0], "timestamp": [30, 10, 20]})
    config = settle(tmp_path, f"items{ending}", [f"pairs{ending}"])
    assert_frame_equal(clean_items(config.open_catalogue()), pl.DataFrame(ITEMS))
    wanted = PAIRS | {"timestamp": [30, 10, 20], "rating": [1.5, None, 3.0]}
    assert_frame_equal(clean(config), pl.DataFrame(wanted))


def test_read_items_csv_ids_and_titles_stay_as_written(tmp_path):
    (tmp_path / "items.csv").write_text('item_id,title,year\n007,1984,01\n7,"x, y",\n1e3,,\n')
    frame = settle(tmp_path, "items.csv").open_catalogue().scan_items().collect()
    assert frame["item_id"].to_list() == ["007", "7", "1e3"]
    assert frame["title"].to_list() == ["1984", "x, y", None]
    assert frame["year"].to_list() == ["01", None, None]


@pytest.mark.parametrize("kind", [pl.Int8, pl.UInt32, pl.Int64])
def test_clean_whole_number_ids_stay_numbers_and_sort_by_value(tmp_path, kind):
    write(tmp_path / "items.parquet", {"item_id": [10, 9, 100]}, item_id=kind)
    write(tmp_path / "interactions.parquet", {"user_id": [2, 11], "item_id": [9, 100]}, user_id=kind, item_id=pl.Int32)
    config = settle(tmp_path)
    assert clean_items(config.open_catalogue())["item_id"].to_list() == [9, 10, 100]
    assert clean(config).rows() == [(2, 9), (11, 100)]


def test_clean_text_ids_sort_by_bytes_and_keep_blanks_and_accents(tmp_path):
    ids = ["é", "a ", "Z", "a", "10", "9", "猫"]
    write(tmp_path / "items.parquet", {"item_id": ids}, item_id=pl.Categorical)
    assert clean_items(settle(tmp_path).open_catalogue())["item_id"].to_list() == sorted(ids, key=str.encode)


def test_read_items_jsonl_lists_stay_lists(tmp_path):
    (tmp_path / "items.jsonl").write_text('{"item_id": "a", "categories": ["x", "y"]}\n{"item_id": "b"}\n')
    assert settle(tmp_path, "items.jsonl").open_catalogue().scan_items().collect()["categories"].to_list() == [
        ["x", "y"],
        None,
    ]


def test_read_interactions_folder_glob_and_files_are_joined_with_differing_columns(tmp_path):
    write(tmp_path / "items.parquet", ITEMS)
    write(tmp_path / "days/1.parquet", {"user_id": ["u"], "item_id": ["a"], "shop": ["x"]})
    write(tmp_path / "days/2.csv", {"user_id": ["v"], "item_id": ["b"], "rating": [4]})
    write(tmp_path / "more-1.jsonl", {"item_id": ["c"], "user_id": ["w"], "timestamp": ["2025-01-02"]})
    for name in ("_SUCCESS", ".hidden.parquet", "_meta.parquet", "README.md"):
        (tmp_path / "days" / name).write_text("not a table")
    config = settle(tmp_path, interactions=["days", "more-*.jsonl", "days/1.parquet"])
    assert clean(config).to_dict(as_series=False) == {
        "user_id": ["u", "v", "w"],
        "item_id": ["a", "b", "c"],
        "timestamp": [None, None, datetime(2025, 1, 2, tzinfo=UTC)],
        "rating": [None, 4.0, None],
    }


def test_read_columns_are_renamed_theirs_to_ours(tmp_path):
    write(tmp_path / "items.parquet", {"asin": ["a"], "img": ["x.jpg"]})
    write(tmp_path / "interactions.parquet", {"asin": ["a"], "reviewer": ["u"], "overall": [5]})
    columns = {"asin": "item_id", "img": "image_path", "reviewer": "user_id", "overall": "rating"}
    config = settle(tmp_path, columns=columns)
    assert clean_items(config.open_catalogue()).columns == ["item_id", "image_path"]
    assert clean(config).row(0, named=True) == {"user_id": "u", "item_id": "a", "rating": 5.0}
    assert config.open_catalogue().unused_mappings() == []
    assert settle(tmp_path, columns=columns | {"tme": "timestamp"}).open_catalogue().unused_mappings() == ["tme"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"item_id": "asin"}, r'write asin = "item_id" \(their name = ours\)'),
        ({"asn": "item_id"}, r"""no column 'item_id', only asin, name; map yours .*THEIRS = "item_id"$"""),
        ({"asin": "item_id", "name": "item_id"}, "several columns the name 'item_id'; keep one"),
    ],
)
def test_read_items_wrong_mapping_is_refused_with_the_mend(tmp_path, columns, message):
    write(tmp_path / "items.parquet", {"asin": ["a"], "name": ["x"]})
    with pytest.raises(InputError, match=message):
        settle(tmp_path, columns=columns).open_catalogue().scan_items()


def test_read_items_mapping_onto_a_column_that_is_there_is_refused(tmp_path):
    write(tmp_path / "items.parquet", ITEMS | {"asin": ["x", "y", "z"]})
    with pytest.raises(InputError, match="has a column 'asin' and a column 'item_id'"):
        settle(tmp_path, columns={"asin": "item_id"}).open_catalogue().scan_items()
    swapped = settle(tmp_path, columns={"asin": "item_id", "item_id": "number"})
    assert swapped.open_catalogue().scan_items().collect()["item_id"].to_list() == ["x", "y", "z"]


@pytest.mark.parametrize(
    ("name", "payload", "message"),
    [
        ("absent.parquet", None, r"absent\.parquet does not exist"),
        ("none-*.csv", None, r"none-\*\.csv does not exist|holds no file"),
        ("items.txt", b"item_id\na\n", r"items\.txt: unknown ending; use one of \.parquet"),
        ("items.parquet", b"not parquet at all", r"items\.parquet cannot be read as parquet"),
        ("items.csv", b"", r"items\.csv cannot be read as csv: it is empty"),
        ("items.csv", b"item_id\na\nb\xe9\n", r"items\.csv, line 3, byte 11: b'\\xe9' is not UTF-8"),
        ("items.csv", b"item_id,titl\xe9\na,b\n", r"items\.csv, line 1, byte 12: b'\\xe9' is not UTF-8"),
        (
            "items.csv.gz",
            gzip.compress(b"item_id\na\xe9\n", mtime=0),
            r"items\.csv\.gz, line 2, byte 9: b'\\xe9' is not UTF-8",
        ),
        ("items.jsonl", b'{"item_id":"\xe9"}\n', r"items\.jsonl, line 1, byte 12: b'\\xe9' is not UTF-8"),
        ("items.jsonl", b'{"item_id": 7', r"items\.jsonl"),
        ("items.csv.gz", b"no gzip", r"items\.csv\.gz"),
        ("items.csv", b"item_id,title\n", "no row has an item_id"),
        ("items.csv", b"item_id,title\n,x\n", "no row has an item_id"),
    ],
)
def test_clean_items_impossible_file_is_named(tmp_path, name, payload, message):
    if payload is not None:
        (tmp_path / name).write_bytes(payload)
    with pytest.raises(InputError, match=message):
        clean_items(settle(tmp_path, name).open_catalogue())


def test_clean_items_folder_of_folders_says_how_to_write_a_glob(tmp_path):
    write(tmp_path / "items/monday/a.parquet", ITEMS)
    with pytest.raises(InputError, match=r"holds no file with one of the endings .*\*\*/\*\.parquet"):
        clean_items(settle(tmp_path, "items").open_catalogue())
    assert clean_items(settle(tmp_path, "items/**/*.parquet").open_catalogue()).height == 3


@pytest.mark.parametrize(
    ("ids", "kind"),
    [([1.0, 2.0], "Float64"), ([b"a", b"b"], "Binary"), ([True, False], "Boolean"), ([["a"], ["b"]], "List")],
)
def test_read_items_ids_of_another_kind_are_refused(tmp_path, ids, kind):
    write(tmp_path / "items.parquet", {"item_id": ids})
    with pytest.raises(InputError, match=rf"items\.parquet, column item_id: ids are {kind}.*text or whole numbers"):
        settle(tmp_path).open_catalogue().scan_items()


def test_clean_interactions_ids_of_another_type_than_the_catalogues_are_refused(tmp_path):
    write(tmp_path / "items.parquet", {"item_id": [1, 2]})
    write(tmp_path / "interactions.csv", {"user_id": [1], "item_id": [2]})
    with pytest.raises(
        InputError, match=r"interactions\.csv, column item_id: ids are String, the catalogue's are Int64"
    ):
        clean(settle(tmp_path, interactions=["interactions.csv"]))


def test_read_interactions_files_that_differ_in_the_type_of_an_id_are_refused(tmp_path):
    write(tmp_path / "1.parquet", {"user_id": [7], "item_id": ["a"]})
    write(tmp_path / "2.csv", {"user_id": ["7"], "item_id": ["a"]})
    with pytest.raises(InputError, match=r"column user_id is numbers in .*1\.parquet and text in .*2\.csv"):
        settle(tmp_path, interactions=["1.parquet", "2.csv"]).open_catalogue().scan_interactions()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("u,a,five,1", r"bad\.csv: cannot be read: .*'?rating'?.*five"),
        (
            "u,a,5,yesterday",
            r"bad\.csv, column timestamp: 'yesterday' is not a moment with the year first",
        ),
    ],
)
def test_clean_interactions_wrong_value_names_file_column_and_value(config, tmp_path, line, message):
    write(tmp_path / "good.csv", PAIRS | {"rating": [1, 2, 3]})
    (tmp_path / "bad.csv").write_text(f"user_id,item_id,rating,timestamp\n{line}\n")
    with pytest.raises(InputError, match=message):
        clean(settle(tmp_path, interactions=["good.csv", "bad.csv"]))


def test_clean_items_number_too_large_is_named(tmp_path):
    write(tmp_path / "items.parquet", {"item_id": [2**64 - 1]}, item_id=pl.UInt64)
    with pytest.raises(InputError, match=r"items\.parquet, column item_id: ids are UInt64, such as 184467440737"):
        clean_items(settle(tmp_path).open_catalogue())


MOMENT = datetime(2025, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        MOMENT,
        MOMENT.replace(tzinfo=None),
        "2025-03-01 12:00:00",
        "2025-03-01T12:00:00Z",
        "2025-03-01T14:00:00+02:00",
    ],
)
def test_clean_interactions_moments_are_in_utc(tmp_path, value):
    write(tmp_path / "items.parquet", ITEMS)
    write(tmp_path / "interactions.parquet", {"user_id": ["u"], "item_id": ["a"], "timestamp": [value]})
    assert clean(settle(tmp_path))["timestamp"].to_list() == [MOMENT]


def test_read_interactions_moments_and_numbers_are_not_mixed(tmp_path):
    write(tmp_path / "1.parquet", {"user_id": ["u"], "item_id": ["a"], "timestamp": [1]})
    write(tmp_path / "2.parquet", {"user_id": ["u"], "item_id": ["a"], "timestamp": [MOMENT]})
    with pytest.raises(InputError, match=r"column timestamp is moments in .* and numbers in"):
        settle(tmp_path, interactions=["*.parquet"]).open_catalogue().scan_interactions()


def test_clean_items_exact_repetitions_go_and_conflicts_are_refused(tmp_path):
    columns = {"item_id": ["b", "a", "b", None, ""], "categories": [["x", "y"], ["x"], ["x", "y"], ["x"], None]}
    write(tmp_path / "items.parquet", columns)
    assert clean_items(settle(tmp_path).open_catalogue()).rows() == [("a", ["x"]), ("b", ["x", "y"])]
    ids = [f"p{number}" for number in range(8)]
    write(tmp_path / "more.parquet", {"item_id": ids * 2, "title": ["x"] * 8 + ["y"] * 8})
    with pytest.raises(InputError, match=r"8 ids have several rows that differ, such as 'p0', .* 'p4'; keep one"):
        clean_items(settle(tmp_path, "more.parquet").open_catalogue())


def test_clean_interactions_earliest_of_a_pair_stays_whatever_the_order(tmp_path):
    write(tmp_path / "items.parquet", ITEMS)
    rows = [("u", "a", 5, 1.0), ("u", "a", 3, 5.0), ("u", "a", None, 4.0), ("u", "a", 3, 2.0), ("v", "b", 1, None)]
    for seed in range(4):
        random.Random(seed).shuffle(rows)
        frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp", "rating"], orient="row")
        frame.write_parquet(tmp_path / "interactions.parquet")
        assert clean(settle(tmp_path)).rows() == [("u", "a", 3, 2.0), ("v", "b", 1, None)]


def test_clean_interactions_rating_filter_comes_before_the_choice_among_repetitions(tmp_path):
    write(tmp_path / "items.parquet", ITEMS)
    columns = {"user_id": ["u"] * 4, "item_id": ["a", "a", "b", "c"], "rating": [1.0, 5.0, None, float("nan")]}
    write(tmp_path / "interactions.parquet", columns | {"timestamp": [1, 2, 3, 4]})
    config = settle(tmp_path, filter={"min_rating": 4.0})
    assert clean(config).rows() == [("u", "a", 2, 5.0)]


def test_clean_interactions_filters_follow_one_another_once(tmp_path):
    """Like the naive loop: users first, then items, without going back to the users."""
    write(tmp_path / "items.parquet", {"item_id": list("abcde")})
    pairs = [*("ua", "ub", "uc"), *("va", "vb"), *("wa", "wb", "wd"), *("xe",), *("ya", "yd", "ye"), "uz"]
    write(tmp_path / "interactions.parquet", {"user_id": [p[0] for p in pairs], "item_id": [p[1] for p in pairs]})
    config = settle(tmp_path, filter={"min_user_interactions": 3, "min_item_interactions": 2})
    kept = [pair for pair in pairs if pair[1] != "z"]
    kept = [pair for pair in kept if sum(other[0] == pair[0] for other in kept) >= 3]
    kept = [pair for pair in kept if sum(other[1] == pair[1] for other in kept) >= 2]
    assert ["".join(row) for row in clean(config).rows()] == sorted(kept)
    assert sorted(kept) == ["ua", "ub", "wa", "wb", "wd", "ya", "yd"]


@pytest.mark.parametrize("weight", [0.0, -1.0, float("inf")])
def test_clean_interactions_weight_that_is_not_positive_is_refused(tmp_path, weight):
    pl.DataFrame(ITEMS).write_parquet(tmp_path / "items.parquet")
    pl.DataFrame({**PAIRS, "weight": [1.0, weight, None]}).write_parquet(tmp_path / "interactions.parquet")
    config = settle(tmp_path)
    with pytest.raises(InputError, match=rf"column weight: 1 weights are .* such as {weight} of user 'v' and item 'a'"):
        clean_interactions(config.open_catalogue(), clean_items(config.open_catalogue()))


def test_training_data_weights_stand_with_their_interactions_and_an_empty_one_is_one(tmp_path):
    pl.DataFrame(ITEMS).write_parquet(tmp_path / "items.parquet")
    pl.DataFrame({**PAIRS, "weight": [0.5, 2.0, None]}).write_parquet(tmp_path / "interactions.parquet")
    config = settle(tmp_path)
    items = clean_items(config.open_catalogue())
    split = split_interactions(clean_interactions(config.open_catalogue(), items), SplitConfig(strategy="none"))
    data = assemble(items, split, {}).training_data()
    assert list(zip(data.user_T.tolist(), data.item_T.tolist(), data.weight_T.tolist(), strict=True)) == [
        (0, 0, 0.5),
        (1, 0, 2.0),
        (1, 1, 1.0),
    ]


def test_clean_interactions_nothing_left_tells_where_it_went(config, tmp_path):
    write(tmp_path / "other.parquet", {"user_id": ["u", "u", None], "item_id": ["x", "y", "a"]})
    with pytest.raises(InputError, match="no interaction is left; dropped were 1 without id, 2 of unknown items"):
        clean(settle(tmp_path, interactions=["other.parquet"]))
    with pytest.raises(InputError, match="min_rating needs a column 'rating'"):
        clean(settle(tmp_path, filter={"min_rating": 1.0}))
    with pytest.raises(InputError, match=r"catalogue\.interactions is empty"):
        clean(settle(tmp_path, interactions=[]))


def test_clean_interactions_column_of_nulls_is_dropped(tmp_path):
    write(tmp_path / "items.parquet", ITEMS)
    write(tmp_path / "interactions.parquet", {"user_id": [None], "item_id": [None], "timestamp": [None]})
    with pytest.raises(InputError, match="1 without id"):
        clean(settle(tmp_path))


def test_input_digest_names_files_relative_to_the_configuration(config, tmp_path):
    (tmp_path / "sub").mkdir()
    before = take_pin(config.open_catalogue()).digests
    assert set(before) == {"items.parquet", "interactions.parquet"}
    moved = settle(tmp_path / "sub", "../items.parquet", ["../*.parquet"])
    assert take_pin(moved.open_catalogue()).digests == {f"../{name}": digest for name, digest in before.items()}
    write(tmp_path / "items.parquet", {"item_id": ["other"]})
    after = take_pin(config.open_catalogue()).digests
    assert after["interactions.parquet"] == before["interactions.parquet"]
    assert after["items.parquet"] != before["items.parquet"]
    assert all(len(digest) == 64 for digest in json.loads(json.dumps(after)).values())


@pytest.fixture
def bucket(monkeypatch):
    """A bucket of an in-memory S3 server."""
    server_module = pytest.importorskip("moto.server")
    s3fs = pytest.importorskip("s3fs")
    server = server_module.ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().makedirs("shop", exist_ok=True)  # the server forgets nothing between tests
    yield s3fs.S3FileSystem()
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def test_clean_tables_in_an_object_store_are_those_on_disk(bucket, config, tmp_path):
    write(tmp_path / "more.csv.gz", {"user_id": ["w"], "item_id": ["c"]})
    for name in ("items.parquet", "interactions.parquet", "more.csv.gz"):
        bucket.put_file(str(tmp_path / name), f"shop/in/{name}")
    remote = settle(tmp_path, "s3://shop/in/items.parquet", ["s3://shop/in/inter*.parquet", "s3://shop/in/more.csv.gz"])
    local = settle(tmp_path, interactions=["interactions.parquet", "more.csv.gz"])
    assert_frame_equal(clean_items(remote.open_catalogue()), clean_items(local.open_catalogue()))
    assert_frame_equal(clean(remote), clean(local))
    digests = {
        name.removeprefix("s3://shop/in/"): digest for name, digest in take_pin(remote.open_catalogue()).digests.items()
    }
    assert digests == take_pin(local.open_catalogue()).digests
    with pytest.raises(InputError, match="s3://shop/absent does not exist"):
        clean_items(settle(tmp_path, "s3://shop/absent").open_catalogue())


def test_interactions_of_a_folder_in_an_object_store_are_those_on_disk(bucket, config, tmp_path):
    write(tmp_path / "inter/day=1/part-0.parquet", PAIRS)
    write(tmp_path / "inter/day=2/_temporary/0/part-1.parquet", {"user_id": ["x"], "item_id": ["c"]})
    (tmp_path / "inter/day=2/part-2.parquet").write_bytes(b"")
    for location in ("inter", "inter/**/*.parquet"):
        bucket.put(str(tmp_path / "inter"), "shop/parts", recursive=True)
        remote = settle(tmp_path, interactions=[f"s3://shop/parts{location.removeprefix('inter')}"])
        local = settle(tmp_path, interactions=[location])
        assert clean(remote).rows() == clean(local).rows() == sorted(zip(*PAIRS.values(), strict=True))
    bucket.put(str(tmp_path / "inter"), "shop/lake/inter", recursive=True)
    bucket.pipe_file("shop/lake/inter/_delta_log/00000000000000000000.json", b"{}")
    for location in ("s3://shop/lake/inter", "s3://shop/lake/inter/day=1", "s3://shop/lake/**/*.parquet"):
        with pytest.raises(InputError, match="shop/lake/inter is a table of Delta"):
            clean(settle(tmp_path, interactions=[location]))


def test_validate_amazon_files_in_an_object_store_are_those_on_disk(bucket, tmp_path):
    write_amazon_2014(tmp_path / "in", "Baby")
    for file in (tmp_path / "in").iterdir():
        bucket.put_file(str(file), f"shop/amazon/{file.name}")

    def report(root):
        image = {"encoder": "precomputed", "vectors": f"{root}/image_features_Baby.b"}
        catalogue = {
            "format": "amazon-2014",
            "items": f"{root}/meta_Baby.json.gz",
            "interactions": [f"{root}/reviews_*.json.gz"],
        }
        return check_catalogue(compose({"catalogue": catalogue, "modalities": {"image": image}}, base=tmp_path))

    assert report("s3://shop/amazon") == report(str(tmp_path / "in"))


def many_users(tmp_path, users, **rules):
    """Every user has items 0..9; the catalogue has ten."""
    pl.DataFrame({"item_id": [f"i{n}" for n in range(10)]}).write_parquet(tmp_path / "items.parquet")
    rows = [(user, f"i{n}") for user in users for n in range(10)]
    pl.DataFrame(rows, schema=["user_id", "item_id"], orient="row").write_parquet(tmp_path / "x.parquet")
    section = {"items": "items.parquet", "interactions": ["x.parquet"], "filter": rules}
    config = compose({"catalogue": section}, base=tmp_path)
    return clean_interactions(config.open_catalogue(), clean_items(config.open_catalogue()))


def test_max_user_interactions_keeps_so_many_and_the_same_ones_when_others_come(tmp_path):
    few = many_users(tmp_path, [f"u{n}" for n in range(30)], max_user_interactions=4)
    assert few.group_by("user_id").len()["len"].to_list() == [4] * 30
    assert few["item_id"].n_unique() == 10  # every user has a draw of its own
    more = many_users(tmp_path, [f"u{n}" for n in range(-5, 40)], max_user_interactions=4)
    assert more.join(few, on=["user_id", "item_id"], how="semi").height == few.height


def test_user_share_keeps_whole_users_and_the_same_ones_when_others_come(tmp_path):
    few = many_users(tmp_path, [f"u{n}" for n in range(200)], user_share=0.3)
    kept = set(few["user_id"])
    assert 35 <= len(kept) <= 85
    assert few.height == 10 * len(kept)
    more = many_users(tmp_path, [f"u{n}" for n in range(400)], user_share=0.3)
    assert kept == {user for user in more["user_id"] if int(user[1:]) < 200}
