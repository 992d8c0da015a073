"""The champion on the same interactions, as the report tells it."""

import dataclasses

import polars as pl
import pytest

from pipeline.columns import SPLIT, TEST, TRAIN
from pipeline.registry.judging.beside import beside_champion
from tests.pipeline.registry.judging.shop import NUM_USERS, Shop


@pytest.fixture(scope="module")
def contenders(tmp_path_factory):
    shop = Shop(tmp_path_factory.mktemp("shop"))
    return shop.candidate("new", 0.1), shop.candidate("old", 2.0, seed=2)


def trained_on(contender, part):
    interactions = contender.dataset.interactions
    moved = interactions.with_columns(pl.when(part).then(pl.lit(TRAIN)).otherwise(pl.col(SPLIT)).alias(SPLIT))
    return dataclasses.replace(contender, dataset=dataclasses.replace(contender.dataset, interactions=moved))


def test_beside_champion_difference_is_that_of_the_means_and_names_the_users(contenders):
    new, old = contenders
    told = beside_champion(new, old, 20_000)
    for name in ("hit@20", "recall@20", "ndcg@20"):
        gap = told.model[name].value - told.champion[name].value
        assert told.difference[name].value == pytest.approx(gap)
        assert told.model[name].users == told.champion[name].users == told.difference[name].users == NUM_USERS
    assert told.difference["recall@20"].interval[0] > 0
    assert told.interactions == len(new.dataset.pairs(TEST)[0])
    assert told.fair


def test_beside_champion_leaves_out_what_the_champion_was_trained_on(contenders):
    new, old = contenders
    half = pl.col("user_index") < NUM_USERS // 2
    told = beside_champion(new, trained_on(old, (pl.col(SPLIT) == TEST) & half), 20_000)
    assert told.model["hit@20"].users == NUM_USERS - NUM_USERS // 2
    assert beside_champion(new, trained_on(old, pl.col(SPLIT) == TEST), 20_000) is None


def test_beside_champion_whose_dataset_is_gone_is_said_to_be_favoured(contenders):
    new, old = contenders
    assert not beside_champion(new, dataclasses.replace(old, dataset=None), 20_000).fair
