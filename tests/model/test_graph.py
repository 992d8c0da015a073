import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from model.approximate import REVERSE, followed_top_k
from model.blocks import Block
from model.exact import top_k_by_float16, top_k_by_rows
from model.graph import Search, known_neighbours, nearest_neighbours, similarity_of_neighbours
from tests import reference


def random_features(num_items, dim, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_items, dim, generator=generator)


def dense(graph, weight):
    matrix = np.zeros((len(weight), len(weight)))
    row, column = graph.edges()
    np.add.at(matrix, (row.numpy(), column.numpy()), weight.reshape(-1).double().numpy())
    return matrix


@settings(max_examples=25, deadline=None)
@given(num_items=st.integers(2, 24), k=st.integers(1, 8), seed=st.integers(0, 10_000))
def test_nearest_neighbours_random_features_equal_naive_loops(num_items, k, seed):
    features = random_features(num_items, 5, seed)
    present = torch.rand(num_items, generator=torch.Generator().manual_seed(seed)) < 0.8
    graph = nearest_neighbours(features, present, k)
    expected = reference.knn_adjacency(features.double().numpy(), present.numpy(), k)
    np.testing.assert_allclose(dense(graph, graph.similarity_IK), expected, atol=1e-5)
    normalised = reference.symmetric_normalised(expected)
    np.testing.assert_allclose(dense(graph, graph.normalised()), normalised, atol=1e-5)


def test_top_k_by_rows_smaller_blocks_same_neighbours():
    unit = torch.nn.functional.normalize(random_features(60, 8), dim=1)
    value, index = top_k_by_rows(unit, 5)
    value_in_blocks, index_in_blocks = top_k_by_rows(unit, 5, Block(7 * 60, few_rows=1))
    assert torch.equal(index, index_in_blocks)
    torch.testing.assert_close(value, value_in_blocks)


@pytest.mark.parametrize("num_items", [1, 3, 7, 61])
def test_nearest_neighbours_by_halves_same_graph(num_items):
    features, present = random_features(num_items, 8), torch.ones(num_items, dtype=torch.bool)
    rows = nearest_neighbours(features, present, 5)
    halves = nearest_neighbours(features, present, 5, search=Search(wide=8, half_rows=7))
    np.testing.assert_allclose(dense(halves, halves.similarity_IK), dense(rows, rows.similarity_IK), atol=1e-6)
    assert halves.neighbour_IK[:, 0].tolist() == list(range(num_items))


@pytest.mark.parametrize(("num_items", "k"), [(1, 5), (7, 5), (300, 1), (2000, 6), (4000, 2)])
def test_top_k_by_float16_as_a_gpu_searches_same_graph(num_items, k):
    unit = torch.nn.functional.normalize(random_features(num_items, 64) + 2 * random_features(1, 64, seed=1), dim=1)
    kept = min(k, num_items)
    value, index = top_k_by_float16(unit, kept, elements=512 * num_items)
    exact, exact_index = top_k_by_rows(unit, kept)
    assert torch.equal(index[:, 0], torch.arange(num_items))
    torch.testing.assert_close(value, exact, atol=1e-6, rtol=0)
    assert (index.sort(1).values == exact_index.sort(1).values).float().mean() > 0.999


def test_top_k_by_float16_takes_nothing_much_farther_where_many_are_nearly_the_same():
    """Cosines that differ by less than float16 can tell: others are found, that are as near but for its rounding."""
    unit = torch.nn.functional.normalize(0.1 * random_features(900, 16) + random_features(1, 16, seed=1), dim=1)
    value, index = top_k_by_float16(unit, 5, candidates=1)
    exact, exact_index = top_k_by_rows(unit, 5)
    assert (index.sort(1).values != exact_index.sort(1).values).any()
    assert (exact - value).max() < 0.003
    assert (exact[:, 1:].amin(1) - (unit @ unit.T).median(1).values).median() > 0.003  # any items would not do


def test_nearest_neighbours_wide_features_multiply_each_pair_once():
    """Half the multiplications of the full product, but for the blocks on the diagonal."""
    num_items, dim = 512, 512
    features = random_features(num_items, dim)
    with FlopCounterMode(display=False) as counter:
        nearest_neighbours(features, torch.ones(num_items, dtype=torch.bool), 5, search=Search(half_rows=32))
    assert counter.get_total_flops() <= 0.55 * 2 * num_items**2 * dim


def test_nearest_neighbours_faiss_finds_nearly_all_and_says_how_many():
    centre = random_features(40, 16, seed=1)
    features = centre.repeat(50, 1) + 0.3 * random_features(2000, 16)
    present = torch.arange(2000) % 7 != 0
    exact = nearest_neighbours(features, present, 6)
    found = nearest_neighbours(features, present, 6, "faiss")
    again = nearest_neighbours(features, present, 6, "faiss")
    assert torch.equal(found.neighbour_IK, again.neighbour_IK)
    assert found.neighbour_IK[:, 0].tolist() == list(range(2000))
    assert found.similarity_IK[~present].sum() == 0
    same = (found.neighbour_IK[present][:, 1:, None] == exact.neighbour_IK[present][:, None, 1:]).any(2)
    assert exact.recall is None
    assert 0.9 < found.recall <= 1
    assert found.recall == pytest.approx(same.float().mean().item(), abs=0.03)


def test_nearest_neighbours_followed_are_nearly_those_of_the_moved_features():
    centre = random_features(40, 16, seed=1)
    features = centre.repeat(50, 1) + 0.3 * random_features(2000, 16)
    present = torch.arange(2000) % 7 != 0
    graph = nearest_neighbours(features, present, 6, "faiss")
    for seed in range(2, 8):
        features = features + 0.03 * random_features(2000, 16, seed=seed)
        stale = known_neighbours(features, present, graph.neighbour_IK).recall
        graph = nearest_neighbours(features, present, 6, "faiss", graph.neighbour_IK)
        assert graph.recall > stale
    assert graph.recall > 0.9
    assert graph.neighbour_IK[:, 0].tolist() == list(range(2000))
    assert graph.similarity_IK[~present].sum() == 0
    known = known_neighbours(features, present, graph.neighbour_IK)
    torch.testing.assert_close(known.similarity_IK, graph.similarity_IK)
    assert torch.equal(known.similarity_IK > 0, graph.similarity_IK > 0)


@pytest.mark.parametrize("kept", [1, 2, 5])
def test_followed_top_k_equals_a_search_among_neighbours_of_neighbours(kept):
    unit = torch.nn.functional.normalize(random_features(50, 4), dim=1)
    earlier = nearest_neighbours(random_features(50, 4, seed=1), torch.ones(50, dtype=torch.bool), kept).neighbour_IK
    value, index = followed_top_k(unit, earlier)
    for item in range(50):
        having = [(earlier[other].tolist().index(item), other) for other in range(50) if item in earlier[other, 1:]]
        near = [*earlier[item].tolist(), *(other for _, other in sorted(having)[:REVERSE])]
        candidates = {neighbour for other in near for neighbour in earlier[other].tolist()}
        ranked = sorted(candidates - {item}, key=lambda other: -float(unit[item] @ unit[other]))
        assert index[item].tolist() == [item, *ranked][:kept]
    assert (value[:, 0] == 2).all()


def test_followed_top_k_costs_in_proportion_to_the_items():
    def flops(num_items):
        unit = torch.nn.functional.normalize(random_features(num_items, 8), dim=1)
        earlier = torch.arange(num_items)[:, None] + torch.arange(4)
        with FlopCounterMode(display=False) as counter:
            followed_top_k(unit, earlier % num_items)
        return counter.get_total_flops()

    assert flops(2000) == 10 * flops(200)


def test_nearest_neighbours_auto_is_exact_until_the_threshold():
    features, present = random_features(60, 8), torch.ones(60, dtype=torch.bool)
    assert nearest_neighbours(features, present, 5, "auto").recall is None
    assert nearest_neighbours(features, present, 5, "auto", search=Search(faiss_items=61)).recall is None
    assert nearest_neighbours(features, present, 5, "auto", search=Search(faiss_items=60)).recall is not None


def test_nearest_neighbours_permuted_items_permuted_graph():
    features, present = random_features(40, 8), torch.rand(40) < 0.7
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    plain = nearest_neighbours(features, present, 4)
    permuted = nearest_neighbours(features[order], present[order], 4)
    moved = dense(plain, plain.similarity_IK)[np.ix_(order, order)]
    np.testing.assert_allclose(dense(permuted, permuted.similarity_IK), moved, atol=1e-6)


def test_nearest_neighbours_identical_items_keep_themselves_first():
    features = torch.ones(6, 3)
    graph = nearest_neighbours(features, torch.ones(6, dtype=torch.bool), 2)
    assert graph.neighbour_IK[:, 0].tolist() == list(range(6))


def test_nearest_neighbours_zero_vector_gives_no_nan():
    features = random_features(5, 3)
    features[2] = 0
    graph = nearest_neighbours(features, torch.ones(5, dtype=torch.bool), 3)
    assert torch.isfinite(graph.normalised()).all()
    assert graph.normalised()[2].sum() == 0


def test_similarity_of_neighbours_gradient_equals_finite_differences():
    features = random_features(12, 4).double().requires_grad_()
    graph = nearest_neighbours(features.detach(), torch.ones(12, dtype=torch.bool), 4)

    def weights(values):
        return similarity_of_neighbours(values, graph).normalised()

    assert torch.autograd.gradcheck(weights, (features,))


def test_nearest_neighbours_nothing_present_has_no_edges():
    graph = nearest_neighbours(random_features(4, 3), torch.zeros(4, dtype=torch.bool), 3)
    assert graph.similarity_IK.sum() == 0


@pytest.mark.parametrize("k", [1, 3])
def test_nearest_neighbours_k_counts_the_item_itself(k):
    graph = nearest_neighbours(random_features(9, 3).abs(), torch.ones(9, dtype=torch.bool), k)
    assert (graph.similarity_IK > 0).sum(1).tolist() == [k] * 9
