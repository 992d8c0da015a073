import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.blocks import Block
from model.config import ObjectiveConfig
from model.data import TrainingData
from model.micro import Vectors
from model.ranking import make_ranking_loss
from model.ranking.softmax import SoftmaxLoss
from tests import reference
from tests.blocks import RecordingColumns

NUM_USERS, NUM_ITEMS, DIM = 9, 14, 5


def interactions(seed):
    """Random pairs; item 13 stays without one, user 8 too."""
    rng = np.random.default_rng(seed)
    pairs = np.argwhere(rng.random((NUM_USERS - 1, NUM_ITEMS - 1)) < 0.4)
    user, item = (torch.from_numpy(side.copy()) for side in pairs.T)
    return TrainingData(num_users=NUM_USERS, num_items=NUM_ITEMS, user_T=user, item_T=item, features={}, present={})


def vectors(seed, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    user_UD, item_ID = (
        scale * torch.randn(count, DIM, generator=generator, dtype=torch.float64) for count in (NUM_USERS, NUM_ITEMS)
    )
    empty = torch.zeros(NUM_ITEMS, 0)
    return Vectors(
        user_UD=user_UD, item_ID=item_ID, content_ID=item_ID, modality_IMD=empty, modality_weight_IM=empty,
        fused_ID=item_ID,
    )  # fmt: skip


def config(num_candidates):
    return ObjectiveConfig(ranking="softmax", softmax_candidates=num_candidates, l2_exponent=1.0)


def loss_of_epoch(data, found, num_candidates, batch_size, seed=0):
    """Mean loss over the interactions of one epoch."""
    loss, generator = make_ranking_loss(data, config(num_candidates)), torch.Generator().manual_seed(seed)
    parts = [
        (loss.terms(found, batch, generator)[0] * len(batch.item_P), len(batch.item_P))
        for batch in loss.batches(batch_size, generator)
    ]
    return sum(part for part, _ in parts) / sum(count for _, count in parts)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), batch_size=st.integers(1, 60))
def test_softmax_all_candidates_equal_naive_loop_whatever_the_batches(seed, batch_size):
    data, found = interactions(seed), vectors(seed)
    trained = sorted(set(data.item_T.tolist()))
    pairs = list(zip(data.user_T.tolist(), data.item_T.tolist(), strict=True))
    expected = reference.softmax_loss(found.user_UD.numpy(), found.item_ID.numpy(), pairs, trained)
    assert loss_of_epoch(data, found, 1000, batch_size).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("weighted", "scale"), [(False, 1.0), (True, 1.0), (True, 2.5)])
@pytest.mark.parametrize("num_candidates", [4, 1000])
def test_softmax_scores_a_few_users_once_and_its_gradient_is_autograd_s(num_candidates, weighted, scale):
    columns = RecordingColumns()
    data, found = interactions(3), dataclasses.replace(vectors(3, scale), columns=columns)
    if weighted:
        weight_T = torch.rand(len(data.user_T), dtype=torch.float64)
        weight_T[::5] = 0
        data = dataclasses.replace(data, weight_T=weight_T)
    sides = found.user_UD.requires_grad_(), found.item_ID.requires_grad_()
    loss = SoftmaxLoss(data, config(num_candidates), Block(30, few_rows=1))
    (batch,) = loss.batches(10_000, torch.Generator().manual_seed(0))
    got = loss.terms(found, batch, torch.Generator().manual_seed(1))[0]
    got_gradients = torch.autograd.grad(3 * got, sides)
    assert max(columns.blocks) <= 30
    assert sum(columns.blocks) == len(batch.user_B) * min(num_candidates, NUM_ITEMS - 1)
    assert len(columns.blocks) > 1

    candidates = loss._draw(torch.Generator().manual_seed(1))
    inverse = (NUM_ITEMS - 1) / len(candidates.item_C)
    expected = 0
    for pair, (row, item) in enumerate(zip(batch.row_P.tolist(), batch.item_P.tolist(), strict=True)):
        user_D = found.user_UD[batch.user_B[row]]
        others = [user_D @ found.item_ID[other] for other in candidates.item_C.tolist() if other != item]
        score = user_D @ found.item_ID[item]
        weight = batch.weight_P[pair] if weighted else 1
        expected = expected + weight * ((score.exp() + inverse * torch.stack(others).exp().sum()).log() - score)
    expected = expected / len(batch.item_P)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(got_gradients, torch.autograd.grad(3 * expected, sides))


def test_softmax_sampled_denominator_is_unbiased():
    """Over many draws, the estimated sums average to the exact ones: the logQ correction and the pair's own weight."""
    data, found = interactions(3), vectors(3)
    trained = sorted(set(data.item_T.tolist()))
    loss, generator = make_ranking_loss(data, config(4)), torch.Generator().manual_seed(0)
    single = next(batch for batch in loss.batches(1, generator) if len(batch.item_P) > 1)
    one = dataclasses.replace(
        single, row_P=single.row_P[:1], item_P=single.item_P[:1], count_B=torch.ones(1, dtype=int)
    )
    score = float(found.user_UD[one.user_B[0]] @ found.item_ID[one.item_P[0]])
    sums = [torch.exp(loss.terms(found, one, generator)[0] + score).item() for _ in range(20_000)]
    expected = sum(float(torch.exp(found.user_UD[one.user_B[0]] @ found.item_ID[item])) for item in trained)
    assert np.mean(sums) == pytest.approx(expected, rel=4 * np.std(sums) / expected / np.sqrt(len(sums)))
    assert np.std(sums) / np.sqrt(len(sums)) < 0.02 * expected


def test_softmax_extreme_scores_stay_finite_with_finite_gradients():
    data, found = interactions(1), vectors(1, scale=30.0)
    item_ID = found.item_ID.float().requires_grad_()
    found = dataclasses.replace(found, user_UD=found.user_UD.float(), item_ID=item_ID)
    loss = loss_of_epoch(data, found, 6, 20)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(item_ID.grad).all()


def test_softmax_items_without_training_interaction_are_no_candidates():
    data, found = interactions(2), vectors(2)
    item_ID = found.item_ID.clone().requires_grad_()
    loss_of_epoch(data, dataclasses.replace(found, item_ID=item_ID), 1000, 20).backward()
    assert item_ID.grad[NUM_ITEMS - 1].abs().sum() == 0
    assert (item_ID.grad[: NUM_ITEMS - 1].abs().sum(1) > 0).all()


def test_softmax_l2_counts_user_and_item_of_every_interaction():
    data, found = interactions(4), vectors(4)
    loss, generator = make_ranking_loss(data, config(1000)), torch.Generator().manual_seed(0)
    (batch,) = loss.batches(10_000, generator)
    squares = [
        float(found.user_UD[user].square().sum() + found.item_ID[item].square().sum())
        for user, item in zip(data.user_T.tolist(), data.item_T.tolist(), strict=True)
    ]
    assert loss.terms(found, batch, generator)[1].item() == pytest.approx(np.mean(squares) / 2)


def test_softmax_one_item_in_all_is_refused():
    with pytest.raises(ValueError, match="all training interactions are with one item"):
        make_ranking_loss(dataclasses.replace(interactions(0), item_T=interactions(0).item_T * 0), config(10))
