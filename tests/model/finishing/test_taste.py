"""Content and taste beside scikit-learn's PCA and loops."""

import pytest
import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA

from model.data import TrainingData
from model.finishing.taste import ContentAxes, Taste
from tests.model.finishing.shop import shop


def features(num_items=50, dim=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scale_F = torch.linspace(0.3, 3, dim)
    return torch.randn(num_items, dim, generator=generator) * scale_F, torch.rand(num_items, generator=generator) < 0.8


def test_place_all_axes_is_the_whitening_of_scikit_learn():
    feature_IF, _ = features()
    everything = torch.ones(len(feature_IF), dtype=torch.bool)
    placed_IK = ContentAxes.of(feature_IF, everything).place(feature_IF, everything)
    unit_IF = F.normalize(feature_IF - feature_IF.mean(0), dim=1).double()
    # With every row's opposite the mean is 0, so that scikit-learn takes none away.
    whitening = PCA(whiten=True).fit(torch.cat([unit_IF, -unit_IF]).numpy())
    expected_IK = F.normalize(torch.from_numpy(whitening.transform(unit_IF.numpy())), dim=1)
    torch.testing.assert_close((placed_IK @ placed_IK.T).double(), expected_IK @ expected_IK.T, atol=1e-5, rtol=1e-4)


def test_place_an_item_without_the_modality_is_zero_and_changes_nobody_else():
    feature_IF, present_I = features()
    axes = ContentAxes.of(feature_IF, present_I)
    other_IF = torch.where(present_I[:, None], feature_IF, 1e6)
    placed_IK = ContentAxes.of(other_IF, present_I).place(other_IF, present_I)
    assert not placed_IK[~present_I].any()
    torch.testing.assert_close(placed_IK, axes.place(feature_IF, present_I))
    torch.testing.assert_close(placed_IK[present_I].norm(dim=1), torch.ones(int(present_I.sum())))


def test_place_fewer_columns_are_the_leading_ones():
    feature_IF, present_I = features()
    few, all_ = (ContentAxes.of(feature_IF, present_I, count) for count in (3, 7))
    assert few.axis_FK.shape == (7, 3)
    torch.testing.assert_close(few.axis_FK, all_.axis_FK[:, :3])


@pytest.mark.parametrize("feature_IF", [torch.full((7, 3), 0.1), torch.zeros(5, 3), torch.ones(1, 3)])
def test_place_content_that_tells_no_items_apart_is_zero(feature_IF):
    everything = torch.ones(len(feature_IF), dtype=torch.bool)
    assert not ContentAxes.of(feature_IF, everything).place(feature_IF, everything).any()


def test_place_no_item_has_the_modality_is_zero():
    nothing = torch.zeros(4, dtype=torch.bool)
    assert not ContentAxes.of(torch.ones(4, 3), nothing).place(torch.ones(4, 3), nothing).any()


def test_of_users_is_the_mean_direction_of_what_a_user_has():
    data = shop().data
    taste = Taste(data, ["noise", "text"])
    user_B = torch.tensor([7, 0])
    for found_BK, content_IK in zip(taste.of_users(user_B), taste.content.values(), strict=True):
        for row, user in enumerate(user_B):
            total_K = sum(content_IK[item] for item in data.item_T[data.user_T == user])
            torch.testing.assert_close(found_BK[row], total_K / total_K.norm())


def test_of_users_without_interactions_or_content_is_zero():
    present = {"text": torch.tensor([True, True, False])}
    features = {"text": torch.tensor([[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]])}
    data = TrainingData(
        num_users=3, num_items=3, user_T=torch.tensor([0, 1]), item_T=torch.tensor([0, 2]),
        features=features, present=present,
    )  # fmt: skip
    (taste_UK,) = Taste(data, ["text"]).of_users(torch.arange(3))
    assert taste_UK[0].any()
    assert not taste_UK[1:].any()
