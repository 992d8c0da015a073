"""Every backbone against its formula with dense float64 matrices."""

import numpy as np
import pytest
import torch

from model.backbones import make_backbone
from model.data import TrainingData
from model.micro import bipartite_adjacency

NUM_USERS, NUM_ITEMS, DIM, NUM_LAYERS = 7, 5, 4, 3


@pytest.fixture
def data():
    """User 6 and item 4 have no interaction."""
    pairs = np.argwhere(np.random.default_rng(0).random((NUM_USERS - 1, NUM_ITEMS - 1)) < 0.5)
    user, item = (torch.from_numpy(side.copy()) for side in pairs.T)
    return TrainingData(num_users=NUM_USERS, num_items=NUM_ITEMS, user_T=user, item_T=item, features={}, present={})


def dense_adjacency(data, normalisation):
    """Symmetric: D^-1/2 A D^-1/2; row: D^-1 (A + I)."""
    size = NUM_USERS + NUM_ITEMS
    adjacency = np.zeros((size, size))
    for user, item in zip(data.user_T.tolist(), data.item_T.tolist(), strict=True):
        adjacency[user, NUM_USERS + item] = adjacency[NUM_USERS + item, user] = 1
    if normalisation == "row":
        adjacency += np.eye(size)
        return adjacency / adjacency.sum(1, keepdims=True)
    scale = np.array([1 / np.sqrt(degree) if degree else 0 for degree in adjacency.sum(1)])
    return scale[:, None] * adjacency * scale


def propagated(name, data, normalisation):
    generator = torch.Generator().manual_seed(0)
    adjacency = bipartite_adjacency(data, normalisation)
    backbone = make_backbone(name, adjacency, DIM, NUM_LAYERS, generator).eval()
    nodes = torch.randn(NUM_USERS + NUM_ITEMS, DIM, generator=generator)
    with torch.no_grad():
        got = torch.cat(backbone(nodes[:NUM_USERS], nodes[NUM_USERS:])).numpy()
    return backbone, nodes.double().numpy(), got


@pytest.mark.parametrize("normalisation", ["symmetric", "row"])
def test_bipartite_adjacency_equals_dense_formula(data, normalisation):
    identity = torch.eye(NUM_USERS + NUM_ITEMS)
    got = (bipartite_adjacency(data, normalisation) @ identity).numpy()
    np.testing.assert_allclose(got, dense_adjacency(data, normalisation), atol=1e-6)


def test_mf_gives_the_embeddings_themselves(data):
    _, nodes, got = propagated("mf", data, "symmetric")
    np.testing.assert_allclose(got, nodes, atol=1e-7)


@pytest.mark.parametrize("normalisation", ["symmetric", "row"])
def test_lightgcn_is_the_mean_of_powers_of_the_adjacency(data, normalisation):
    _, nodes, got = propagated("lightgcn", data, normalisation)
    adjacency = dense_adjacency(data, normalisation)
    powers = [np.linalg.matrix_power(adjacency, layer) @ nodes for layer in range(NUM_LAYERS + 1)]
    np.testing.assert_allclose(got, np.mean(powers, axis=0), atol=1e-6)


@pytest.mark.parametrize("normalisation", ["symmetric", "row"])
def test_ngcf_equals_its_formula(data, normalisation):
    backbone, nodes, got = propagated("ngcf", data, normalisation)
    adjacency, layer = dense_adjacency(data, normalisation), nodes
    total = nodes.copy()
    for summed, product in zip(backbone.sum_weight, backbone.product_weight, strict=True):
        side = adjacency @ layer
        layer = sum(
            leaky_relu(value @ weights.weight.detach().double().numpy().T + weights.bias.detach().double().numpy())
            for weights, value in ((summed, side), (product, layer * side))
        )
        norm = np.linalg.norm(layer, axis=1, keepdims=True)
        total += np.divide(layer, norm, out=np.zeros_like(layer), where=norm > 0)
    np.testing.assert_allclose(got, total / (NUM_LAYERS + 1), atol=1e-5)


def leaky_relu(value):
    return np.where(value > 0, value, 0.01 * value)


def test_ngcf_dropout_is_on_in_training_alone_and_from_the_given_generator(data):
    outcomes = []
    for _ in range(2):
        generator = torch.Generator().manual_seed(1)
        backbone = make_backbone("ngcf", bipartite_adjacency(data, "symmetric"), DIM, 1, generator)
        nodes = torch.randn(NUM_USERS + NUM_ITEMS, DIM, generator=generator)
        outcomes.append([torch.cat(backbone(nodes[:NUM_USERS], nodes[NUM_USERS:])) for _ in range(2)])
    assert torch.equal(outcomes[0][0], outcomes[1][0])
    assert not torch.equal(outcomes[0][0], outcomes[0][1])
