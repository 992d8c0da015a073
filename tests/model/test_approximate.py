"""Approximate neighbours against the exact ones. Shapes: P items, D dimension, K neighbours."""

import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import model.approximate
from model.approximate import CELLS, Cells, approximate_top_k, followed_top_k, measured_recall

NUM_CLUSTERS, CLUSTER_SIZE = 100, 40


def random_unit(num_items, dim, seed=0):
    return F.normalize(torch.randn(num_items, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


@pytest.fixture(scope="module")
def clustered():
    """Clusters that touch: neighbours of an item lie in several of the 100 cells."""
    centre = random_unit(NUM_CLUSTERS, 24, seed=1).repeat_interleave(CLUSTER_SIZE, 0)
    return F.normalize(centre + 1.5 * random_unit(NUM_CLUSTERS * CLUSTER_SIZE, 24), dim=1)


def exact_top_k(unit_PD, kept):
    """The item itself first, then the others by cosine."""
    cosine_PP = unit_PD @ unit_PD.T
    return cosine_PP.fill_diagonal_(2.0).topk(kept, dim=1).indices


@pytest.fixture(scope="module")
def exact(clustered):
    """int64 (P, 6)."""
    return exact_top_k(clustered, 6)


def recall(index_PK, exact_PK):
    """Mean share of the exact neighbours found, the item itself left out; in a plain loop."""
    shares = [
        len(set(found[1:]) & set(exact[1:])) / (len(exact) - 1)
        for found, exact in zip(index_PK.tolist(), exact_PK.tolist(), strict=True)
    ]
    return sum(shares) / len(shares)


def own(num_items):
    return torch.arange(num_items)


def test_approximate_top_k_clustered_items_finds_nearly_all(clustered, exact):
    index_PK = approximate_top_k(clustered, 6)
    assert index_PK.shape == (len(clustered), 6)
    assert index_PK.dtype == torch.int64
    assert torch.equal(index_PK[:, 0], own(len(clustered)))
    assert all(len(set(row)) == 6 for row in index_PK.tolist())
    assert recall(index_PK, exact) > 0.98


def test_approximate_top_k_searches_a_few_of_its_cells(clustered, exact):
    """With one probe much is missed: an index that searched everything would find it all the same."""
    cells = Cells(probes=1)
    index = model.approximate._index(clustered.numpy(), cells)
    assert (index.nlist, index.nprobe) == (len(clustered) // 40, 1)
    assert index.nlist < cells.per_root * len(clustered) ** 0.5
    assert 0.1 < recall(approximate_top_k(clustered, 6, cells), exact) < 0.95


def test_approximate_top_k_same_input_same_result(clustered):
    before = clustered.clone()
    first, again = (approximate_top_k(clustered, 6) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(clustered, before)


@settings(max_examples=25, deadline=None)
@given(num_items=st.integers(1, CELLS.probes), kept=st.integers(1, 8), seed=st.integers(0, 10_000))
def test_approximate_top_k_fewer_items_than_cells_equals_exact(num_items, kept, seed):
    """One cell at most holds them all."""
    unit_PD, kept = random_unit(num_items, 5, seed), min(kept, num_items)
    assert torch.equal(approximate_top_k(unit_PD, kept), exact_top_k(unit_PD, kept))


@pytest.mark.parametrize("num_items", [3, 200])
def test_approximate_top_k_identical_items_have_themselves_first_and_no_one_twice(num_items):
    unit_PD = random_unit(1, 4).repeat(num_items, 1)
    index_PK = approximate_top_k(unit_PD, 3)
    assert torch.equal(index_PK[:, 0], own(num_items))
    assert all(len(set(row)) == 3 for row in index_PK.tolist())


def test_approximate_top_k_pairs_of_duplicates_have_each_other_second():
    unit_PD = random_unit(60, 8).repeat(2, 1)
    index_PK = approximate_top_k(unit_PD, 3)
    assert torch.equal(index_PK[:, 0], own(120))
    assert torch.equal(index_PK[:, 1], (own(120) + 60) % 120)


def test_approximate_top_k_zero_vectors_get_places_that_exist():
    unit_PD = torch.cat([torch.zeros(3, 8), random_unit(60, 8)])
    index_PK = approximate_top_k(unit_PD, 4)
    assert torch.equal(index_PK[:, 0], own(63))
    assert (index_PK >= 0).all()
    assert (index_PK < 63).all()


def test_approximate_top_k_cells_with_too_few_items_leave_places_to_the_item_itself(clustered):
    index_PK = approximate_top_k(clustered, 400, Cells(probes=1))
    itself_PK = index_PK == own(len(clustered))[:, None]
    assert (index_PK >= 0).all()
    assert itself_PK[:, 0].all()
    assert (itself_PK.sum(1) > 1).any()
    others = [row[~itself].tolist() for row, itself in zip(index_PK, itself_PK, strict=True)]
    assert all(len(set(row)) == len(row) for row in others)


def test_approximate_top_k_without_faiss_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=r"install faiss-cpu or set model\.graph = 'exact'"):
        approximate_top_k(random_unit(5, 3), 2)


@settings(max_examples=25, deadline=None)
@given(num_items=st.integers(2, 60), kept=st.integers(1, 6), seed=st.integers(0, 10_000))
def test_followed_top_k_any_start_is_kept_or_improved(num_items, kept, seed):
    """Row by row: the similarities that it began with are not above those that it ends with."""
    unit_PD, kept = random_unit(num_items, 4, seed), min(kept, num_items)
    generator = torch.Generator().manual_seed(seed)
    others_PP = torch.rand(num_items, num_items, generator=generator).fill_diagonal_(2.0)
    earlier_PK = others_PP.argsort(dim=1, descending=True)[:, :kept]
    value_PK, index_PK = followed_top_k(unit_PD, earlier_PK)
    cosine_PP = unit_PD @ unit_PD.T
    before_PK = cosine_PP.gather(1, earlier_PK)[:, 1:].sort(dim=1, descending=True).values
    torch.testing.assert_close(value_PK[:, 1:], cosine_PP.gather(1, index_PK)[:, 1:])
    assert (value_PK[:, 1:] >= before_PK - 1e-6).all()
    assert torch.equal(index_PK[:, 0], own(num_items))
    assert all(len(set(row)) == kept for row in index_PK.tolist())


def test_followed_top_k_of_the_exact_neighbours_keeps_them(clustered, exact):
    assert torch.equal(followed_top_k(clustered, exact)[1], exact)


def test_followed_top_k_finds_what_a_narrow_search_has_missed(clustered, exact):
    """Two cells searched: with one, neighbours of neighbours would lie in the same cell."""
    begin_PK = approximate_top_k(clustered, 6, Cells(probes=2))
    before, after = (recall(index, exact) for index in (begin_PK, followed_top_k(clustered, begin_PK)[1]))
    assert after > before + 0.05


def test_followed_top_k_smaller_blocks_same_neighbours(clustered):
    begin_PK = approximate_top_k(clustered[:200], 4)
    value_PK, index_PK = followed_top_k(clustered[:200], begin_PK)
    blocked_value_PK, blocked_index_PK = followed_top_k(clustered[:200], begin_PK, elements=1)
    assert torch.equal(blocked_index_PK, index_PK)
    torch.testing.assert_close(blocked_value_PK, value_PK)


@pytest.mark.parametrize("wrong", [0, 1, 3, 5])
def test_measured_recall_planted_errors_are_counted(wrong):
    """Every item is in the sample; `wrong` of five neighbours are replaced by items that are none."""
    unit_PD = random_unit(80, 6)
    everyone_PP = exact_top_k(unit_PD, 80)
    index_PK = everyone_PP[:, :6].clone()
    index_PK[:, 6 - wrong :] = everyone_PP[:, 80 - wrong :]
    assert measured_recall(unit_PD, index_PK) == pytest.approx(1 - wrong / 5)


def test_measured_recall_order_of_the_neighbours_does_not_matter_and_the_item_itself_does_not_count():
    unit_PD = random_unit(80, 6)
    index_PK = exact_top_k(unit_PD, 6)
    index_PK[:, 1:] = index_PK[:, 1:].flip(1)
    assert measured_recall(unit_PD, index_PK) == 1
    index_PK[:, 1:] = own(80)[:, None]
    assert measured_recall(unit_PD, index_PK) == 0


def test_measured_recall_of_more_items_than_the_sample_is_near_the_whole_and_repeats(clustered, exact):
    index_PK = approximate_top_k(clustered, 6, Cells(probes=2))
    measured = measured_recall(clustered, index_PK)
    assert len(clustered) > 4 * model.approximate.SAMPLE
    assert measured == measured_recall(clustered, index_PK)
    assert measured == pytest.approx(recall(index_PK, exact), abs=0.04)


def test_measured_recall_itself_alone_is_all_that_was_asked_for():
    assert measured_recall(random_unit(5, 3), own(5)[:, None]) == 1
