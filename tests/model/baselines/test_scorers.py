"""Every baseline against its definition, in plain loops on a small data set."""

import numpy as np
import pytest
import torch

from model.baselines.chance import chance
from model.baselines.cosines import summed_cosines
from model.baselines.ease import ease
from model.baselines.neighbours import content_knn, item_knn
from model.baselines.popularity import popularity
from model.data import TrainingData
from tests import reference

NUM_USERS, NUM_ITEMS, NUM_NEIGHBOURS = 61, 9, 3  # so many users that no two similarities are equal


@pytest.fixture
def data():
    """Item 8 was never touched; item 2 lacks the modality."""
    rng = np.random.default_rng(0)
    pairs = np.argwhere(rng.random((NUM_USERS, NUM_ITEMS - 1)) < 0.4)
    user, item = (torch.from_numpy(side.copy()) for side in pairs.T)
    features = torch.from_numpy(rng.normal(size=(NUM_ITEMS, 4))).float()
    return TrainingData(
        num_users=NUM_USERS,
        num_items=NUM_ITEMS,
        user_T=user,
        item_T=item,
        features={"text": features},
        present={"text": torch.arange(NUM_ITEMS) != 2},
    )


def dense(data):
    matrix = np.zeros((NUM_USERS, NUM_ITEMS))
    matrix[data.user_T, data.item_T] = 1
    return matrix


def neighbour_scores(similarity, history):
    """Every item's own K nearest, summed over those in the history."""
    scores = np.zeros(history.shape)
    for item in range(NUM_ITEMS):
        others = sorted((j for j in range(NUM_ITEMS) if j != item), key=lambda j: -similarity[item, j])
        for j in others[:NUM_NEIGHBOURS]:
            scores[:, item] += similarity[item, j] * history[:, j]
    return scores


def test_popularity_scores_are_counts(data):
    scores = popularity(data).scores(torch.arange(NUM_USERS))
    np.testing.assert_array_equal(scores.numpy(), np.tile(dense(data).sum(0), (NUM_USERS, 1)))


def test_ease_solves_the_constrained_least_squares(data):
    """Steck's objective with zero diagonal has no better weights than these, item by item."""
    matrix, l2 = dense(data), 2.5
    scorer = ease(data, l2)
    weights = scorer.weight_II.numpy()
    assert np.diag(weights) == pytest.approx(0)
    for item in range(NUM_ITEMS):
        others = [j for j in range(NUM_ITEMS) if j != item]
        gram = matrix[:, others].T @ matrix[:, others] + l2 * np.eye(len(others))
        best = np.linalg.solve(gram, matrix[:, others].T @ matrix[:, item])
        np.testing.assert_allclose(weights[others, item], best, atol=1e-4)
    np.testing.assert_allclose(scorer.scores(torch.tensor([3, 1])), matrix[[3, 1]] @ weights, atol=1e-5)


def test_item_knn_equals_naive_loop(data):
    matrix = dense(data)
    similarity = np.array([[reference.cosine(a, b) for b in matrix.T] for a in matrix.T])
    got = item_knn(data, NUM_NEIGHBOURS).scores(torch.arange(NUM_USERS)).numpy()
    np.testing.assert_allclose(got, neighbour_scores(similarity, matrix), atol=1e-5)


def test_item_knn_shrunk_equals_naive_loop(data):
    matrix = dense(data)
    similarity = np.array(
        [
            [(a @ b) / (np.linalg.norm(a) * np.linalg.norm(b) + 5) if a.any() and b.any() else 0 for b in matrix.T]
            for a in matrix.T
        ]
    )
    got = item_knn(data, NUM_NEIGHBOURS, shrinkage=5.0).scores(torch.arange(NUM_USERS)).numpy()
    np.testing.assert_allclose(got, neighbour_scores(similarity, matrix), atol=1e-5)


def test_content_knn_equals_naive_loop_and_scores_untouched_items(data):
    features, trained = data.features["text"].double().numpy(), set(data.item_T.tolist())
    similarity = np.array([[max(0, reference.cosine(a, b)) for b in features] for a in features])
    similarity[2], similarity[:, 2] = 0, 0
    similarity[:, [j for j in range(NUM_ITEMS) if j not in trained]] = 0
    got = content_knn(data, "text", NUM_NEIGHBOURS).scores(torch.arange(NUM_USERS)).numpy()
    np.testing.assert_allclose(got, neighbour_scores(similarity, dense(data)), atol=1e-5)
    assert got[:, 8].max() > 0
    assert (got[:, 2] == 0).all()


def test_chance_same_seed_same_order_other_seed_another(data):
    first, again, other = (chance(data, seed).scores(torch.arange(4)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_summed_cosines_are_sums_of_cosines_whatever_the_lengths(data):
    data.features["text"][2] = torch.nan  # absent: ignored
    data.features["text"][8] *= 100
    features, present = data.features["text"].numpy(), data.present["text"].numpy()
    expected = np.zeros((NUM_USERS, NUM_ITEMS))
    for user, item in zip(data.user_T.tolist(), data.item_T.tolist(), strict=True):
        for other in range(NUM_ITEMS):
            if present[item] and present[other]:
                expected[user, other] += reference.cosine(features[item], features[other])
    got = summed_cosines(data, "text").scores(torch.arange(NUM_USERS))
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-5)
