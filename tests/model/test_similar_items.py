import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.blocks import Block
from model.evaluation import Pairs
from model.similar_items import NONE, bought_together, found_share, nearest_items, same_kind_share
from tests import reference

SEEDS = st.integers(0, 10_000)


def make_pairs(chosen_UI):
    user, item = (torch.from_numpy(side.copy()) for side in np.nonzero(chosen_UI))
    return Pairs(user, item, *chosen_UI.shape)


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, num_items=st.integers(1, 25), k=st.integers(1, 12), elements=st.integers(1, 100))
def test_nearest_items_random_vectors_equal_naive_loop_whatever_the_block(seed, num_items, k, elements):
    rng = np.random.default_rng(seed)
    vectors, listed = rng.normal(size=(num_items, 4)), rng.random(num_items) < 0.8
    anchors = np.flatnonzero(rng.random(num_items) < 0.6)
    nearest = nearest_items(
        *map(torch.from_numpy, (vectors, listed, anchors)), num_neighbours=k, block=Block(elements, few_rows=1)
    )
    assert nearest.shape == (len(anchors), k)
    for anchor, found in zip(anchors, nearest.tolist(), strict=True):
        want = reference.nearest_items(vectors, listed, anchor, k)
        assert found == want + [NONE] * (k - len(want))


def test_nearest_items_length_and_what_is_not_listed_do_not_count():
    """Item 3 has the direction of item 0 and is not listed, item 4 has no length, item 1 is long."""
    vectors = torch.tensor([[1.0, 0.0], [50.0, 50.0], [1.0, 0.1], [torch.nan, 0.0], [0.0, 0.0]])
    listed = torch.tensor([True, True, True, False, True])
    nearest = nearest_items(vectors, listed, torch.tensor([0, 3, 4]), 3)
    assert nearest.tolist() == [[2, 1, NONE], [NONE] * 3, [NONE] * 3]


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS)
def test_same_kind_share_random_data_equal_naive_loop(seed):
    rng = np.random.default_rng(seed)
    kind, nearest = rng.integers(NONE, 3, size=9), rng.integers(NONE, 9, size=(5, 4))
    anchor = rng.permutation(9)[:5]
    got = same_kind_share(*map(torch.from_numpy, (anchor, nearest, kind)))
    want = reference.same_kind_share(anchor, nearest, kind)
    assert got == (want if want is None else pytest.approx(want))


def test_same_kind_share_hand_computed_case():
    """Anchor 0 has one of two, the unknown one counting as another kind; 1 has no kind, 2 no neighbour."""
    kind = torch.tensor([7, NONE, 7, 7])
    nearest = torch.tensor([[3, 1], [0, 2], [NONE, NONE]])
    assert same_kind_share(torch.tensor([0, 1, 2]), nearest, kind) == 0.5
    assert same_kind_share(torch.tensor([1, 2]), nearest[1:], kind) is None


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS)
def test_bought_together_are_all_pairs_of_all_users(seed):
    rng = np.random.default_rng(seed)
    role = rng.choice(3, size=(6, 8))
    bought, later = role == 1, role == 2
    first, second = bought_together(make_pairs(bought), make_pairs(later), 10_000, torch.Generator())
    want = [(i, j) for user in range(6) for i in np.flatnonzero(bought[user]) for j in np.flatnonzero(later[user])]
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == want


def test_bought_together_too_many_are_drawn_evenly_and_alike():
    bought, later = np.zeros((3, 40), bool), np.zeros((3, 40), bool)
    bought[0, :18], later[0, 20:40], bought[1, 5], later[2, 3] = True, True, True, True
    drawn = [
        bought_together(make_pairs(bought), make_pairs(later), 300, torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    ]
    assert torch.equal(drawn[0][0], drawn[1][0])
    assert not torch.equal(drawn[0][0], drawn[2][0])
    first, second = drawn[0]
    assert len(first) == 300
    assert set(first.tolist()) == set(range(18))
    assert set(second.tolist()) == set(range(20, 40))


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS)
def test_found_share_random_data_equal_naive_loop(seed):
    rng = np.random.default_rng(seed)
    anchor, nearest = np.sort(rng.permutation(9)[:5]), rng.integers(NONE, 9, size=(5, 3))
    first, second = rng.choice(anchor, size=12), rng.integers(0, 9, size=12)
    got = found_share(*map(torch.from_numpy, (anchor, nearest, first, second)))
    place = {int(item): row for row, item in enumerate(anchor)}
    want = [second[pair] in nearest[place[int(first[pair])]] for pair in range(12)]
    assert got == pytest.approx(np.mean(want))


def test_found_share_without_pairs_is_none():
    nothing = torch.zeros(0, dtype=torch.int64)
    assert found_share(torch.tensor([0]), torch.tensor([[1]]), nothing, nothing) is None
