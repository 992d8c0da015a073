import dataclasses
import math

import pytest
import torch

import model.objective
from model.config import ObjectiveConfig, starting_weights
from model.objective import objective
from model.ranking import make_ranking_loss
from tests import reference
from tests.model.test_training import make_model


def terms(seed=0, **changes):
    """The objective of one fixed batch and model, with the contrastive sample of a seed."""
    data, model = make_model()
    config = dataclasses.replace(ObjectiveConfig(ranking="softmax", contrastive="exact"), **changes)
    ranking_loss = make_ranking_loss(data, config)
    batch = next(iter(ranking_loss.batches(64, torch.Generator().manual_seed(0))))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        vectors = model()
        l2 = ranking_loss.terms(vectors, batch, generator)[1]
        weights = starting_weights(model.config, config)
        return objective(vectors, model.modality_items, ranking_loss, batch, config, weights, generator), l2


def test_objective_total_is_ranking_plus_weighted_l2_plus_weighted_contrast():
    found, l2 = terms(l2=0.7, contrastive_weight=0.3)
    expected = found.ranking + 0.7 * l2 + 0.3 * found.contrastive
    assert found.total.item() == pytest.approx(expected.item(), rel=1e-6)
    assert l2 > 0
    assert found.contrastive > 0


@pytest.mark.parametrize("ranking", ["softmax", "squares"])
def test_objective_needs_the_vectors_of_the_batchs_users_alone(ranking):
    data, model = make_model()
    ranking_loss = make_ranking_loss(data, ObjectiveConfig(ranking=ranking))
    batch, other = list(ranking_loss.batches(len(data.user_T) // 2, torch.Generator().manual_seed(0)))[:2]
    losses, gradients = [], []
    for users in (None, ranking_loss.users(batch)):
        vectors = model(users)
        config, generator = ObjectiveConfig(), torch.Generator().manual_seed(0)
        weights = starting_weights(model.config, config)
        found = objective(vectors, model.modality_items, ranking_loss, batch, config, weights, generator)
        losses.append(found.total)
        gradients.append(torch.autograd.grad(found.total, [model.user_embedding_UD, model.item_embedding_ID]))
    assert len(vectors.user_UD) == len(batch.user_B) < data.num_users
    torch.testing.assert_close(losses[0], losses[1])
    torch.testing.assert_close(gradients[0], gradients[1])
    with pytest.raises(ValueError, match="of other users"):
        ranking_loss.terms(vectors, other, torch.Generator())


def test_objective_without_contrastive_weight_has_no_contrastive_term():
    found, _ = terms(contrastive_weight=0.0)
    assert found.contrastive == 0


def contrasts(monkeypatch, **changes):
    """The contrastive term, and what it was computed of for each modality."""
    calls, loss = [], model.objective.contrastive_loss
    monkeypatch.setattr(model.objective, "contrastive_loss", lambda *called: calls.append(called) or loss(*called))
    found, _ = terms(**changes)
    return found.contrastive.item(), calls


def test_objective_exact_contrast_is_over_all_items_that_have_the_modality_however_few_the_samples(monkeypatch):
    found, calls = contrasts(monkeypatch, contrastive="exact", contrastive_samples=8, temperature=0.5)
    data, _ = make_model()
    expected = sum(
        reference.contrastive(*(side.double().numpy() for side in sides), present.nonzero().squeeze(1).tolist(), 0.5)
        for (*sides, _, _, _, _, _), present in zip(calls, (data.present["image"], data.present["text"]), strict=True)
    )
    assert found == pytest.approx(expected, rel=1e-5)


def test_objective_sampled_contrast_equals_triple_loop_over_its_sample(monkeypatch):
    found, calls = contrasts(monkeypatch, contrastive="sampled", contrastive_samples=8, temperature=0.5)
    data, _ = make_model()
    expected = 0.0
    for (modality, fused, anchors, candidates, *_), name in zip(calls, ("image", "text"), strict=True):
        assert anchors.tolist() == candidates.tolist()
        assert len(anchors) == 8
        assert data.present[name][anchors].all()
        log_counts = [math.log(7 / int(data.present[name].sum()))] * 8  # seven draws beside the anchor
        sides = modality.double(), fused.double()
        expected += reference.sampled_contrastive(*sides, anchors.tolist(), candidates.tolist(), log_counts, 0.5).item()
    assert found == pytest.approx(expected, rel=1e-5)
    assert calls[0][2].tolist() != calls[1][2].tolist()


def test_objective_sampled_contrast_averages_to_the_exact_one():
    """The logQ correction scales the sums of the sample: without it the mean is off by more than log 2."""
    exact, _ = terms()
    sampled = [terms(seed, contrastive="sampled", contrastive_samples=24)[0].contrastive.item() for seed in range(200)]
    mean, error = torch.tensor(sampled).mean().item(), torch.tensor(sampled).std().item() / len(sampled) ** 0.5
    assert mean == pytest.approx(exact.contrastive.item(), abs=4 * error + 0.05)
