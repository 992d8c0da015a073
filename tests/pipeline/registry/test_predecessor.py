"""The champion that a run stands on: fixed once."""

import json

import pytest
from upath import UPath

from pipeline.errors import StoreError
from pipeline.registry.predecessor import PREDECESSOR, Predecessor, predecessor
from pipeline.storage.layout import Store


@pytest.fixture
def store(tmp_path):
    (tmp_path / "store").mkdir()
    return Store(UPath(str(tmp_path / "store")))


def crown(store, run_id):
    record = {"run_id": run_id, "digest": "ab", "model_name": "m", "model_version": "1", "previous": None}
    store.champion.write_text(json.dumps(record))


def test_predecessor_stays_whatever_the_champion_becomes(store):
    crown(store, "r1")
    assert predecessor(store.run("n"), store) == Predecessor(run_id="r1", digest="ab")
    crown(store, "r2")
    assert predecessor(store.run("n"), store) == Predecessor(run_id="r1", digest="ab")
    assert predecessor(store.run("m"), store) == Predecessor(run_id="r2", digest="ab")


def test_predecessor_none_stays_none(store):
    assert predecessor(store.run("n"), store) == Predecessor(run_id=None)
    crown(store, "r1")
    assert predecessor(store.run("n"), store) == Predecessor(run_id=None)


def test_predecessor_of_a_damaged_champion_says_why(store):
    store.champion.write_text("{")
    found = predecessor(store.run("n"), store)
    assert found.run_id is None
    assert "champion.json is damaged" in found.reason


def test_predecessor_that_is_damaged_itself_is_an_error(store):
    predecessor(store.run("n"), store)
    (store.run("n") / PREDECESSOR).write_text("{}")
    with pytest.raises(StoreError, match=r"predecessor\.json is damaged"):
        predecessor(store.run("n"), store)
