import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from model.blocks import Block
from model.evaluation import (
    InnerProduct,
    Pairs,
    Ranking,
    coverage,
    graded_gain,
    metrics_per_user,
    rank_items,
    rank_pairs,
    slot_share,
    summarise,
)
from tests import reference
from tests.blocks import RecordingColumns


def make_pairs(pairs, num_users, num_items):
    user, item = (
        (torch.tensor(side, dtype=torch.int64) for side in zip(*pairs, strict=True))
        if pairs
        else (torch.zeros(0).long(),) * 2
    )
    return Pairs(user, item, num_users, num_items)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), num_items=st.integers(3, 30), k=st.integers(1, 12))
def test_metrics_per_user_random_data_equal_naive_loop(seed, num_items, k):
    rng = np.random.default_rng(seed)
    num_users = 7
    user_vectors, item_vectors = rng.normal(size=(num_users, 4)), rng.normal(size=(num_items, 4))
    role = rng.choice(3, size=(num_users, num_items), p=[0.5, 0.2, 0.3])
    train = make_pairs(np.argwhere(role == 1).tolist(), num_users, num_items)
    relevant = make_pairs(np.argwhere(role == 2).tolist(), num_users, num_items)
    scorer = InnerProduct(torch.tensor(user_vectors), torch.tensor(item_vectors))
    ranking = rank_items(scorer, relevant.users(), [train], k)
    got = metrics_per_user(ranking, relevant, [k])
    for row, user in enumerate(ranking.user_Q.tolist()):
        ranked = reference.full_ranking(user_vectors[user], item_vectors, set(np.flatnonzero(role[user] == 1)))
        want = reference.ranking_metrics(ranked, set(np.flatnonzero(role[user] == 2)), k)
        for name, value in want.items():
            assert got[f"{name}@{k}"][row].item() == pytest.approx(value, abs=1e-9), name


def test_metrics_per_user_hand_computed_case():
    relevant = make_pairs([(0, 2), (0, 3), (0, 9)], 1, 10)
    item_vectors = torch.tensor([[0.9], [0.8], [0.7], [0.6], [0.1], [0.1], [0.0], [0.0], [0.0], [-1.0]])
    scorer = InnerProduct(torch.ones(1, 1), item_vectors)
    ranking = rank_items(scorer, torch.tensor([0]), [make_pairs([(0, 0)], 1, 10)], 3)
    assert ranking.item_QK.tolist() == [[1, 2, 3]]
    got = {name: value.item() for name, value in metrics_per_user(ranking, relevant, [3]).items()}
    ideal = 1 + 1 / np.log2(3) + 1 / 2
    assert got == pytest.approx(
        {
            "recall@3": 2 / 3,
            "precision@3": 2 / 3,
            "hit@3": 1.0,
            "ndcg@3": (1 / np.log2(3) + 1 / 2) / ideal,
            "map@3": (1 / 2 + 2 / 3) / 3,
        }
    )


def test_metrics_per_user_ndcg_equals_scikit_learn():
    rng = np.random.default_rng(0)
    scores, gains = rng.normal(size=(20, 50)), (rng.random((20, 50)) < 0.1).astype(float)
    gains[:, 0] = 1
    relevant = make_pairs(np.argwhere(gains > 0).tolist(), 20, 50)
    ranking = rank_items(InnerProduct(torch.tensor(scores), torch.eye(50).double()), torch.arange(20), [], 10)
    ours = metrics_per_user(ranking, relevant, [10])["ndcg@10"]
    theirs = [ndcg_score(gains[[row]], scores[[row]], k=10) for row in range(20)]
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-12)


def test_pairs_restricted_to_users_are_theirs_alone():
    pairs = make_pairs([(0, 1), (1, 2), (2, 0), (2, 3)], 3, 4).restricted_to_users(torch.tensor([True, False, True]))
    assert list(zip(pairs.user_P.tolist(), pairs.item_P.tolist(), strict=True)) == [(0, 1), (2, 0), (2, 3)]
    assert pairs.count_U.tolist() == [1, 0, 2]


def test_rank_items_holds_few_scores_at_once_same_lists():
    generator = torch.Generator().manual_seed(0)
    columns = RecordingColumns()
    scorer = InnerProduct(torch.randn(40, 5, generator=generator), torch.randn(30, 5, generator=generator), columns)
    seen = make_pairs([(u, (u * 7) % 30) for u in range(40)], 40, 30)
    whole = rank_items(scorer, torch.arange(40), [seen], 6)
    columns.blocks.clear()
    in_blocks = rank_items(scorer, torch.arange(40), [seen], 6, block=Block(3 * 30, few_rows=1))
    assert torch.equal(whole.item_QK, in_blocks.item_QK)
    assert max(columns.blocks) <= 3 * 30
    assert sum(columns.blocks) == 40 * 30


def test_rank_items_seen_and_non_candidates_never_listed():
    scorer = InnerProduct(torch.ones(1, 1), torch.arange(6.0)[:, None])
    candidates = torch.tensor([True, True, True, True, False, False])
    ranking = rank_items(scorer, torch.tensor([0]), [make_pairs([(0, 3)], 1, 6)], 6, candidates)
    assert ranking.item_QK.tolist() == [[2, 1, 0, -1, -1, -1]]
    assert coverage(ranking, 6, 4) == 3 / 4


def test_slot_share_counts_filled_places_of_the_cut_lists():
    ranking = Ranking(torch.arange(3), torch.tensor([[0, 1, 2], [3, -1, -1], [-1, -1, -1]]))
    new_I = torch.tensor([False, True, True, False])
    assert slot_share(ranking, 3, new_I) == 2 / 4
    assert slot_share(ranking, 2, new_I) == 1 / 3
    assert slot_share(Ranking(torch.arange(1), torch.tensor([[-1]])), 1, new_I) is None


def test_summarise_users_without_relevant_items_do_not_count():
    relevant = make_pairs([(1, 0)], 3, 4)
    scorer = InnerProduct(torch.ones(3, 1), torch.tensor([[4.0], [3.0], [2.0], [1.0]]))
    ranking = rank_items(scorer, torch.arange(3), [], 2)
    summary = summarise(ranking, relevant, [2], 4)
    assert summary["recall@2"] == 1.0
    assert summary["users"] == 1


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), num_items=st.integers(3, 30), elements=st.integers(1, 100))
def test_rank_pairs_random_data_equal_naive_loop_whatever_the_block(seed, num_items, elements):
    rng = np.random.default_rng(seed)
    user_vectors, item_vectors = rng.normal(size=(7, 4)), rng.normal(size=(num_items, 4))
    role = rng.choice(3, size=(7, num_items), p=[0.5, 0.2, 0.3])
    candidates = rng.random(num_items) < 0.8
    train = make_pairs(np.argwhere(role == 1).tolist(), 7, num_items)
    relevant = make_pairs(np.argwhere((role == 2) & candidates).tolist(), 7, num_items)
    scorer = InnerProduct(torch.tensor(user_vectors), torch.tensor(item_vectors))
    block = Block(elements, few_rows=1)
    rank_P, count_P = rank_pairs(scorer, relevant, [train], torch.tensor(candidates), block)
    for user, item, rank, count in zip(relevant.user_P, relevant.item_P, rank_P, count_P, strict=True):
        masked, allowed = set(np.flatnonzero(role[user] == 1)), set(np.flatnonzero(candidates))
        ranked = reference.full_ranking(user_vectors[user], item_vectors, masked, allowed)
        assert (rank.item(), count.item()) == (ranked.index(item.item()) + 1, len(ranked))


def test_rank_pairs_ties_have_their_mean_rank():
    scorer = InnerProduct(torch.ones(1, 1), torch.tensor([[2.0], [1.0], [1.0], [1.0], [0.0]]))
    relevant = make_pairs([(0, 0), (0, 2)], 1, 5)
    assert rank_pairs(scorer, relevant, [])[0].tolist() == [1, 3]


@pytest.mark.parametrize("cutoff", [10, 20])
def test_graded_gain_equals_the_loop_and_is_nothing_by_chance(cutoff):
    rank_P, count_P = torch.arange(1, 51).double(), torch.full((50,), 50)
    gain_P = graded_gain(rank_P, count_P, cutoff)
    assert gain_P.tolist() == pytest.approx([reference.graded_gain(rank, 50, cutoff) for rank in range(1, 51)])
    assert gain_P.mean().item() == pytest.approx(0, abs=1e-12)
    assert (gain_P.diff() < 0).all()
