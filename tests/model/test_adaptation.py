import copy
import dataclasses

import pytest

from model import adaptation
from model.adaptation import CHANGES, CHECKS, LAST_CHECKS, STRONG, Adaptation, adaptation_of
from model.config import STARTING_WEIGHTS, ModelConfig, ObjectiveConfig, Weights
from model.divergence import DivergedError
from model.micro import Micro
from model.training import Trainer
from tests.model.test_training import config, losses, planted

START = Weights(l2=2.0, content_weight=0.5, contrastive_weight=0.01)
SHAPE = ModelConfig(embedding_dim=8)


def tried(gains, names=("l2", "content_weight")):
    """L2 and content's weight of every change, where those of `gains` gain; and the best weights."""
    adapted, values = Adaptation(START, list(names)), []
    while adapted.goes_on:
        weights = adapted.change(10)
        values.append((round(weights.l2, 3), round(weights.content_weight, 3)))
        if len(values) - 1 in gains:
            adapted.gain()
    return values, adapted.best


def test_adaptation_without_gain_tries_each_weight_both_ways_and_keeps_what_it_began_with():
    values, best = tried(gains=())
    l2 = [1.429, 2.8, 0.5, 8.0, 1.695, 2.36, 2.0, 2.0, 2.0]
    assert values == list(zip(l2, [0.5] * 6 + [1.0, 0.25, 0.5], strict=True))
    assert best == START


def test_adaptation_change_that_gains_is_made_again_and_its_opposite_left_out():
    values, best = tried(gains=(0, 1))
    assert [l2 for l2, _ in values[:4]] == [1.429, 1.02, 0.729, 0.255]
    assert best.l2 == pytest.approx(2.0 / 1.4**2)


def test_adaptation_opposite_that_gains_is_made_again():
    values, best = tried(gains=(1,))
    assert [l2 for l2, _ in values[:4]] == [1.429, 2.8, 3.92, 0.7]
    assert best.l2 == pytest.approx(2.8)


def test_adaptation_first_gain_must_exceed_luck():
    adapted = Adaptation(START, ["l2"])
    assert adapted.needed(0.2, 400) == 0.2
    adapted.change(10)
    assert adapted.needed(0.2, 400) == pytest.approx(0.2 + 0.25 * (0.2 * 0.8 / 400) ** 0.5)
    adapted.gain()
    assert adapted.needed(0.21, 400) == 0.21


def test_adaptation_waits_as_configured_only_where_nothing_is_to_be_found():
    assert Adaptation(START, []).patience(8) == 8
    adapted = Adaptation(START, ["l2"])
    assert adapted.patience(8) == CHECKS
    adapted.change(10)
    assert adapted.patience(8) == CHECKS
    while adapted.goes_on:
        adapted.change(10)
    assert adapted.patience(8) == LAST_CHECKS  # the weights as they are


def test_adaptation_of_changes_nothing_that_is_given_found_or_cannot_be_measured():
    given, usual = ModelConfig(content_weight=0.7), STARTING_WEIGHTS["squares"]

    def begun(found=None, *, can_adapt=True, has_content=True, searches_on=False):
        """L2 and content's weight that it begins with, and the names of what is changed."""
        found, objective = found or {}, ObjectiveConfig()
        adapted = adaptation_of(
            given, objective, found, searches_on=searches_on, can_adapt=can_adapt, has_content=has_content
        )
        best, names = adapted.best, set()
        while adapted.goes_on:
            weights = adapted.change(1)
            names |= {name for name, _ in CHANGES if getattr(weights, name) != getattr(best, name)}
        return best.l2, best.content_weight, names

    assert begun() == (STRONG * usual.l2, 0.7, {"l2", "contrastive_weight"})
    assert begun(has_content=False) == (STRONG * usual.l2, 0.7, {"l2"})
    assert begun(can_adapt=False) == (usual.l2, 0.7, set())
    assert begun({"l2": 9.0, "content_weight": 3.0}) == (9.0, 0.7, {"contrastive_weight"})
    assert begun({"l2": 9.0}, searches_on=True) == (9.0, 0.7, {"l2", "contrastive_weight"})


def test_adaptation_of_any_weight_ends_as_they_are():
    adapted = Adaptation(START, ["content_weight"])
    values = []
    while adapted.goes_on:
        values.append(adapted.change(10).content_weight)
    assert values == [1.0, 0.25, 0.5]
    assert adapted.patience(8) == LAST_CHECKS


@pytest.fixture
def far_off(monkeypatch):
    """Training begins with far too much L2."""
    monkeypatch.setattr(adaptation, "STRONG", 10.0)


def settings(**changes):
    return dataclasses.replace(config(patience=3, check_every=1), max_epochs=200, **changes)


def test_trainer_finds_the_l2_that_its_data_needs(far_off):
    data, held_out, _ = planted()
    fixed = Trainer(data, held_out, SHAPE, settings(objective=ObjectiveConfig(l2=23.0)), Micro)
    free = Trainer(data, held_out, SHAPE, settings(), Micro)
    losses(fixed)
    losses(free)
    assert free.adaptation.best.l2 < 10
    assert free.best_metric > fixed.best_metric + 0.1


def test_trainer_resumed_while_it_adapts_equals_uninterrupted(far_off):
    data, held_out, _ = planted()
    whole = Trainer(data, held_out, SHAPE, settings(), Micro)
    reports, states, cut = [], [], None
    for report in whole.fit():
        reports.append(report)
        states.append(copy.deepcopy(whole.state()))
        if whole.adaptation.under_way and cut is None and report.epoch > whole.adaptation.began:
            cut = len(reports)  # within the first change
    resumed = Trainer(data, held_out, SHAPE, settings(), Micro)
    resumed.load_state(states[cut - 1])
    assert losses(resumed) == [report.loss for report in reports[cut:]]
    assert resumed.adaptation.best == whole.adaptation.best
    assert (resumed.best_vectors().item_ID == whole.best_vectors().item_ID).all()


def test_trainer_going_back_begins_each_change_at_the_best_state():
    data, held_out, _ = planted()
    trainer, begun = Trainer(data, held_out, SHAPE, settings(), Micro), []
    first_steps = trainer.train_epoch

    def noted():
        if trainer.epoch == trainer.adaptation.began and trainer.adaptation.under_way:
            begun.append((trainer.model.item_embedding_ID.detach().clone(), trainer._best["item_embedding_ID"].clone()))
        return first_steps()

    trainer.train_epoch = noted
    losses(trainer)
    assert len(begun) > 3
    assert all((begins_ID == best_ID).all() for begins_ID, best_ID in begun)


def test_trainer_change_that_diverges_is_taken_back_and_the_night_goes_on(monkeypatch):
    data, held_out, _ = planted()
    trainer, steps = Trainer(data, held_out, SHAPE, settings(), Micro), 0
    whole = trainer.train_epoch

    def broken():
        nonlocal steps
        if trainer.adaptation.under_way and trainer.adaptation.weights.content_weight != 0.4:
            steps += 1
            raise DivergedError("the loss became nan")
        return whole()

    monkeypatch.setattr(trainer, "train_epoch", broken)
    losses(trainer)
    assert steps == 2  # both ways
    assert trainer.adaptation.best.content_weight == 0.4
    assert trainer.found_its_weights
    trainer.best_vectors()
    assert trainer.check()["recall@20"] == trainer.best_metric


def test_trainer_that_diverges_before_it_adapts_says_so(monkeypatch):
    data, held_out, _ = planted()
    trainer = Trainer(data, held_out, SHAPE, settings(), Micro)

    def broken():
        raise DivergedError("the loss became nan")

    monkeypatch.setattr(trainer, "train_epoch", broken)
    with pytest.raises(DivergedError):
        losses(trainer)


def test_trainer_best_vectors_are_those_of_the_best_weights(monkeypatch):
    monkeypatch.setattr(adaptation, "AS_THEY_ARE", ("content_weight", 50.0, False))
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
