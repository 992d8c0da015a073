"""The plain formulation computes what the program computes: else its times would compare nothing."""

import pytest
import torch

from bench import plain
from bench.workload import Shape, make
from model.contrastive import contrastive_loss
from model.evaluation import InnerProduct, Pairs, rank_items, summarise
from model.graph import nearest_neighbours
from model.user_item import UserItemGraph

SHAPE = Shape(name="tiny", num_users=60, num_items=80, num_pairs=600, features={"text": 16})


@pytest.fixture(scope="module")
def data():
    return make(SHAPE)


def test_make_shape_and_degrees_are_those_asked_for(data):
    training, held_out = data
    keys = torch.cat([training.user_T * 80 + training.item_T, held_out.user_P * 80 + held_out.item_P])
    assert len(training.user_T) == 600
    assert len(keys) == len(keys.unique()) == 660
    degree = torch.bincount(training.item_T, minlength=80).sort(descending=True).values
    assert degree[:8].sum() > 3 * degree[40:48].sum()
    assert torch.equal(make(SHAPE)[0].item_T, training.item_T)


def test_similarity_graph_equals_the_sparse_one(data):
    training, _ = data
    graph = nearest_neighbours(training.features["text"], training.present["text"], 10)
    row, column = graph.edges()
    dense = torch.zeros(80, 80).index_put((row, column), graph.normalised().reshape(-1), accumulate=True)
    torch.testing.assert_close(plain.similarity_graph(training.features["text"], 10), dense, atol=1e-5, rtol=1e-4)


def test_contrastive_loss_equals_the_chunked_one_and_its_gradient():
    vectors = torch.randn(2, 50, 8, dtype=torch.float64, requires_grad=True)
    items = torch.arange(50)
    ours = contrastive_loss(vectors[0], vectors[1], items, items, torch.zeros(50).double(), plain.TEMPERATURE)
    theirs = plain.contrastive_loss(vectors[0], vectors[1])
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(torch.autograd.grad(ours, vectors)[0], torch.autograd.grad(theirs, vectors)[0])


def test_bipartite_equals_the_prepared_adjacency(data):
    node = torch.randn(140, 4)
    torch.testing.assert_close(plain.bipartite(data[0]) @ node, UserItemGraph(data[0], "symmetric") @ node)


def test_evaluate_equals_blocked_ranking(data):
    training, held_out = data
    user, item = torch.randn(60, 8), torch.randn(80, 8)
    seen, relevant = Pairs(training.user_T, training.item_T, 60, 80), Pairs(held_out.user_P, held_out.item_P, 60, 80)
    ranking = rank_items(InnerProduct(user, item), relevant.users(), [seen], 5)
    ours = summarise(ranking, relevant, [5], 80)
    sets = [plain.item_sets(pairs.user_P, pairs.item_P) for pairs in (seen, relevant)]
    for name, value in plain.evaluate(user, item, *sets, 5).items():
        assert ours[f"{name}@5"] == pytest.approx(value, abs=1e-9), name
