"""Shoppers with their lists, on a tiny run's real stages."""

import dataclasses

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file

from pipeline import stages
from pipeline.dataset.dataset import load_dataset
from pipeline.opening import open_run
from pipeline.release.rotations import Rotations
from pipeline.stages.checkpoint import VECTORS
from pipeline.stages.order import do_stage
from pipeline.stages.shown.lists import HISTORY, PLACES, shoppers_and_parts
from pipeline.storage.files import local_path
from tests.pipeline.release_factory import quiet
from tests.pipeline.tiny import make_tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    model = {"embedding_dim": 8, "neighbours": 4, "taste_weight": 0.7, "content_weight": 0.5}
    this = open_run(make_tiny(tmp_path_factory.mktemp("tiny"), model=model), "r1", quiet())
    for stage in (stages.PREPARE, stages.TRAIN):
        do_stage(this, stage)
    return this


def test_shoppers_and_parts_lists_are_by_score_without_the_history(run):
    dataset = load_dataset(run.folder(stages.PREPARE))
    vectors = load_file(local_path(run.folder(stages.TRAIN) / VECTORS))
    shoppers, shares, lists = shoppers_and_parts(run, dataset, vectors, Rotations({}))
    ids, users = dataset.items["item_id"].to_list(), dataset.users["user_id"].to_list()
    assert lists == len(users)
    assert sum(shares.values()) == pytest.approx(1)
    assert len({one.id for one in shoppers}) == len(shoppers) == 4
    for one in shoppers:
        score_I = vectors["item_ID"] @ vectors["user_UD"][users.index(one.id)]
        own = {part: {ids[row] for row in items_of(dataset, part, users.index(one.id))} for part in ("train", "test")}
        shown = [suggestion.id for suggestion in one.suggestions]
        assert own["train"].isdisjoint(shown)
        scores = [score_I[ids.index(item)] for item in shown]
        assert scores == sorted(scores, reverse=True)
        assert [sum(suggestion.parts.values()) for suggestion in one.suggestions] == pytest.approx(scores, abs=1e-5)
        assert {suggestion.id for suggestion in one.suggestions if suggestion.taken} == own["test"] & set(shown)
        assert len(shown) <= PLACES
        assert own["train"] <= set(one.history)
        assert one.count == len(one.history) <= HISTORY


def test_shoppers_and_parts_without_held_out_interactions_shows_nobody(run):
    dataset = load_dataset(run.folder(stages.PREPARE))
    training = dataset.interactions.filter(pl.col("split") == "train")
    dataset = dataclasses.replace(dataset, interactions=training)
    assert shoppers_and_parts(run, dataset, {}, Rotations({})) == ([], {}, 0)


def items_of(dataset, part, user):
    user_P, item_P = (indices.numpy() for indices in dataset.pairs(part))
    return item_P[np.equal(user_P, user)]
