import math

import pytest
import torch

from model.evaluation import InnerProduct, Pairs, rank_items
from model.paper_protocol import paper_metrics


def test_paper_metrics_ndcgs_ideal_is_built_from_the_hits_found():
    """Relevant are items 1, 3 and 4; the list of three holds 0, 1, 2: one hit in second place."""
    scorer = InnerProduct(torch.ones(1, 1), torch.tensor([[5.0], [4.0], [3.0], [2.0], [1.0]]))
    relevant = Pairs(torch.tensor([0, 0, 0]), torch.tensor([1, 3, 4]), 1, 5)
    found = paper_metrics(rank_items(scorer, torch.tensor([0]), [], 3), relevant, [3])
    assert found["ndcg@3"] == pytest.approx((1 / math.log2(3)) / 1)  # the standard ideal would be 1 + 1/log2(3) + 1/2
    assert found["standard_ndcg@3"] == pytest.approx((1 / math.log2(3)) / (1 + 1 / math.log2(3) + 1 / 2))
    assert found["recall@3"] == pytest.approx(1 / 3)
    assert found["precision@3"] == pytest.approx(1 / 3)


def test_paper_metrics_list_without_hit_counts_as_zero():
    scorer = InnerProduct(torch.ones(1, 1), torch.tensor([[3.0], [2.0], [1.0]]))
    relevant = Pairs(torch.tensor([0]), torch.tensor([2]), 1, 3)
    assert paper_metrics(rank_items(scorer, torch.tensor([0]), [], 2), relevant, [2])["ndcg@2"] == 0
