"""Weights of interactions in the ranking losses, against gradients taken one interaction at a time."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from model.config import ModelConfig, ObjectiveConfig, TrainConfig
from model.micro import Micro
from model.ranking import make_ranking_loss
from model.training import Trainer
from tests.model.ranking.test_softmax import interactions, vectors


def gradient(name, data):
    """Of the loss of one batch with all interactions by the items' vectors; and the batch."""
    found = vectors(2)
    item_ID = found.item_ID.requires_grad_()
    loss, generator = make_ranking_loss(data, ObjectiveConfig(ranking=name)), torch.Generator().manual_seed(0)
    (batch,) = loss.batches(len(data.user_T), generator)
    loss.terms(found, batch, generator)[0].backward()
    return item_ID.grad, batch


def gradient_of_one(name, data, batch, position):
    """Of one interaction's own loss, by the formula; its user and item."""
    found = vectors(2)
    item_ID = found.item_ID.requires_grad_()
    if name == "bpr":
        user, item, unseen = batch.user_B[batch.row_P[position]], batch.seen_P[position], batch.unseen_P[position]
        loss = -F.logsigmoid(found.user_UD[user] @ (item_ID[item] - item_ID[unseen]))
    elif name == "squares":
        user, item = batch.user_B[batch.row_P[position]], batch.item_P[position]
        loss = (1 - found.user_UD[user] @ item_ID[item]) ** 2
    else:
        user, item = batch.user_B[batch.row_P[position]], batch.item_P[position]
        score_I = item_ID @ found.user_UD[user]
        loss = score_I[torch.unique(data.item_T)].logsumexp(0) - score_I[item]
    loss.backward()
    return item_ID.grad, user, item


@pytest.mark.parametrize("name", ["bpr", "softmax", "squares"])
def test_terms_interaction_of_weight_two_has_its_gradient_twice(name):
    data = interactions(5)
    plain, batch = gradient(name, data)
    for position in (0, 7):
        of_one, user, item = gradient_of_one(name, data, batch, position)
        weight_T = torch.ones(len(data.user_T), dtype=torch.float64)
        weight_T[(data.user_T == user) & (data.item_T == item)] = 2
        weighted, _ = gradient(name, dataclasses.replace(data, weight_T=weight_T))
        torch.testing.assert_close(weighted - plain, of_one / len(data.user_T))


@pytest.mark.parametrize("name", ["bpr", "softmax", "squares"])
def test_training_without_weights_is_training_with_ones(name):
    data = interactions(5)
    settings = TrainConfig(max_epochs=3, batch_size=16, device="cpu", objective=ObjectiveConfig(ranking=name))
    outcomes = []
    for weight_T in (None, torch.ones(len(data.user_T)), 1 + torch.arange(len(data.user_T)) % 2):
        trainer = Trainer(
            dataclasses.replace(data, weight_T=weight_T), None, ModelConfig(embedding_dim=8), settings, Micro
        )
        outcomes.append([report.loss for report in trainer.fit()])
    assert outcomes[0] == outcomes[1] != outcomes[2]
