import torch

from model.finishing.distilling import Distillation, distil
from model.finishing.joining import Joining
from model.finishing.taste import Taste
from tests.model.finishing.shop import shop

WEIGHTS = {"noise": 0.2, "text": 1.0}


def made():
    one = shop()
    joining = Joining(one.user_UD, one.item_ID, one.data.trained_items(), Taste(one.data, list(WEIGHTS)))
    return joining, joining.cut(WEIGHTS, 4)


def divergence(joining, cut):
    """KL of the lists' softmax, in the standard deviation of all columns' scores, by a loop over users."""
    user_UJ = joining.users(torch.arange(joining.num_users)) * joining.column_weights(WEIGHTS)
    target_UI = user_UJ @ joining.items(torch.arange(joining.num_items)).T
    found_UI = joining.all_users(cut) @ joining.all_items(cut).T
    total = 0.0
    for target_I, found_I in zip(target_UI / target_UI.std(), found_UI / target_UI.std(), strict=True):
        p, q = target_I.softmax(0), found_I.softmax(0)
        total += float((p * (p / q).log()).sum())
    return total / len(target_UI)


def test_distil_lists_come_nearer_to_those_of_all_columns():
    joining, cut = made()
    assert divergence(joining, distil(joining, cut, WEIGHTS)) < 0.99 * divergence(joining, cut)


def test_distil_twice_is_the_same():
    joining, cut = made()
    first, second = (distil(joining, cut, WEIGHTS, Distillation(steps=5)) for _ in range(2))
    assert torch.equal(first.user_JD, second.user_JD)
    assert torch.equal(first.item_JD, second.item_JD)


def test_distil_leaves_the_cut_that_it_begins_with():
    joining, cut = made()
    before = cut.item_JD.clone()
    assert not torch.equal(distil(joining, cut, WEIGHTS, Distillation(steps=2)).item_JD, before)
    assert torch.equal(cut.item_JD, before)
