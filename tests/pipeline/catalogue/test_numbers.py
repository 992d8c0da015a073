"""Numbers that float64 does not hold are refused, never read as infinite."""

import pytest

from pipeline.catalogue.cleaning import clean_interactions, clean_items
from pipeline.errors import InputError
from tests.pipeline.catalogue.cases import INTERACTIONS, ITEMS, checked, shop, write

PAIRS = list(zip(INTERACTIONS["user_id"], INTERACTIONS["item_id"], strict=True))


def csv(folder, name, spelled):
    rows = [f"{user},{item},{spelled if row == 3 else 4}" for row, (user, item) in enumerate(PAIRS)]
    (folder / "inter.csv").write_text("\n".join([f"user_id,item_id,{name}", *rows]))
    return shop(folder, interactions="inter.csv")


def jsonl(folder, name, spelled):
    rows = [
        f'{{"user_id": "{user}", "item_id": "{item}", "{name}": {spelled if row == 3 else 4}}}'
        for row, (user, item) in enumerate(PAIRS)
    ]
    (folder / "inter.jsonl").write_text("\n".join(rows))
    return shop(folder, interactions="inter.jsonl")


@pytest.mark.parametrize("spelled", ["1e999", "-1e999", "inf", "Infinity", "9" * 400])
@pytest.mark.parametrize("name", ["rating", "weight"])
def test_csv_number_that_float64_does_not_hold_is_refused_with_column_row_and_mend(tmp_path, name, spelled):
    user, item = PAIRS[3]
    told = rf"inter\.csv, column {name}: 1 .* such as -?inf of user '{user}' and item '{item}'; correct them"
    config = csv(tmp_path, name, spelled)
    with pytest.raises(InputError, match=told):
        checked(config)
    catalogue = config.open_catalogue()
    with pytest.raises(InputError, match=told):
        clean_interactions(catalogue, clean_items(catalogue))


@pytest.mark.parametrize("spelled", ["1e999", "-1e999"])
@pytest.mark.parametrize("name", ["rating", "weight", "timestamp"])
def test_jsonl_number_that_float64_does_not_hold_is_refused_with_file_and_column(tmp_path, name, spelled):
    with pytest.raises(InputError, match=rf"inter\.jsonl, column {name}: a number is too large for float64.*correct"):
        checked(jsonl(tmp_path, name, spelled))


@pytest.mark.parametrize("name", ["rating", "weight"])
def test_jsonl_whole_number_that_float64_does_not_hold_is_refused(tmp_path, name):
    with pytest.raises(InputError, match=rf"inter\.jsonl, column {name}: 1 .* such as inf of user"):
        checked(jsonl(tmp_path, name, "9" * 400))


@pytest.mark.parametrize("value", [float("inf"), -float("inf")])
def test_parquet_infinite_rating_is_refused(tmp_path, value):
    write(tmp_path / "inter.parquet", {**INTERACTIONS, "rating": [4.0, value] + [None] * 14})
    with pytest.raises(InputError, match=r"column rating: 1 ratings are infinite, such as -?inf of user"):
        checked(shop(tmp_path, interactions="inter.parquet"))


def test_largest_number_of_float64_and_nan_are_no_fault(tmp_path):
    write(tmp_path / "inter.parquet", {**INTERACTIONS, "rating": [1.7e308, float("nan")] + [1.0] * 14})
    assert checked(shop(tmp_path, interactions="inter.parquet"))["interactions"]["nulls"]["rating"] == 1


def test_infinite_timestamp_counts_as_none(tmp_path):
    write(tmp_path / "inter.parquet", {**INTERACTIONS, "timestamp": [float("inf")] + [1.5e9] * 15})
    assert checked(shop(tmp_path, interactions="inter.parquet"))["interactions"]["nulls"]["timestamp"] == 1


def test_content_of_jsonl_beyond_float64_is_refused_as_infinity_is(tmp_path):
    lines = [f'{{"item_id": "{item}", "title": 1e999}}' for item in ITEMS["item_id"]]
    (tmp_path / "items.jsonl").write_text("\n".join(lines))
    with pytest.raises(InputError, match=r"items\.jsonl, column title: a number is too large"):
        checked(shop(tmp_path, items="items.jsonl"))
