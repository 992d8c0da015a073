"""What finishing makes of a shop whose answer is known."""

import dataclasses

import pytest
import torch

from model.config import ModelConfig
from model.data import HeldOut
from model.evaluation import InnerProduct, Pairs, metrics_per_user, rank_items
from model.finishing.finish import MOST_FALL, WITHOUT_VALIDATION, _new_item_scale, finish
from model.finishing.joining import Joining
from model.finishing.taste import Taste
from model.finishing.validation import Outcome, ValidationSample
from tests.model.finishing.shop import shop

NAMES = ["noise", "text"]
CONFIG = ModelConfig(embedding_dim=8)


def finished(made, config=CONFIG, held_out="its own", names=NAMES, found_weights=None):
    held_out = made.held_out if held_out == "its own" else held_out
    return finish(made.user_UD, made.item_ID, made.data, held_out, config, names, found_weights)


def recall(made, user_UD, item_ID):
    size = made.data.num_users, made.data.num_items
    relevant = Pairs(made.held_out.user_P, made.held_out.item_P, *size)
    seen = Pairs(made.data.user_T, made.data.item_T, *size)
    ranking = rank_items(InnerProduct(user_UD, item_ID), torch.arange(size[0]), [seen], 20)
    return float(metrics_per_user(ranking, relevant, [20])["recall@20"].nanmean()), ranking


def test_finish_taste_that_decides_is_found_and_noise_is_not_taken_for_it():
    made = shop()
    done = finished(made)
    assert done.taste_weights["text"] > 0
    assert done.taste_weights["text"] > 2 * done.taste_weights["noise"]
    assert recall(made, done.user_UD, done.item_ID)[0] > 1.5 * recall(made, made.user_UD, made.item_ID)[0]
    assert done.item_ID.shape == (120, 8)


def test_finish_found_weights_are_taken_as_they_are():
    found = {"noise": 0.3, "text": 0.1}
    assert finished(shop(), found_weights=found).taste_weights == found
    assert finished(shop(), held_out=None, found_weights=found).taste_weights == found


def test_finish_content_that_tells_nothing_leaves_the_vectors():
    made = shop()
    best_UI = torch.zeros(300, 120)
    best_UI[made.held_out.user_P, made.held_out.item_P] = 1
    left, strength, right = torch.linalg.svd(best_UI)
    known = dataclasses.replace(made, user_UD=left[:, :120] * strength, item_ID=right.T[:, :120].contiguous())
    config = ModelConfig(embedding_dim=120, new_items="map")
    done = finished(known, config)
    assert done.taste_weights == {"noise": 0.0, "text": 0.0}
    assert torch.equal(done.item_ID, known.item_ID)
    assert torch.equal(done.user_UD, known.user_UD)


def test_finish_new_items_are_raised_and_warm_recall_hardly_falls():
    made = shop()
    plain, raised = finished(made, ModelConfig(embedding_dim=8, new_items="map")), finished(made)
    assert raised.new_item_scale >= 1
    trained_I = made.data.trained_items()
    torch.testing.assert_close(raised.item_ID[trained_I], plain.item_ID[trained_I])
    torch.testing.assert_close(raised.item_ID[~trained_I], plain.item_ID[~trained_I] * raised.new_item_scale)
    before, after = (recall(made, one.user_UD, one.item_ID)[0] for one in (plain, raised))
    assert after >= 0.994 * before


def test_finish_new_items_hidden_by_short_vectors_come_forward():
    made = shop()
    taste = Taste(made.data, ["text"])
    text_IK = taste.content["text"]
    (taste_UK,) = taste.of_users(torch.arange(300))
    short = dataclasses.replace(
        made, user_UD=taste_UK, item_ID=text_IK * torch.where(made.data.trained_items(), 1.0, 0.3)[:, None]
    )
    config = ModelConfig(embedding_dim=text_IK.shape[1], taste_weight=0.0)
    new_I = ~made.data.trained_items()
    shares = []
    for new_items in ("map", "raised"):
        done = finished(short, dataclasses.replace(config, new_items=new_items))
        _, ranking = recall(short, done.user_UD, done.item_ID)
        shares.append(float(new_I[ranking.item_QK].double().mean()))
    joining = Joining(short.user_UD, short.item_ID, made.data.trained_items(), Taste(made.data, NAMES))
    sample = ValidationSample(joining, made.data, made.held_out)
    by_content = sample.by_content(dict.fromkeys(NAMES, 0.0))
    assert shares[0] < shares[1] <= by_content.new_share
    assert done.new_item_scale > 1


def test_finish_where_new_items_alone_compete_their_places_are_limited_by_content():
    made = shop()
    trained_I = made.data.trained_items()
    new = (~trained_I).nonzero().squeeze(1)
    held_out = HeldOut(user_P=torch.arange(300), item_P=new[torch.arange(300) % len(new)], candidate_I=~trained_I)
    done = finished(made, held_out=held_out)
    _, ranking = recall(made, done.user_UD, done.item_ID)
    joining = Joining(made.user_UD, made.item_ID, trained_I, Taste(made.data, NAMES))
    by_content = ValidationSample(joining, made.data, held_out).by_content(done.taste_weights)
    assert float((~trained_I)[ranking.item_QK].double().mean()) <= by_content.new_share


@pytest.mark.parametrize("weight", [0.25, 0.0])
def test_finish_a_weight_that_is_given_is_taken(weight):
    done = finished(shop(), ModelConfig(embedding_dim=8, taste_weight=weight))
    assert done.taste_weights == {"noise": weight, "text": weight}


def test_finish_the_papers_model_is_left_alone():
    made = shop()
    done = finished(made, ModelConfig(embedding_dim=8, taste_weight=0.0, new_items="graphs"))
    assert torch.equal(done.item_ID, made.item_ID)
    assert done.cut is None
    assert finished(made, names=[]).cut is None


@pytest.mark.parametrize("held_out", [None, HeldOut(user_P=torch.zeros(0).long(), item_P=torch.zeros(0).long())])
def test_finish_without_validation_takes_a_fixed_weight_and_raises_nobody(held_out):
    done = finished(shop(), held_out=held_out)
    assert done.taste_weights == dict.fromkeys(NAMES, WITHOUT_VALIDATION)
    assert done.new_item_scale == 1


def test_finish_twice_is_the_same():
    first, second = finished(shop()), finished(shop())
    assert torch.equal(first.item_ID, second.item_ID)
    assert first.taste_weights == second.taste_weights


def test_validation_sample_metric_is_the_recall_of_all_users():
    made = shop()
    joining = Joining(made.user_UD, made.item_ID, made.data.trained_items(), Taste(made.data, NAMES))
    weights = {"noise": 0.1, "text": 0.8}
    cut = joining.cut(weights, 8)
    expected, _ = recall(made, joining.all_users(cut), joining.all_items(cut))
    assert ValidationSample(joining, made.data, made.held_out).metric(cut) == pytest.approx(expected)


def test_validation_sample_only_candidates_compete_for_what_is_held_out():
    made = shop()
    candidate_I = torch.zeros(120, dtype=torch.bool)
    candidate_I[made.held_out.item_P[:5]] = True
    held_out = dataclasses.replace(made.held_out, candidate_I=candidate_I)
    joining = Joining(made.user_UD, made.item_ID, made.data.trained_items(), Taste(made.data, NAMES))
    sample = ValidationSample(joining, made.data, held_out)
    assert sample.is_cold
    whole = ValidationSample(joining, made.data, made.held_out)
    cut = joining.cut({"noise": 0.0, "text": 1.0}, 8)
    assert sample.metric(cut) != whole.metric(cut)


class FakeSample:
    """New items take a tenth of the places times their scale; what the others lose is given."""

    def __init__(self, loss, is_cold=False):
        self.loss, self.is_cold = loss, is_cold

    def contest(self, cut):
        return self

    def outcome(self, scale):
        return Outcome(0.5 * (1 - self.loss * (scale - 1)), 0.1 * scale)

    def by_content(self, weights):
        return Outcome(0.25, 0.4)


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        (FakeSample(loss=0), 2),  # half as good as the model, so that half of 0.4 is deserved
        (FakeSample(loss=0.1), 1 + MOST_FALL / 0.1),
        (FakeSample(loss=0.1, is_cold=True), 2),
    ],
)
def test_new_item_scale_is_the_largest_that_is_deserved_and_affordable(sample, expected):
    assert _new_item_scale(sample, None, {}) == pytest.approx(expected, rel=0.01)
