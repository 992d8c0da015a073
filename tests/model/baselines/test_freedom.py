"""FREEDOM against a dense float64 formulation that knows nothing of the model's code."""

import dataclasses

import numpy as np
import pytest
import torch

from model.baselines.freedom import Freedom, keep_by_degree
from model.baselines.own_loss import with_own_loss
from model.config import ModelConfig, ObjectiveConfig
from model.parallel import Columns
from model.ranking import make_ranking_loss
from model.training import Trainer
from tests.model.test_training import config, planted

BPR = ObjectiveConfig(ranking="bpr", l2=1e-3, l2_exponent=1.0, contrastive_weight=0.0)
SHAPE = ModelConfig(embedding_dim=8, neighbours=4)
SHARES = {"image": 0.25, "text": 0.75}


def build(data, shape=SHAPE, **own):
    return Freedom(data, shape, torch.Generator().manual_seed(3), **own)


def one_sided(matrix):
    """D^-1/2 M D^-1/2 with the row sums, 0 where they are."""
    degree = matrix.sum(1)
    scale = np.where(degree > 0, 1 / np.sqrt(np.where(degree > 0, degree, 1)), 0)
    return scale[:, None] * matrix * scale


def item_graph(data, num_neighbours):
    """Ones at the items of largest cosine, itself among them, each modality normalised, then weighed."""
    total = np.zeros((data.num_items, data.num_items))
    for name, share in SHARES.items():
        features, present = data.features[name].double().numpy(), data.present[name].numpy()
        unit = features / np.linalg.norm(features, axis=1, keepdims=True)
        cosine = np.where(present[:, None] & present, unit @ unit.T, -np.inf)
        nearest = np.zeros_like(total)
        for item in np.flatnonzero(present):
            best = np.argsort(-cosine[item])[:num_neighbours]
            nearest[item, best] = cosine[item, best] > 0
        total += share * one_sided(nearest)
    return total


def lightgcn(data, pairs, user, item, layers):
    adjacency = np.zeros((data.num_users + data.num_items,) * 2)
    for one, other in pairs:
        adjacency[one, data.num_users + other] = adjacency[data.num_users + other, one] = 1
    layer, adjacency = np.concatenate([user, item]), one_sided(adjacency)
    total = layer
    for _ in range(layers):
        layer = adjacency @ layer
        total = total + layer
    return np.split(total / (layers + 1), [data.num_users])


def pairs_of(data, kept_T=None):
    pairs = list(zip(data.user_T.tolist(), data.item_T.tolist(), strict=True))
    return pairs if kept_T is None else [pair for pair, kept in zip(pairs, kept_T.tolist(), strict=True) if kept]


@pytest.mark.parametrize("training", [True, False])
def test_freedom_vectors_equal_dense_float64_formulation(training):
    data, _, _ = planted()
    model = build(data, dropout=0.5, shares=SHARES).train(training)
    vectors = model()
    user, item = (side.detach().double().numpy() for side in (model.user_embedding_UD, model.item_embedding_ID))
    pairs = pairs_of(data, model.kept_T if training else None)
    users, items = lightgcn(data, pairs, user, item, SHAPE.backbone_layers)
    if not training:
        items[[index for index in range(data.num_items) if index not in set(data.item_T.tolist())]] = 0
    content = item_graph(data, SHAPE.neighbours) @ item
    np.testing.assert_allclose(vectors.user_UD.detach(), users, atol=1e-5)
    np.testing.assert_allclose(vectors.item_ID.detach(), items + content, atol=1e-5)
    some = torch.tensor([5, 2])
    torch.testing.assert_close(model(some).of_users(some), vectors.user_UD[some])


def test_freedom_own_loss_is_bpr_of_every_modalitys_projected_features():
    data, _, _ = planted()
    model = build(data, modality_weight=0.1)
    loss, generator = make_ranking_loss(data, BPR), torch.Generator().manual_seed(0)
    batch = next(loss.batches(50, generator))
    vectors = model(batch.user_B)
    expected = 0.0
    for place, name in enumerate(("image", "text")):
        unit = torch.nn.functional.normalize(data.features[name], dim=1)
        projected = model.projections[place](unit) * data.present[name][:, None]
        scores = [
            vectors.user_UD[batch.row_P[n]] @ (projected[batch.seen_P[n]] - projected[batch.unseen_P[n]])
            for n in range(50)
        ]
        expected += 0.1 * -torch.nn.functional.logsigmoid(torch.stack(scores)).mean()
    torch.testing.assert_close(model.own_loss(vectors, batch, loss, generator), expected)
    ranking, l2 = loss.terms(vectors, batch, generator)
    total, same_l2 = with_own_loss(loss, model).terms(vectors, batch, generator)
    torch.testing.assert_close(total, ranking + expected)
    torch.testing.assert_close(same_l2, l2)


def test_freedom_without_modality_weight_leaves_projections_alone():
    data, _, _ = planted()
    trainer = Trainer(data, None, SHAPE, config(objective=BPR), lambda *given: Freedom(*given, modality_weight=0.0))
    trainer.ranking_loss = with_own_loss(trainer.ranking_loss, trainer.model)
    before = [projection.weight.clone() for projection in trainer.model.projections]
    trainer.train_epoch()
    assert all(torch.equal(now.weight, was) for now, was in zip(trainer.model.projections, before, strict=True))


def test_keep_by_degree_keeps_the_share_each_once_and_spares_pairs_of_low_degree():
    data, _, _ = planted()
    busy = data.item_T == data.item_T.mode().values
    popular = dataclasses.replace(
        data,
        user_T=torch.cat([data.user_T[~busy], torch.arange(60)]),
        item_T=torch.cat([data.item_T[~busy], torch.full((60,), 79)]),
    )
    generator = torch.Generator().manual_seed(0)
    draws = [keep_by_degree(popular, 0.7, generator) for _ in range(400)]
    num_pairs = len(popular.user_T)
    assert {len(draw) for draw in draws} == {round(0.3 * num_pairs)}
    assert all(len(set(draw.tolist())) == len(draw) for draw in draws)
    often_T = torch.stack([torch.bincount(draw, minlength=num_pairs) for draw in draws]).float().mean(0)
    degree_U, degree_I = (torch.bincount(side).float() for side in (popular.user_T, popular.item_T))
    weight_T = (degree_U[popular.user_T] * degree_I[popular.item_T]).rsqrt()
    assert torch.corrcoef(torch.stack([often_T, weight_T]))[0, 1] > 0.9


def test_keep_by_degree_first_of_a_draw_is_in_proportion_to_the_weights():
    """Keeping one only: how often each is drawn is its weight's share exactly."""
    data, _, _ = planted()
    data = dataclasses.replace(data, user_T=torch.tensor([0, 0, 0, 1]), item_T=torch.tensor([0, 1, 2, 2]))
    weights = np.array([1 / 3**0.5, 1 / 3**0.5, 1 / 6**0.5, 1 / 2**0.5])
    generator = torch.Generator().manual_seed(0)
    drawn = torch.cat([keep_by_degree(data, 0.75, generator) for _ in range(4000)])
    np.testing.assert_allclose(torch.bincount(drawn) / 4000, weights / weights.sum(), atol=0.03)


def test_freedom_draws_anew_every_epoch_the_same_for_a_seed_and_restores_what_was_drawn():
    data, _, _ = planted()
    first, second = build(data, dropout=0.5), build(data, dropout=0.5)
    drawn = []
    for _ in range(3):
        assert torch.equal(first.kept_T, second.kept_T)
        drawn.append(first.kept_T.clone())
        first.refresh_graphs()
        second.refresh_graphs()
    assert not torch.equal(drawn[0], drawn[1])
    other = Freedom(data, SHAPE, torch.Generator().manual_seed(8), dropout=0.5)
    other.load_state_dict(first.state_dict())
    other.restore_graphs()
    torch.testing.assert_close(other.train()().item_ID, first.train()().item_ID)


def test_freedom_without_dropout_trains_on_every_interaction():
    data, _, _ = planted()
    model = build(data, dropout=0.0)
    torch.testing.assert_close(model.train()().user_UD, model.eval()().user_UD)


def test_freedom_planted_families_are_recovered_by_the_common_trainer_and_cold_items_too():
    data, held_out, family = planted()
    trainer = Trainer(data, held_out, ModelConfig(embedding_dim=16), config(objective=BPR), Freedom)
    trainer.ranking_loss = with_own_loss(trainer.ranking_loss, trainer.model)
    list(trainer.fit())
    assert trainer.best_metric > 0.7  # chance is 20 / 80
    vectors = trainer.best_vectors()
    cold = range(70, data.num_items)
    assert not data.trained_items()[70:].any()
    best = (vectors.user_UD @ vectors.item_ID[70:].T).argmax(1).tolist()
    hits = [family[cold[place]] == user % 4 for user, place in enumerate(best)]
    assert np.mean(hits) > 0.5  # chance is 1 / 4


def test_freedom_several_processes_are_refused():
    data, _, _ = planted()
    with pytest.raises(ValueError, match="one process"):
        Freedom(data, SHAPE, torch.Generator(), Columns(count=2))
