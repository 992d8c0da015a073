import pytest
import torch

from model.structure import ItemGraph
from tests import reference

NUM_ITEMS, K = 15, 4


@pytest.fixture
def features():
    return torch.randn(NUM_ITEMS, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def present():
    return torch.arange(NUM_ITEMS) != 3


def make_graph(features, present, initial_weight):
    """With a bias that is not zero, and neighbours by it."""
    generator = torch.Generator().manual_seed(1)
    graph = ItemGraph(features, present, dim=5, num_neighbours=K, initial_weight=initial_weight, generator=generator)
    if graph.projection is not None:
        torch.nn.init.normal_(graph.projection.bias, std=0.3, generator=generator)
    graph.refresh()
    return graph


@pytest.mark.parametrize("initial_weight", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("with_gradient", [True, False])
def test_item_graph_propagate_equals_dense_float64_reference(features, present, initial_weight, with_gradient):
    graph = make_graph(features, present, initial_weight)
    items = torch.randn(NUM_ITEMS, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    learned = () if graph.projection is None else (graph.projection.weight, graph.projection.bias)
    dense = reference.item_graph(features, present, K, *learned, initial_weight=initial_weight)
    torch.testing.assert_close(graph.propagate(items, with_gradient=with_gradient), dense @ items)


@pytest.mark.parametrize("initial_weight", [0.0, 0.7])
def test_item_graph_gradients_equal_dense_float64_reference(features, present, initial_weight):
    graph = make_graph(features, present, initial_weight)
    generator = torch.Generator().manual_seed(2)
    items = torch.randn(NUM_ITEMS, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    target = torch.randn(NUM_ITEMS, 3, dtype=torch.float64, generator=generator)
    weight, bias = graph.projection.weight, graph.projection.bias
    dense = reference.item_graph(features, present, K, weight, bias, initial_weight)
    wanted = torch.autograd.grad(((dense @ items).tanh() * target).sum(), (weight, bias, items))
    found = graph.propagate(items, with_gradient=True)
    got = torch.autograd.grad((found.tanh() * target).sum(), (weight, bias, items))
    torch.testing.assert_close(got, wanted)
    assert all(gradient.abs().amin() > 0 for gradient in wanted[:2])


def test_item_graph_constant_has_a_gradient_for_the_items_alone(features, present):
    graph = make_graph(features, present, 0.7)
    generator = torch.Generator().manual_seed(2)
    items = torch.randn(NUM_ITEMS, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    dense = reference.item_graph(features, present, K, graph.projection.weight, graph.projection.bias, 0.7).detach()
    target = torch.randn(NUM_ITEMS, 3, dtype=torch.float64, generator=generator)
    (graph.propagate(items, with_gradient=False) * target).sum().backward()
    torch.testing.assert_close(items.grad, dense.T @ target)
    assert graph.projection.weight.grad is None
    assert graph.projection.bias.grad is None
