"""What each layout makes of its files, beyond the small data sets of `test_configs`."""

import json
from datetime import UTC, datetime

import pytest

from pipeline.catalogue.cleaning import clean_interactions, clean_items
from pipeline.catalogue.contents import join_texts
from pipeline.catalogue.pin import take_pin
from pipeline.config.config import compose
from pipeline.errors import InputError
from tests.pipeline.catalogue.sources.files import write_lines


def settle(folder, layout, items, *interactions, **catalogue):
    document = {"format": layout, "items": items, "interactions": list(interactions), **catalogue}
    return compose({"catalogue": document}, base=folder)


def review(user, item, rating=5.0, seconds=1_300_000_000):
    return json.dumps({"reviewerID": user, "asin": item, "overall": rating, "unixReviewTime": seconds})


@pytest.fixture
def baby(tmp_path):
    """A 2014 catalogue of one item with everything, one bare, one nobody has reviewed; one reviewed is missing."""
    whole = (
        "{'asin': 'full', 'categories': [['Baby', 'Toys'], ['Baby', \"Men's\"]], 'title': None, 'brand': 'Ö', "
        "'description': \"A 'quoted'\\ntext\", 'imUrl': 'http://x/I/1._SY300_.jpg', 'new': True, "
        "'related': {'also_bought': ['bare']}}"
    )
    write_lines(tmp_path / "meta.json.gz", [whole, "{'asin': 'bare'}", "{'asin': 'unsold', 'title': 'T'}"])
    pairs = [("u", "full"), ("u", "bare"), ("v", "absent"), ("v", "full")]
    write_lines(tmp_path / "reviews.json.gz", [review(*pair) for pair in pairs])
    return tmp_path


def test_amazon_2014_items_are_those_of_the_reviews(baby):
    config = settle(baby, "amazon-2014", "meta.json.gz", "reviews.json.gz")
    items = clean_items(config.open_catalogue())
    assert items["item_id"].to_list() == ["absent", "bare", "full"]
    assert items.row(2, named=True) == {
        "item_id": "full",
        "title": None,
        "brand": "Ö",
        "categories": ["Baby", "Toys", "Men's"],
        "description": "A 'quoted'\ntext",
        "image_url": "http://x/I/1._SY300_.jpg",
        "image_path": "1._SY300_.jpg",
    }
    assert set(items.row(0)[1:]) == set(items.row(1)[1:]) == {None}
    interactions = clean_interactions(config.open_catalogue(), items)
    assert len(interactions) == 4
    assert interactions["timestamp"][0] == datetime.fromtimestamp(1_300_000_000, UTC)
    assert set(take_pin(config.open_catalogue()).digests) == {"meta.json.gz", "reviews.json.gz"}


@pytest.mark.parametrize(
    ("items_from", "kept"),
    [("catalogue", ["bare", "full", "unsold"]), ("both", ["absent", "bare", "full", "unsold"])],
)
def test_items_from_says_which_items_there_are(baby, items_from, kept):
    config = settle(baby, "amazon-2014", "meta.json.gz", "reviews.json.gz", items_from=items_from)
    assert clean_items(config.open_catalogue())["item_id"].to_list() == kept


def test_items_from_interactions_works_for_tables_and_before_the_filters(tmp_path):
    write_lines(tmp_path / "items.csv", ["item_id,title", "a,A", "b,B"])
    write_lines(tmp_path / "pairs.csv", ["user_id,item_id,rating", "u,b,1", "u,c,5"])
    config = settle(tmp_path, "tables", "items.csv", "pairs.csv", items_from="interactions", filter={"min_rating": 4.0})
    assert clean_items(config.open_catalogue()).rows() == [("b", "B"), ("c", None)]
    assert clean_interactions(config.open_catalogue(), clean_items(config.open_catalogue()))["item_id"].to_list() == [
        "c"
    ]


def test_amazon_2014_repeated_asin_is_one_item_unless_its_rows_differ(baby):
    config = settle(baby, "amazon-2014", "twice.json", "reviews.json.gz")
    write_lines(
        baby / "twice.json",
        ["{'asin': 'full', 'title': 'x'}"] * 2 + ["{'asin': 'unsold'}", "{'asin': 'unsold', 'title': 'T'}"],
    )
    assert len(clean_items(config.open_catalogue())) == 3
    write_lines(baby / "twice.json", ["{'asin': 'full', 'title': 'x'}", "{'asin': 'full', 'title': 'y'}"])
    with pytest.raises(InputError, match=r"twice\.json, column item_id: 1 ids have several rows .*'full'"):
        clean_items(config.open_catalogue())


def test_amazon_2014_files_in_each_others_place_are_named(baby):
    with pytest.raises(InputError, match=r"meta\.json\.gz, line 1: is not JSON"):
        clean_items(settle(baby, "amazon-2014", "meta.json.gz", "meta.json.gz").open_catalogue())


def test_catalogue_columns_rename_what_a_layout_gives(baby):
    columns = {"image_url": "picture", "nowhere": "x"}
    config = settle(baby, "amazon-2014", "meta.json.gz", "reviews.json.gz", columns=columns)
    assert "picture" in config.open_catalogue().scan_items().collect_schema().names()
    assert config.open_catalogue().unused_mappings() == ["nowhere"]


@pytest.fixture
def rattles(tmp_path):
    item = {
        "parent_asin": "P1",
        "title": "Rattle",
        "features": ["Soft", "Blue"],
        "description": ["One.", "Two."],
        "categories": ["Baby", "Toys"],
        "images": [{"large": "https://x/I/9.jpg", "variant": "MAIN"}],
        "store": "Shop",
        "details": {"a": {"b": 1}},
    }
    write_lines(tmp_path / "meta.jsonl.gz", [json.dumps(item), '{"parent_asin": "P2", "images": [], "features": []}'])
    return tmp_path


def test_amazon_2023_raw_reviews_and_metadata(rattles):
    raw = {"user_id": "U", "parent_asin": "P1", "asin": "variant", "rating": 4.0, "timestamp": 1_588_687_728_923}
    write_lines(rattles / "reviews.jsonl.gz", [json.dumps(raw), json.dumps(raw | {"parent_asin": "P2"})])
    config = settle(rattles, "amazon-2023", "meta.jsonl.gz", "reviews.jsonl.gz")
    items = clean_items(config.open_catalogue())
    assert items.row(0, named=True) == {
        "item_id": "P1",
        "title": "Rattle",
        "brand": "Shop",
        "features": "Soft Blue",
        "categories": ["Baby", "Toys"],
        "description": "One. Two.",
        "image_url": "https://x/I/9.jpg",
        "image_path": "9.jpg",
    }
    assert set(items.row(1)[1:]) == {None}
    moment = datetime(2020, 5, 5, 14, 8, 48, 923_000, UTC)
    assert clean_interactions(config.open_catalogue(), items).rows()[0] == ("U", "P1", moment, 4.0)
    assert join_texts(items, config.modalities["text"].columns)[0] == "Rattle Baby, Toys One. Two."


def test_amazon_2023_csv_without_a_part_in_its_name_has_no_split(rattles):
    write_lines(rattles / "Baby_Products.csv", ["user_id,parent_asin,rating,timestamp", "U,P1,4.0,1588687728923"])
    config = settle(rattles, "amazon-2023", "meta.jsonl.gz", "Baby_Products.csv")
    interactions = clean_interactions(config.open_catalogue(), clean_items(config.open_catalogue()))
    assert interactions.columns == ["user_id", "item_id", "timestamp", "rating"]
    assert interactions["timestamp"][0] == datetime(2020, 5, 5, 14, 8, 48, 923_000, UTC)


def test_amazon_2023_wrong_header_and_value_are_named(rattles):
    write_lines(rattles / "x.train.csv", ["user,parent_asin,rating,timestamp", "U,P1,4.0,1"])
    config = settle(rattles, "amazon-2023", "meta.jsonl.gz", "x.train.csv")
    with pytest.raises(InputError, match=r"x\.train\.csv, line 1: there is no column 'user_id', only user, parent"):
        clean_items(config.open_catalogue())
    write_lines(rattles / "y.train.csv", ["user_id,parent_asin,rating,timestamp", "U,P1,4.0,soon"])
    config = settle(rattles, "amazon-2023", "meta.jsonl.gz", "y.train.csv")
    with pytest.raises(InputError, match=r"y\.train\.csv: cannot be read: .*soon"):
        clean_interactions(config.open_catalogue(), clean_items(config.open_catalogue()))


@pytest.fixture
def indexed(tmp_path):
    write_lines(tmp_path / "i_id_mapping.csv", ["asin\titemID", "B1\t0", "B2\t10", "B3\t9"])
    write_lines(
        tmp_path / "x.inter", ["userID\titemID\trating\ttimestamp\tx_label", "0\t10\t5.0\t3\t0", "0\t9\t4.0\t1\t2"]
    )
    return tmp_path


def test_mmrec_ids_are_numbers_and_labels_are_the_split(indexed):
    config = settle(indexed, "mmrec", "i_id_mapping.csv", "x.inter")
    items = clean_items(config.open_catalogue())
    assert items.select("item_id", "asin").rows() == [(0, "B1"), (9, "B3"), (10, "B2")]
    assert clean_interactions(config.open_catalogue(), items).rows() == [
        (0, 9, 1, 4.0, "test"),
        (0, 10, 3, 5.0, "train"),
    ]


def test_mmrec_metadata_csv_serves_as_the_catalogue_and_gaps_are_filled(indexed):
    write_lines(indexed / "meta-x.csv", ["itemID,asin,title", '10,B2,"Cups, small"', "4,B9,Unused"])
    items = clean_items(settle(indexed, "mmrec", "meta-x.csv", "x.inter").open_catalogue())
    assert items.select("item_id", "title").rows() == [(4, "Unused"), (9, None), (10, "Cups, small")]


def test_mmrec_wrong_header_label_and_id_are_named(indexed):
    write_lines(indexed / "y.inter", ["user\titemID\tx_label", "0\t1\t0"])
    with pytest.raises(InputError, match=r"y\.inter, line 1: there is no column 'userID', only user, itemID"):
        clean_items(settle(indexed, "mmrec", "i_id_mapping.csv", "y.inter").open_catalogue())
    write_lines(indexed / "z.inter", ["userID\titemID\tx_label", "0\tB1\t0"])
    with pytest.raises(InputError, match=r"z\.inter: cannot be read: .*B1"):
        clean_items(settle(indexed, "mmrec", "i_id_mapping.csv", "z.inter").open_catalogue())
