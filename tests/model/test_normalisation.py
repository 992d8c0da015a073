"""Normalised adjacency against naive loops over dense matrices. Shapes: E edges, N nodes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.normalisation import normalise_edges
from tests import reference


def row_normalised(matrix):
    """D^-1 S with D the row sums; a zero degree gives 0."""
    result = np.zeros_like(matrix)
    for i, row in enumerate(matrix):
        for j, weight in enumerate(row):
            if row.sum() > 0:
                result[i, j] = weight / row.sum()
    return result


REFERENCE = {"symmetric": reference.symmetric_normalised, "row": row_normalised}


def dense(row_E, column_E, weight_E, num_nodes):
    matrix = np.zeros((num_nodes, num_nodes))
    matrix[row_E.tolist(), column_E.tolist()] = weight_E.tolist()
    return matrix


@st.composite
def edges(draw, symmetric=False):
    """(row_E, column_E, weight_E, N): each edge once, in any order; weights may be 0, nodes may have no edge."""
    num_nodes = draw(st.integers(1, 7))
    pairs = [(i, j) for i in range(num_nodes) for j in range(num_nodes) if i <= j or not symmetric]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True))
    # From 0.01: the square root of a product of subnormal numbers is none of this module's business.
    weights = draw(st.lists(st.just(0.0) | st.floats(0.01, 100), min_size=len(chosen), max_size=len(chosen)))
    if symmetric:
        both = {(i, j): weight for (a, b), weight in zip(chosen, weights, strict=True) for i, j in ((a, b), (b, a))}
        chosen, weights = list(both), list(both.values())
    row_E, column_E = torch.tensor(chosen, dtype=torch.int64).reshape(-1, 2).T
    return row_E, column_E, torch.tensor(weights, dtype=torch.float64), num_nodes


@pytest.mark.parametrize("normalisation", REFERENCE)
@settings(max_examples=60, deadline=None)
@given(graph=edges())
def test_normalise_edges_random_graph_equals_naive_loops(normalisation, graph):
    row_E, column_E, _, num_nodes = graph
    normalised_E = normalise_edges(*graph, normalisation)
    assert torch.isfinite(normalised_E).all()
    expected = REFERENCE[normalisation](dense(*graph))
    np.testing.assert_allclose(dense(row_E, column_E, normalised_E, num_nodes), expected, rtol=1e-12)


@settings(max_examples=60, deadline=None)
@given(graph=edges())
def test_normalise_edges_by_row_rows_sum_to_one_or_to_zero_without_edges(graph):
    row_E, column_E, weight_E, num_nodes = graph
    degree_N = dense(*graph).sum(1)
    normalised = dense(row_E, column_E, normalise_edges(row_E, column_E, weight_E, num_nodes, "row"), num_nodes)
    np.testing.assert_allclose(normalised.sum(1), degree_N > 0, rtol=1e-12)


@settings(max_examples=60, deadline=None)
@given(graph=edges(symmetric=True))
def test_normalise_edges_symmetric_matrix_stays_symmetric_with_eigenvalues_up_to_one(graph):
    row_E, column_E, weight_E, num_nodes = graph
    normalised = dense(row_E, column_E, normalise_edges(row_E, column_E, weight_E, num_nodes), num_nodes)
    np.testing.assert_allclose(normalised, normalised.T, rtol=1e-12)
    eigenvalues, has_edges = np.linalg.eigvalsh(normalised), bool((weight_E > 0).any())
    assert np.abs(eigenvalues).max() <= 1 + 1e-12
    assert eigenvalues.max() == pytest.approx(float(has_edges), abs=1e-12)


@pytest.mark.parametrize("normalisation", REFERENCE)
@settings(max_examples=30, deadline=None)
@given(graph=edges(), factor=st.floats(0.1, 10))
def test_normalise_edges_all_weights_times_a_factor_same_result(normalisation, graph, factor):
    row_E, column_E, weight_E, num_nodes = graph
    expected = normalise_edges(*graph, normalisation)
    scaled = normalise_edges(row_E, column_E, factor * weight_E, num_nodes, normalisation)
    torch.testing.assert_close(scaled, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("normalisation", REFERENCE)
@settings(max_examples=30, deadline=None)
@given(graph=edges(), seed=st.integers(0, 10_000))
def test_normalise_edges_in_another_order_result_in_that_order(normalisation, graph, seed):
    row_E, column_E, weight_E, num_nodes = graph
    order_E = torch.randperm(len(row_E), generator=torch.Generator().manual_seed(seed))
    moved = normalise_edges(row_E[order_E], column_E[order_E], weight_E[order_E], num_nodes, normalisation)
    torch.testing.assert_close(moved, normalise_edges(*graph, normalisation)[order_E], rtol=1e-12, atol=0)


# Node 2 has an edge of weight 0 alone, node 3 is pointed at and has no row, node 4 has nothing.
ROW, COLUMN, WEIGHT = torch.tensor([0, 0, 1, 2]), torch.tensor([1, 3, 0, 0]), torch.tensor([1.0, 3.0, 2.0, 0.0])


@pytest.mark.parametrize(
    ("normalisation", "expected"),
    [("row", [0.25, 0.75, 1.0, 0.0]), ("symmetric", [1 / 8**0.5, 0.0, 2 / 8**0.5, 0.0])],
)
def test_normalise_edges_degree_of_zero_gives_weight_zero(normalisation, expected):
    normalised_E = normalise_edges(ROW, COLUMN, WEIGHT, 5, normalisation)
    assert normalised_E.dtype == torch.float32
    torch.testing.assert_close(normalised_E, torch.tensor(expected))


@pytest.mark.parametrize("normalisation", REFERENCE)
def test_normalise_edges_degree_of_zero_gradient_is_finite(normalisation):
    weight_E = WEIGHT.clone().requires_grad_()
    normalise_edges(ROW, COLUMN, weight_E, 5, normalisation).sum().backward()
    assert torch.isfinite(weight_E.grad).all()


@pytest.mark.parametrize("normalisation", REFERENCE)
def test_normalise_edges_gradient_equals_finite_differences(normalisation):
    generator = torch.Generator().manual_seed(0)
    row_E, column_E = (torch.rand(5, 5, generator=generator) < 0.6).nonzero().T
    weight_E = torch.rand(len(row_E), generator=generator, dtype=torch.float64).add(0.1).requires_grad_()
    assert torch.autograd.gradcheck(lambda weight: normalise_edges(row_E, column_E, weight, 5, normalisation), weight_E)


def test_normalise_edges_no_edge_gives_none():
    nothing = torch.zeros(0, dtype=torch.int64)
    assert normalise_edges(nothing, nothing, torch.zeros(0), 3).shape == (0,)
