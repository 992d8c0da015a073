import copy
import dataclasses

import pytest

from model import adaptation
from model.adaptation import CHECKS, STEPS, Adaptation, adaptation_of
from model.config import STARTING_WEIGHTS, ModelConfig, ObjectiveConfig, Weights
from model.micro import Micro
from model.training import Trainer
from tests.model.test_training import config, losses, planted

START = Weights(l2=2.0, content_weight=0.5, contrastive_weight=0.01)
UP = STEPS["l2"]
SHAPE = ModelConfig(embedding_dim=8)


def tried(gains, names=("l2", "content_weight")):
    """L2 and content's weight of every change, where those of `gains` gain."""
    adapted, values, epoch = Adaptation(START, list(names)), [], 10
    while adapted.goes_on(epoch):
        weights = adapted.change(epoch)
        values.append((round(weights.l2, 4), round(weights.content_weight, 4)))
        if len(values) - 1 in gains:
            adapted.gain()
    return values, adapted.best


def test_adaptation_without_gain_tries_each_weight_both_ways_and_keeps_what_it_began_with():
    values, best = tried(gains=())
    assert values == [(2.8, 0.5), (round(2 / UP, 4), 0.5), (2.0, 1.0), (2.0, 0.25)]
    assert best == START


def test_adaptation_change_that_gains_is_made_again_and_its_opposite_left_out():
    values, best = tried(gains=(0, 1))
    assert values == [(2.8, 0.5), (3.92, 0.5), (5.488, 0.5), (3.92, 1.0), (3.92, 0.25)]
    assert best.l2 == pytest.approx(2.0 * UP * UP)


def test_adaptation_downwards_begins_where_upwards_failed():
    values, best = tried(gains=(1,))
    assert [l2 for l2, _ in values] == [2.8, round(2 / UP, 4), round(2 / UP**2, 4), *[round(2 / UP, 4)] * 2]
    assert best.l2 == pytest.approx(2 / UP)


def test_adaptation_takes_no_longer_than_the_training_before_it():
    adapted = Adaptation(START, ["l2", "content_weight"])
    adapted.change(10)
    assert adapted.goes_on(19)
    assert not adapted.goes_on(20)


def test_adaptation_first_gain_must_exceed_luck():
    adapted = Adaptation(START, ["l2"])
    assert adapted.needed(0.2, 400) == 0.2
    adapted.change(10)
    assert adapted.needed(0.2, 400) == pytest.approx(0.2 + 0.5 * (0.2 * 0.8 / 400) ** 0.5)
    adapted.gain()
    assert adapted.needed(0.21, 400) == 0.21


def test_adaptation_of_changes_nothing_that_is_given_found_or_cannot_be_measured():
    given = ModelConfig(content_weight=0.7)

    def first(found=None, model=given, can_adapt=True, has_content=True):
        adapted = adaptation_of(model, ObjectiveConfig(), found or {}, can_adapt=can_adapt, has_content=has_content)
        names = set()
        while adapted.goes_on(1):
            weights = adapted.change(1)
            names |= {name for name in STEPS if getattr(weights, name) != getattr(adapted.best, name)}
        return adapted.best, names

    start = dataclasses.replace(STARTING_WEIGHTS["squares"], content_weight=0.7)
    assert first() == (start, {"l2", "contrastive_weight"})
    assert first(has_content=False) == (start, {"l2"})
    assert first(can_adapt=False) == (start, set())
    best, names = first({"l2": 9.0, "content_weight": 3.0})
    assert (best.l2, best.content_weight, names) == (9.0, 0.7, {"contrastive_weight"})


@pytest.fixture
def far_off(monkeypatch):
    """Training begins with far too much L2."""
    monkeypatch.setitem(STARTING_WEIGHTS, "squares", dataclasses.replace(STARTING_WEIGHTS["squares"], l2=30.0))
    monkeypatch.setitem(adaptation.STEPS, "l2", 4.0)


def settings(**changes):
    return dataclasses.replace(config(patience=3, check_every=1), max_epochs=200, **changes)


def test_trainer_finds_the_l2_that_its_data_needs(far_off):
    data, held_out, _ = planted()
    fixed = Trainer(data, held_out, SHAPE, settings(objective=ObjectiveConfig(l2=30.0)), Micro)
    free = Trainer(data, held_out, SHAPE, settings(), Micro)
    losses(fixed)
    reports = list(free.fit())
    assert free.adaptation.best.l2 < 10
    assert free.best_metric > fixed.best_metric + 0.1
    assert len(reports) <= 2 * free.adaptation.first_epoch + CHECKS


def test_trainer_resumed_while_it_adapts_equals_uninterrupted(far_off):
    data, held_out, _ = planted()
    whole = Trainer(data, held_out, SHAPE, settings(), Micro)
    reports, states = zip(*((report, copy.deepcopy(whole.state())) for report in whole.fit()), strict=True)
    cut = whole.adaptation.first_epoch + CHECKS - 1
    assert cut < len(reports) - 1
    resumed = Trainer(data, held_out, SHAPE, settings(), Micro)
    resumed.load_state(states[cut - 1])
    assert losses(resumed) == [report.loss for report in reports[cut:]]
    assert resumed.adaptation.best == whole.adaptation.best
    assert (resumed.best_vectors().item_ID == whole.best_vectors().item_ID).all()


def test_trainer_best_vectors_are_those_of_the_best_weights(monkeypatch):
    monkeypatch.setitem(adaptation.STEPS, "content_weight", 50.0)
    data, held_out, _ = planted()
    trainer = Trainer(data, held_out, SHAPE, settings(objective=ObjectiveConfig(l2=0.5, contrastive_weight=0)), Micro)
    losses(trainer)
    assert trainer.adaptation.weights.content_weight != trainer.adaptation.best.content_weight
    trainer.best_vectors()
    assert trainer.check()["recall@20"] == trainer.best_metric


def test_trainer_with_found_weights_begins_with_them_and_stops_when_patience_does():
    data, held_out, _ = planted()
    found = {"l2": 0.5, "content_weight": 0.3, "contrastive_weight": 0.02}
    trainer = Trainer(data, held_out, SHAPE, settings(), Micro, found_weights=found)
    numbers = ObjectiveConfig(l2=0.5, contrastive_weight=0.02)
    given = Trainer(data, held_out, dataclasses.replace(SHAPE, content_weight=0.3), settings(objective=numbers), Micro)
    assert losses(trainer) == losses(given)
    assert trainer.adaptation.best == Weights(**found)
