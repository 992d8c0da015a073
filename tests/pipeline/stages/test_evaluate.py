"""What is measured of a model, on a shop with a known answer: content tells who buys what, vectors hide new items."""

import dataclasses
import json

import numpy as np
import polars as pl
import pytest
import torch

import pipeline.dataset.similar
from model.evaluation import InnerProduct
from pipeline import stages
from pipeline.columns import ITEM_ID, KIND, USER_ID
from pipeline.dataset.dataset import Dataset, load_dataset
from pipeline.dataset.protocol import EvaluationProtocol
from pipeline.dataset.records import Evaluation
from pipeline.dataset.split import SplitConfig
from pipeline.documents import as_document, as_record, flatten
from pipeline.errors import InputError
from pipeline.opening import open_run
from pipeline.stages.evaluate import measure_all
from pipeline.stages.order import do_stage, do_stages
from pipeline.stages.prepare import read_items
from tests.pipeline.release_factory import quiet
from tests.pipeline.tiny import make_tiny

KINDS, OF_EACH, NEW = 3, 12, 2
NUM_ITEMS, NUM_USERS = KINDS * OF_EACH, 30


@pytest.fixture
def shop():
    """Items 0, 3, 6 … are of kind 0 and so on; the last two of each kind are new, and every user takes one of them."""
    item_I = np.arange(NUM_ITEMS)
    warm, new = item_I < NUM_ITEMS - NEW * KINDS, item_I >= NUM_ITEMS - NEW * KINDS
    rng, rows = np.random.default_rng(0), []
    for user in range(NUM_USERS):
        kind = user % KINDS
        own = rng.permutation(np.flatnonzero(warm & (item_I % KINDS == kind)))
        rows += [(user, int(item), "train") for item in own[:5]] + [(user, int(own[5]), "test")]
        rows += [(user, int(rng.choice(np.flatnonzero(new & (item_I % KINDS == kind)))), "test")]
    text = (np.eye(KINDS)[item_I % KINDS] + 0.1 * rng.normal(size=(NUM_ITEMS, KINDS))).astype(np.float32)
    return Dataset(
        items=pl.DataFrame({ITEM_ID: [f"i{n:02}" for n in item_I], KIND: [f"kind {n % KINDS}" for n in item_I]}),
        users=pl.DataFrame({USER_ID: [f"u{n:02}" for n in range(NUM_USERS)]}),
        interactions=pl.DataFrame(rows, schema=["user_index", "item_index", "split"], orient="row"),
        features={"text": text},
        present={"text": np.ones(NUM_ITEMS, dtype=bool)},
    )


def blind_to_new_items(dataset):
    """Vectors that know the kinds, with those of new items a tenth as long."""
    kind = torch.eye(KINDS)
    item_ID = kind[torch.arange(NUM_ITEMS) % KINDS] + 0.5
    item_ID[-NEW * KINDS :] *= 0.1
    return InnerProduct(kind[torch.arange(NUM_USERS) % KINDS], item_ID)


def measured(dataset):
    return measure_all(dataset, EvaluationProtocol(dataset, SplitConfig()), blind_to_new_items(dataset))


def test_measure_all_short_vectors_of_new_items_are_seen_in_the_open_contest_alone(shop):
    metrics = measured(shop)
    text = metrics.yardsticks["text"]
    assert metrics.cold["recall@10"] == 1.0
    assert metrics.cold_open["recall@20"] == 0.0
    assert text.cold_open["recall@20"] == 1.0
    assert metrics.new_items["slot_share@20"] == 0.0
    assert metrics.new_items["catalogue_share"] == pytest.approx(NEW / OF_EACH)
    assert text.new_items["slot_share@20"] > 2 / 20 - 1e-9  # both of the user's kind stand in every list
    assert metrics.warm["recall@10"] == metrics.warm_alone["recall@10"] == 1.0


def test_measure_all_neighbours_are_by_direction_whatever_the_length(shop):
    metrics = measured(shop)
    assert metrics.similar_items["same_kind@10"] == 1.0
    assert metrics.similar_items["pairs"] == NUM_USERS * 5  # of the two test interactions one is with a warm item
    assert metrics.yardsticks["text"].similar_items["same_kind@10"] > 0.95
    assert metrics.yardsticks["text"].similar_items["pairs"] == NUM_USERS * 5


def test_measure_all_large_catalogue_takes_some_users_and_anchors(shop, monkeypatch):
    monkeypatch.setattr(pipeline.dataset.similar, "WORK", 7 * NUM_ITEMS * KINDS)
    metrics = measured(shop)
    assert metrics.test["users"] == NUM_USERS
    assert metrics.yardsticks["text"].test["users"] == 7
    assert metrics.similar_items["items"] == metrics.yardsticks["text"].similar_items["items"] == 7
    assert metrics.similar_items["pairs"] == metrics.yardsticks["text"].similar_items["pairs"] < NUM_USERS * 5


def test_measure_all_without_content_has_no_yardsticks(shop):
    metrics = measured(dataclasses.replace(shop, features={}, present={}))
    assert metrics.yardsticks == {}
    assert metrics.new_items["slot_share@20"] == 0.0


def test_evaluate_writes_what_it_found_kinds_included(tmp_path):
    config = make_tiny(tmp_path, evaluation={"kind": "colour"})
    items = pl.read_parquet(tmp_path / "items.parquet")
    items.with_columns(pl.Series("colour", ["red", "blue"] * 7)).write_parquet(tmp_path / "items.parquet")
    run = open_run(config, "one", quiet())
    do_stages(run, upto=stages.EVALUATE)
    metrics = run.require(stages.EVALUATE).metrics
    assert load_dataset(run.folder(stages.PREPARE)).items[KIND].to_list() == ["red", "blue"] * 7
    assert 0 < metrics.similar_items["same_kind@10"] < 1
    assert metrics.new_items["items"] >= 2
    written = json.loads((run.folder(stages.EVALUATE) / "metrics.json").read_text())
    assert as_record(Evaluation, written, "here") == metrics
    assert {"yardsticks.text.new_items.slot_share@20", "similar_items.same_kind@10"} <= flatten(written).keys()


def test_evaluate_of_an_earlier_version_is_still_read(tmp_path):
    earlier = {"test": {"recall@20": 0.1}, "slices": {"cold items": {"recall@20": 0.2}}}
    assert as_document(as_record(Evaluation, earlier, "here"))["yardsticks"] == {}


def test_validate_unknown_column_of_kinds_is_refused_before_anything_is_computed(tmp_path):
    config = make_tiny(tmp_path, evaluation={"kind": "titel"})
    with pytest.raises(InputError, match=r"there is no column 'titel', which evaluation.kind names; .*'title'"):
        do_stage(open_run(config, "one", quiet()), stages.VALIDATE)
    with pytest.raises(InputError, match="'titel'"):
        read_items(config.open_catalogue(), config.evaluation)
