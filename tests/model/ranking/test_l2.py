import pytest
import torch

from model.config import ObjectiveConfig
from model.ranking import make_ranking_loss
from tests.model.ranking.test_softmax import interactions, vectors


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", ["softmax", "squares"])
def test_l2_epoch_counts_every_vector_by_a_power_of_its_interactions(name, exponent):
    data, found = interactions(3), vectors(3)
    config = ObjectiveConfig(ranking=name, l2_exponent=exponent)
    loss, generator = make_ranking_loss(data, config), torch.Generator().manual_seed(0)
    batches = list(loss.batches(16, generator))
    assert len(batches) > 1
    measured = sum(loss.terms(found, batch, generator)[1].item() * len(batch.item_P) for batch in batches)
    expected = 0.0
    for index_T, vector_D in ((data.user_T, found.user_UD), (data.item_T, found.item_ID)):
        for index in set(index_T.tolist()):
            times = index_T.tolist().count(index)
            expected += 0.5 * times**exponent * float(vector_D[index] @ vector_D[index])
    assert measured == pytest.approx(expected)


def test_l2_bpr_scales_each_of_the_three_vectors_by_its_own_interactions():
    data, found = interactions(3), vectors(3)
    config = ObjectiveConfig(ranking="bpr", l2_exponent=0.5)
    loss, generator = make_ranking_loss(data, config), torch.Generator().manual_seed(0)
    batch = next(loss.batches(16, generator))
    expected = 0.0
    for row, seen, unseen in zip(batch.row_P.tolist(), batch.seen_P.tolist(), batch.unseen_P.tolist(), strict=True):
        user = int(batch.user_B[row])
        vectors_of_three = (found.user_UD[user], found.item_ID[seen], found.item_ID[unseen])
        times = (data.user_T.tolist().count(user), *(data.item_T.tolist().count(item) for item in (seen, unseen)))
        expected += sum(0.5 * float(v @ v) / n**0.5 for v, n in zip(vectors_of_three, times, strict=True))
    assert loss.terms(found, batch, generator)[1].item() == pytest.approx(expected / 16)
