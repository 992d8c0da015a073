import pytest
import torch

from model.data import TrainingData
from model.user_item import UserItemGraph
from tests import reference

NUM_USERS, NUM_ITEMS = 4, 3
USER, ITEM = torch.tensor([0, 0, 1, 2, 2]), torch.tensor([0, 1, 1, 0, 1])  # user 3 and item 2 have nothing
DATA = TrainingData(num_users=NUM_USERS, num_items=NUM_ITEMS, user_T=USER, item_T=ITEM, features={}, present={})


@pytest.mark.parametrize("normalisation", ["symmetric", "row"])
def test_user_item_graph_product_and_gradient_equal_dense(normalisation):
    adjacency = torch.zeros(NUM_USERS + NUM_ITEMS, NUM_USERS + NUM_ITEMS)
    adjacency[USER, NUM_USERS + ITEM] = adjacency[NUM_USERS + ITEM, USER] = 1
    looped = adjacency + torch.eye(len(adjacency))
    by_row = looped / looped.sum(1, keepdim=True)
    symmetric = torch.from_numpy(reference.symmetric_normalised(adjacency.double().numpy())).float()
    dense = by_row if normalisation == "row" else symmetric
    node, weight = torch.randn(len(dense), 3, requires_grad=True), torch.randn(len(dense), 3)
    product = UserItemGraph(DATA, normalisation) @ node
    torch.testing.assert_close(product, dense @ node)
    (product * weight).sum().backward()
    torch.testing.assert_close(node.grad, dense.T @ weight)
