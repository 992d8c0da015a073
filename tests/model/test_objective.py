import dataclasses

import pytest
import torch

from model.objective import ObjectiveConfig, objective
from model.ranking import make_ranking_loss
from tests.model.test_training import make_model


def terms(seed=0, **changes):
    """The objective of one fixed batch and model, with the contrastive sample of a seed."""
    data, model = make_model()
    ranking_loss = make_ranking_loss("softmax", data, 1000)
    batch = next(iter(ranking_loss.batches(64, torch.Generator().manual_seed(0))))
    config = dataclasses.replace(ObjectiveConfig(contrastive="exact"), **changes)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        vectors = model()
        l2 = ranking_loss.terms(vectors, batch, generator)[1]
        return objective(vectors, model.modality_items, ranking_loss, batch, config, generator), l2


def test_objective_total_is_ranking_plus_weighted_l2_plus_weighted_contrast():
    found, l2 = terms(l2=0.7, contrastive_weight=0.3)
    expected = found.ranking + 0.7 * l2 + 0.3 * found.contrastive
    assert found.total.item() == pytest.approx(expected.item(), rel=1e-6)
    assert l2 > 0
    assert found.contrastive > 0


@pytest.mark.parametrize("ranking", ["softmax", "squares"])
def test_objective_needs_the_vectors_of_the_batchs_users_alone(ranking):
    data, model = make_model()
    ranking_loss = make_ranking_loss(ranking, data, 1000)
    batch, other = list(ranking_loss.batches(len(data.user_T) // 2, torch.Generator().manual_seed(0)))[:2]
    losses, gradients = [], []
    for users in (None, ranking_loss.users(batch)):
        vectors = model(users)
        found = objective(
            vectors, model.modality_items, ranking_loss, batch, ObjectiveConfig(), torch.Generator().manual_seed(0)
        )
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


def test_objective_sampled_contrast_averages_to_the_exact_one():
    """The logQ correction scales the sums of the sample: without it the mean is off by more than log 2."""
    exact, _ = terms()
    sampled = [terms(seed, contrastive="sampled", contrastive_samples=24)[0].contrastive.item() for seed in range(200)]
    mean, error = torch.tensor(sampled).mean().item(), torch.tensor(sampled).std().item() / len(sampled) ** 0.5
    assert mean == pytest.approx(exact.contrastive.item(), abs=4 * error + 0.05)
