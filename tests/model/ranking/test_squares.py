import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from implicit.cpu.als import least_squares
from scipy.sparse import csr_matrix

from model.config import ObjectiveConfig
from model.ranking import make_ranking_loss
from tests import reference
from tests.model.ranking.test_softmax import interactions, vectors


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), batch_size=st.integers(1, 60), weight=st.floats(0, 2))
def test_squares_equal_naive_loop_whatever_the_batches(seed, batch_size, weight):
    data, found = interactions(seed), vectors(seed)
    trained = sorted(set(data.item_T.tolist()))
    users = sorted(set(data.user_T.tolist()))
    pairs = list(zip(data.user_T.tolist(), data.item_T.tolist(), strict=True))
    expected = reference.squares_loss(found.user_UD.numpy(), found.item_ID.numpy(), pairs, users, trained, weight)
    together = weight * len(users) * len(trained) / len(pairs)
    config = ObjectiveConfig(ranking="squares", unobserved_weight=together)
    loss, generator = make_ranking_loss(data, config), torch.Generator().manual_seed(0)
    parts = [
        (loss.terms(found, batch, generator)[0] * len(batch.item_P), len(batch.item_P))
        for batch in loss.batches(batch_size, generator)
    ]
    measured = sum(part for part, _ in parts) / sum(count for _, count in parts)
    assert measured.item() == pytest.approx(expected, rel=1e-9)


def test_squares_fixed_items_least_for_the_users_that_implicit_als_solves_for():
    """implicit has confidence times (1 - s)^2 for a seen pair; the same up to the scale of what a seen pair scores."""
    data, found = interactions(1), vectors(1)
    weight, penalty = 0.2, 0.5
    trained = torch.unique(data.item_T)
    confidence = (1 + weight) / weight
    shape = (data.num_users, data.num_items)
    seen = csr_matrix((np.full(len(data.user_T), confidence), (data.user_T.numpy(), data.item_T.numpy())), shape)
    solved = np.zeros(found.user_UD.shape)
    least_squares(seen[:, trained.numpy()], solved, found.item_ID[trained].numpy(), penalty)
    user_UD = torch.from_numpy(solved / (1 + weight)).requires_grad_()
    together = weight * len(torch.unique(data.user_T)) * len(trained) / len(data.user_T)
    config = ObjectiveConfig(ranking="squares", unobserved_weight=together)
    loss, generator = make_ranking_loss(data, config), torch.Generator().manual_seed(0)
    (batch,) = loss.batches(len(data.user_T), generator)
    mean = loss.terms(dataclasses.replace(found, user_UD=user_UD), batch, generator)[0]
    (mean * len(data.user_T) + weight * penalty * user_UD.square().sum()).backward()
    assert user_UD.detach().abs().sum() > 1
    torch.testing.assert_close(user_UD.grad, torch.zeros_like(user_UD), rtol=0, atol=1e-9)
