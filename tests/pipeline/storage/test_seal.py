"""A JSON document says when it is not what was written."""

import datetime
import json

import pytest
from upath import UPath

from pipeline.errors import DamagedError
from pipeline.storage.files import as_json, parse_json

DOCUMENT = {"recall@20": 0.1237, "counts": {"items": 41}, "names": ["ä", None], "by": {10: "ten", 9: "nine"}}
PATH = UPath("/store/result.json")


def test_seal_does_not_show_and_keys_may_be_numbers():
    moment = {**DOCUMENT, "at": datetime.date(2026, 11, 24)}
    read = {**DOCUMENT, "by": {"10": "ten", "9": "nine"}, "at": "2026-11-24"}
    assert parse_json(PATH, as_json(moment)) == read


def test_seal_any_changed_character_that_changes_the_document_is_seen():
    payload = as_json(DOCUMENT)
    whole, seen = parse_json(PATH, payload), 0
    for place in range(len(payload)):
        for bit in (1, 4):
            altered = bytearray(payload)
            altered[place] ^= bit
            try:
                found = parse_json(PATH, bytes(altered))
            except DamagedError:
                seen += 1
            else:  # white space, or the key of the seal itself
                assert {key: value for key, value in found.items() if key in whole} == whole
    assert seen > len(payload)


def test_seal_document_that_was_edited_is_damaged_unless_its_seal_is_removed():
    document = json.loads(as_json({"recall@20": 0.1}))
    document["recall@20"] = 1.0
    with pytest.raises(DamagedError, match=r"/store/result\.json is damaged: it does not fit its own seal"):
        parse_json(PATH, json.dumps(document).encode())
    del document["seal"]
    assert parse_json(PATH, json.dumps(document).encode()) == {"recall@20": 1.0}


def test_seal_of_what_is_no_object_is_none():
    assert json.loads(as_json([1, 2])) == parse_json(PATH, as_json([1, 2])) == [1, 2]
