"""The cut beside numpy's singular value decomposition of all scores."""

import pytest
import torch

from model.finishing.joining import Joining
from model.finishing.taste import Taste
from tests.model.finishing.shop import shop

WEIGHTS = {"noise": 0.3, "text": 0.7}


@pytest.fixture(scope="module")
def joining():
    made = shop()
    return Joining(made.user_UD, made.item_ID, made.data.trained_items(), Taste(made.data, list(WEIGHTS)))


def all_scores(joining, weights):
    """By the definition: u.i + s * sum of b (p.x)."""
    made = shop()
    taste = Taste(made.data, list(weights))
    trained_I = made.data.trained_items()
    length = made.user_UD.norm(dim=1).mean() * made.item_ID[trained_I].norm(dim=1).mean()
    scores_UI = made.user_UD @ made.item_ID.T
    for taste_UK, (name, content_IK) in zip(
        taste.of_users(torch.arange(len(made.user_UD))), taste.content.items(), strict=True
    ):
        scores_UI += length * weights[name] * taste_UK @ content_IK.T
    return scores_UI


def test_cut_of_enough_columns_has_the_scores_of_all(joining):
    cut = joining.cut(WEIGHTS, sum(joining.widths))
    found_UI = joining.all_users(cut) @ joining.all_items(cut).T
    torch.testing.assert_close(found_UI, all_scores(joining, WEIGHTS), atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("dim", [1, 4, 8])
def test_cut_is_the_nearest_of_its_rank(joining, dim):
    cut = joining.cut(WEIGHTS, dim)
    found_UI = joining.all_users(cut) @ joining.all_items(cut).T
    left, strength, right = torch.linalg.svd(all_scores(joining, WEIGHTS).double(), full_matrices=False)
    nearest_UI = (left[:, :dim] * strength[:dim]) @ right[:dim]
    torch.testing.assert_close(found_UI.double(), nearest_UI, atol=2e-4, rtol=1e-4)


def test_cut_more_columns_than_there_are_is_filled_with_zeros(joining):
    cut = joining.cut(WEIGHTS, 40)
    assert joining.all_items(cut).shape[1] == 40
    assert not joining.all_items(cut)[:, sum(joining.widths) :].any()


def test_cut_without_weights_leaves_the_model_as_it_is(joining):
    cut = joining.cut(dict.fromkeys(WEIGHTS, 0.0), 8)
    assert torch.equal(joining.all_items(cut), shop().item_ID)
    assert torch.equal(joining.all_users(cut), shop().user_UD)


def test_cut_twice_is_the_same(joining):
    first, second = joining.cut(WEIGHTS, 8), joining.cut(WEIGHTS, 8)
    assert torch.equal(first.user_JD, second.user_JD)
    assert torch.equal(first.item_JD, second.item_JD)


def test_content_alone_has_none_of_the_model(joining):
    cut = joining.content_alone({"noise": 0.0, "text": 1.0})
    found_UI = joining.all_users(cut) @ joining.all_items(cut).T
    taste = Taste(shop().data, ["text"])
    expected_UI = joining.scale * taste.of_users(torch.arange(300))[0] @ taste.content["text"].T
    torch.testing.assert_close(found_UI, expected_UI, atol=1e-5, rtol=1e-4)
