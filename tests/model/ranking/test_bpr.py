import math

import pytest
import torch

from model.config import ObjectiveConfig
from model.ranking import make_ranking_loss
from tests.model.ranking.test_softmax import interactions, vectors

PLAIN = ObjectiveConfig(ranking="bpr", l2_exponent=1.0)


def test_bpr_terms_equal_naive_loop():
    data, found = interactions(5), vectors(5)
    loss, generator = make_ranking_loss(data, PLAIN), torch.Generator().manual_seed(0)
    batch = next(iter(loss.batches(16, generator)))
    losses, squares = [], []
    sides = (batch.user_B[batch.row_P], batch.seen_P, batch.unseen_P)
    for user, seen, unseen in zip(*(side.tolist() for side in sides), strict=True):
        u, i, j = found.user_UD[user], found.item_ID[seen], found.item_ID[unseen]
        losses.append(-math.log(1 / (1 + math.exp(-float(u @ i - u @ j)))))
        squares.append(float(u @ u + i @ i + j @ j) / 2)
    got, l2 = loss.terms(found, batch, generator)
    assert got.item() == pytest.approx(sum(losses) / 16)
    assert l2.item() == pytest.approx(sum(squares) / 16)
