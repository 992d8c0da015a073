"""MGCN against a dense float64 formulation that knows nothing of the model's code."""

import numpy as np
import pytest
import torch

import model.baselines.mgcn as mgcn
from model.baselines.mgcn import Mgcn
from model.baselines.own_loss import with_own_loss
from model.config import ModelConfig
from model.parallel import Columns
from model.ranking import make_ranking_loss
from model.training import Trainer
from tests import reference
from tests.model.baselines.test_freedom import BPR, lightgcn, one_sided, pairs_of
from tests.model.test_training import config, planted

SHAPE = ModelConfig(embedding_dim=8, neighbours=4)


def build(data, **own):
    return Mgcn(data, SHAPE, torch.Generator().manual_seed(3), **own)


def numbers(module, value):
    """A linear layer in float64."""
    bias = 0 if module.bias is None else module.bias.detach().double().numpy()
    return value @ module.weight.detach().double().numpy().T + bias


def sigmoid(value):
    return 1 / (1 + np.exp(-value))


def by_hand(data, model, training):
    user, item = (side.detach().double().numpy() for side in (model.user_embedding_UD, model.item_embedding_ID))
    users, items = lightgcn(data, pairs_of(data), user, item, SHAPE.backbone_layers)
    if not training:
        items[[index for index in range(data.num_items) if index not in set(data.item_T.tolist())]] = 0
    behaviour = np.concatenate([users, items])
    adjacency = np.zeros((len(behaviour),) * 2)
    for one, other in pairs_of(data):
        adjacency[one, data.num_users + other] = adjacency[data.num_users + other, one] = 1
    ratings = one_sided(adjacency)[: data.num_users, data.num_users :]
    views = []
    for place, name in enumerate(("image", "text")):
        features, present = data.features[name].double().numpy(), data.present[name].numpy()
        unit = features / np.linalg.norm(features, axis=1, keepdims=True) * present[:, None]
        purified = item * sigmoid(numbers(model.purifiers[place], numbers(model.projections[place], unit)))
        graph = reference.item_graph(data.features[name].double(), data.present[name], SHAPE.neighbours).numpy()
        convolved = graph @ purified
        views.append(np.concatenate([ratings @ convolved, convolved]))
    logits = np.stack([numbers(model.query, np.tanh(numbers(model.hidden, view)))[:, 0] for view in views])
    weights = np.exp(logits) / np.exp(logits).sum(0)
    common = sum(weight[:, None] * view for weight, view in zip(weights, views, strict=True))
    own = [
        sigmoid(numbers(preference, behaviour)) * (view - common)
        for preference, view in zip(model.preferences, views, strict=True)
    ]
    return behaviour, (common + sum(own)) / 3


@pytest.mark.parametrize("training", [True, False])
def test_mgcn_vectors_equal_dense_float64_formulation(training):
    data, _, _ = planted()
    model = build(data).train(training)
    vectors = model()
    behaviour, side = by_hand(data, model, training)
    np.testing.assert_allclose(vectors.side_ND.detach(), side, atol=1e-5)
    both = torch.cat([vectors.user_UD, vectors.item_ID]).detach()
    np.testing.assert_allclose(both, behaviour + side, atol=1e-5)
    some = torch.tensor([5, 2])
    torch.testing.assert_close(model(some).of_users(some), vectors.user_UD[some])


def contrast_by_loop(side, behaviour, nodes):
    losses = []
    for node in nodes:
        similar = [np.exp(reference.cosine(side[node], behaviour[other]) / 0.2) for other in nodes]
        losses.append(-np.log(similar[nodes.index(node)] / sum(similar)))
    return np.mean(losses)


def test_mgcn_own_loss_contrasts_the_views_of_the_batchs_users_and_items():
    data, _, _ = planted()
    model = build(data, contrast=0.3)
    loss, generator = make_ranking_loss(data, BPR), torch.Generator().manual_seed(0)
    batch = next(loss.batches(20, generator))
    vectors = model()
    behaviour, side = by_hand(data, model, training=True)
    users = batch.user_B.tolist()
    items = [data.num_users + item for item in sorted(set(batch.seen_P.tolist()))]
    expected = 0.3 * (contrast_by_loop(side, behaviour, users) + contrast_by_loop(side, behaviour, items))
    assert model.own_loss(vectors, batch, loss, generator).item() == pytest.approx(expected, abs=1e-4)


def test_mgcn_contrast_takes_no_more_than_its_bound(monkeypatch):
    data, _, _ = planted()
    model = build(data)
    loss, generator = make_ranking_loss(data, BPR), torch.Generator().manual_seed(0)
    batch = next(loss.batches(200, generator))
    monkeypatch.setattr(mgcn, "CONTRASTED", 1)  # one row alone has nothing to be told from
    assert model.own_loss(model(), batch, loss, generator).item() == pytest.approx(0, abs=1e-6)


def test_mgcn_without_contrast_adds_nothing():
    data, _, _ = planted()
    model = build(data, contrast=0.0)
    loss, generator = make_ranking_loss(data, BPR), torch.Generator().manual_seed(0)
    batch = next(loss.batches(50, generator))
    vectors = model()
    with_it, without = (one.terms(vectors, batch, generator)[0] for one in (with_own_loss(loss, model), loss))
    assert with_it.item() == without.item()


def test_mgcn_planted_families_are_recovered_by_the_common_trainer():
    data, held_out, _ = planted()
    trainer = Trainer(data, held_out, ModelConfig(embedding_dim=16), config(objective=BPR), Mgcn)
    trainer.ranking_loss = with_own_loss(trainer.ranking_loss, trainer.model)
    list(trainer.fit())
    assert trainer.best_metric > 0.7  # chance is 20 / 80


def test_mgcn_gradient_reaches_every_parameter():
    data, _, _ = planted()
    trainer = Trainer(data, None, SHAPE, config(objective=BPR), Mgcn)
    trainer.ranking_loss = with_own_loss(trainer.ranking_loss, trainer.model)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.train_epoch()
    moved = {name for name, value in trainer.model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == set(dict(trainer.model.named_parameters()))


def test_mgcn_several_processes_are_refused():
    data, _, _ = planted()
    with pytest.raises(ValueError, match="one process"):
        Mgcn(data, SHAPE, torch.Generator(), Columns(count=2))
