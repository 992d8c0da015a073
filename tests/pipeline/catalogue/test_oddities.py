"""Presence that is taken for content."""

import numpy as np
import pytest

from tests.pipeline.catalogue.cases import INTERACTIONS, ITEMS, checked, shop, warnings, write


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("words", [["nan", "NULL", "None"], ["N/A", "<NA>", "\\N"], [" NaN ", "undefined", "  "]])
def test_words_for_nothing_as_ids_are_named_with_their_rows(tmp_path, ending, words):
    users = [words[row % 3] if row % 4 == 0 else user for row, user in enumerate(INTERACTIONS["user_id"])]
    write(tmp_path / f"inter{ending}", {**INTERACTIONS, "user_id": users})
    report = checked(shop(tmp_path, interactions=f"inter{ending}"))
    assert report["interactions"]["words_for_nothing"] == {"user_id": {word: users.count(word) for word in words}}
    (line,) = [line for line in report["warnings"] if "user_id" in line]
    assert all(f"{word!r} in {users.count(word)} rows" in line for word in words)
    assert report["users"]["before"] == len(set(users))


@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
def test_words_for_nothing_as_item_ids_and_texts_are_named(tmp_path, ending):
    columns = {"item_id": ["nan", *ITEMS["item_id"][1:]], "title": ["x", "None", "none", "NULL", "y", "nantucket"]}
    write(tmp_path / f"items{ending}", columns)
    config = shop(tmp_path, items=f"items{ending}")
    assert checked(config)["items"]["words_for_nothing"] == {
        "item_id": {"nan": 1},
        "title": {"None": 1, "none": 1, "NULL": 1},
    }
    assert "items: column title holds" in warnings(config)


def test_numbers_as_ids_hold_no_words(tmp_path):
    write(tmp_path / "items.parquet", {"item_id": [1, 2], "title": ["x", "y"]})
    write(tmp_path / "inter.parquet", {"user_id": [1, 1], "item_id": [1, 2]})
    report = checked(shop(tmp_path, items="items.parquet", interactions="inter.parquet"))
    assert report["items"]["words_for_nothing"] == report["interactions"]["words_for_nothing"] == {}


@pytest.mark.parametrize("empty", [None, "", "  "])
@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_column_that_is_empty_throughout_is_named(tmp_path, ending, empty):
    write(tmp_path / f"items{ending}", {**ITEMS, "description": [empty] * 6})
    write(tmp_path / f"inter{ending}", {**INTERACTIONS, "weight": [None] * 16})
    text = {"text": {"encoder": "all-minilm-l6-v2", "columns": ["title", "description"]}}
    report = checked(shop(tmp_path, items=f"items{ending}", interactions=f"inter{ending}", modalities=text))
    assert report["items"]["values"] == {"title": 6, "description": 0}
    assert "items: column description has no value in any row; is it the right one?" in report["warnings"]
    assert "interactions: column weight has no value in any row; is it the right one?" in report["warnings"]


def test_key_that_no_record_has_is_named(tmp_path):
    lines = "".join(f'{{"asin": "{item}", "title": "t {item}", "category": ["x"]}}\n' for item in ITEMS["item_id"])
    (tmp_path / "meta.json").write_text(lines)
    reviews = zip(INTERACTIONS["user_id"], INTERACTIONS["item_id"], strict=True)
    (tmp_path / "reviews.json").write_text(
        "".join(
            f'{{"reviewerID": "{user}", "asin": "{item}", "overall": 5.0, "unixReviewTime": 1400000000}}\n'
            for user, item in reviews
        )
    )
    text = {"text": {"encoder": "all-minilm-l6-v2", "columns": ["title", "categories"]}}
    config = shop(tmp_path, "meta.json", "reviews.json", catalogue={"format": "amazon-2014"}, modalities=text)
    assert checked(config)["items"]["values"] == {"title": 6, "categories": 0}
    assert "column categories has no value in any row" in warnings(config)


def vectors(folder, matrix, ending):
    if ending == ".npy":
        np.save(folder / "v.npy", matrix)
        (folder / "ids.txt").write_text("\n".join(ITEMS["item_id"]))
        audio = {"vectors": "v.npy", "ids": "ids.txt"}
    else:
        write(folder / "v.parquet", {"item_id": ITEMS["item_id"], "vector": matrix.tolist()})
        audio = {"vectors": "v.parquet"}
    return shop(folder, modalities={"audio": {"encoder": "precomputed", **audio}})


@pytest.mark.parametrize("ending", [".npy", ".parquet"])
@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_zero_vectors_are_missing_and_counted(tmp_path, ending, zero):
    matrix = np.arange(12, dtype=np.float32).reshape(6, 2)
    matrix[0], matrix[4] = zero, zero
    config = vectors(tmp_path, matrix, ending)
    report = checked(config)["modalities"]["audio"]
    assert (report["usable"], report["missing"], report["zero"]) == (4, 2, 2)
    assert report["missing_items"] == ["A1", "A5"]
    assert "audio: 2 vectors are all zero; these items count as items without content" in warnings(config)


@pytest.mark.parametrize("ending", [".npy", ".parquet"])
def test_content_that_many_items_share_is_named(tmp_path, ending):
    matrix = np.arange(12, dtype=np.float32).reshape(6, 2)
    matrix[:3] = 7
    config = vectors(tmp_path, matrix, ending)
    assert checked(config)["modalities"]["audio"]["same"] == {"items": 3, "first": ["A1", "A2", "A3"]}
    assert "audio: 3 items have the very same content, such as 'A1', 'A2', 'A3'" in warnings(config)
    write(tmp_path / "items.csv", {**ITEMS, "title": ["no text"] * 4 + ["x", "y"]})
    assert "text: 4 items have the very same content" in warnings(shop(tmp_path, items="items.csv"))


def test_long_texts_are_counted_by_word_pieces(tmp_path):
    titles = ["word " * 254, "word " * 255, "ab" * 2000, "한" * 200, "short", ""]
    write(tmp_path / "items.csv", {**ITEMS, "title": titles})
    report = checked(shop(tmp_path, items="items.csv"))
    text = report["modalities"]["text"]
    assert (text["reads"], text["long_items"][0]) == (256, "A2")
    assert "A1" not in text["long_items"]
    assert text["long"] == len(text["long_items"])
    assert f"text: {text['long']} texts are longer than the 256 word pieces" in "\n".join(report["warnings"])
    assert text["examples"][:1] == [("word " * 254)[:100] + "…"]


def test_long_texts_that_are_averaged_deserve_no_warning(tmp_path):
    write(tmp_path / "items.csv", {**ITEMS, "title": [f"{row} " + "word " * 300 for row in range(6)]})
    text = {"encoder": "all-minilm-l6-v2", "columns": ["title"], "long_texts": "average"}
    report = checked(shop(tmp_path, items="items.csv", modalities={"text": text}))
    assert report["modalities"]["text"]["long"] == 6
    assert report["warnings"] == []


def test_limit_of_an_unknown_encoder_is_not_told(tmp_path):
    config = shop(tmp_path, modalities={"text": {"encoder": "sentence-transformers:some/name", "columns": ["title"]}})
    text = checked(config)["modalities"]["text"]
    assert (text["reads"], text["long"]) == (None, None)


def test_values_of_the_column_of_kinds_are_counted_too(tmp_path):
    items = write(tmp_path / "items.jsonl", {**ITEMS, "sort": ["a", "", None, "nan", "b", "b"]}).name
    report = checked(shop(tmp_path, items=items, evaluation={"kind": "sort"}))
    assert report["items"]["values"] == {"title": 6, "sort": 4}
    assert report["items"]["words_for_nothing"] == {"sort": {"nan": 1}}
