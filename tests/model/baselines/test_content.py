"""Content vectors against their formulas, and what content ranks with them: neighbours of several modalities, taste."""

import numpy as np
import pytest
import torch

from model.baselines.neighbours import whitened_knn
from model.baselines.shares import proportions
from model.baselines.taste import content_taste
from model.data import TrainingData
from model.finishing.taste import Taste
from tests import reference

NUM_USERS, NUM_ITEMS, NUM_NEIGHBOURS = 31, 12, 3
WITHOUT_TEXT, WITHOUT_IMAGE, UNTOUCHED = 2, 5, 11
SHARES = {"image": 1.0, "text": 3.0}


@pytest.fixture
def data():
    """Features with a common part, which only centring removes, and one direction stronger than the others."""
    rng = np.random.default_rng(4)
    pairs = np.argwhere(rng.random((NUM_USERS, NUM_ITEMS - 1)) < 0.3)
    features = {
        name: torch.from_numpy(rng.normal(size=(NUM_ITEMS, dim)) * np.linspace(2, 0.3, dim) + 1.5).float()
        for name, dim in (("image", 4), ("text", 6))
    }
    features["text"][WITHOUT_TEXT] = torch.nan  # is to be ignored
    user, item = (torch.from_numpy(side.copy()) for side in pairs.T)
    every = torch.arange(NUM_ITEMS)
    present = {"text": every != WITHOUT_TEXT, "image": every != WITHOUT_IMAGE}
    return TrainingData(
        num_users=NUM_USERS, num_items=NUM_ITEMS, user_T=user, item_T=item, features=features, present=present
    )


def unit(vector):
    length = np.linalg.norm(vector)
    return vector / length if length else vector


def by_hand(data, name, power, dimensions):
    """Item by item, eigenvectors by numpy."""
    present = data.present[name].numpy()
    features = data.features[name].double().numpy()
    mean = features[present].mean(0)
    x = np.stack(
        [unit(row - mean) if here else np.zeros_like(row) for row, here in zip(features, present, strict=True)]
    )
    moment = sum(np.outer(row, row) for row in x) / present.sum()
    values, vectors = np.linalg.eigh(moment)
    leading = np.argsort(-values)[:dimensions]
    scale = np.maximum(values[leading], 1e-6) ** -power
    return np.stack([unit(scale * (vectors[:, leading].T @ row)) for row in x])


@pytest.mark.parametrize(("power", "dimensions"), [(0.0, 4), (0.25, 3), (0.5, 4), (0.5, 99)])
def test_taste_content_has_the_inner_products_of_a_loop(data, power, dimensions):
    for name, content_IK in Taste(data, list(SHARES), dimensions, power).content.items():
        expected = by_hand(data, name, power, dimensions)
        np.testing.assert_allclose(content_IK @ content_IK.T, expected @ expected.T, atol=1e-5)
        absent = {"image": WITHOUT_IMAGE, "text": WITHOUT_TEXT}[name]
        assert not content_IK[absent].any()


def test_taste_content_centred_only_is_turned_at_most(data):
    content_IK = Taste(data, ["text"], None, 0.0).content["text"]
    features, present_I = data.features["text"], data.present["text"]
    expected_PF = torch.nn.functional.normalize(features[present_I] - features[present_I].mean(0), dim=1)
    found_PK = content_IK[present_I]
    torch.testing.assert_close(found_PK @ found_PK.T, expected_PF @ expected_PF.T)


def test_proportions_modality_without_share_is_left_out_and_none_at_all_refused():
    assert proportions({"text": 3.0, "audio": 0.0, "image": 1.0}) == {"image": 0.25, "text": 0.75}
    with pytest.raises(ValueError, match="no modality has a share"):
        proportions({"image": 0.0})


@pytest.mark.parametrize(("power", "dimensions"), [(0.0, None), (0.5, 3)])
def test_whitened_knn_equals_naive_loop_and_scores_untouched_items(data, power, dimensions):
    kept = {name: dimensions or data.features[name].shape[1] for name in SHARES}
    vectors = {name: by_hand(data, name, power, kept[name]) for name in SHARES}
    cosines = {
        name: np.array([[reference.cosine(a, b) for b in vectors[name]] for a in vectors[name]]) for name in SHARES
    }
    similarity = np.maximum(0, 0.25 * cosines["image"] + 0.75 * cosines["text"])
    trained = set(data.item_T.tolist())
    expected = np.zeros((NUM_USERS, NUM_ITEMS))
    for item in range(NUM_ITEMS):
        others = sorted((j for j in trained if j != item), key=lambda j, i=item: -similarity[i, j])[:NUM_NEIGHBOURS]
        for user, other in zip(data.user_T.tolist(), data.item_T.tolist(), strict=True):
            expected[user, item] += similarity[item, other] * (other in others)
    got = whitened_knn(data, SHARES, NUM_NEIGHBOURS, power, dimensions).scores(torch.arange(NUM_USERS)).numpy()
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert got[:, UNTOUCHED].max() > 0


@pytest.mark.parametrize(("power", "dimensions"), [(0.0, None), (0.25, 3)])
def test_content_taste_equals_naive_loop_and_scores_untouched_items(data, power, dimensions):
    expected = np.zeros((NUM_USERS, NUM_ITEMS))
    for name, share in (("image", 0.25), ("text", 0.75)):
        x = by_hand(data, name, power, dimensions or data.features[name].shape[1])
        for user in range(NUM_USERS):
            history = data.item_T[data.user_T == user].numpy()
            expected[user] += share * (x @ unit(x[history].sum(0)))
    got = content_taste(data, SHARES, power, dimensions).scores(torch.arange(NUM_USERS)).numpy()
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert got[:, UNTOUCHED].max() > 0
