"""The content map beside scikit-learn's ridge regression, and what it must not do."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge, RidgeCV

from model.config import ModelConfig
from model.content_map import PENALTIES, ContentMap, content_rows
from model.micro import Micro
from model.training import Trainer
from tests.model.test_training import config, planted

NUM_ITEMS = 60


def catalogue(noise=0.3, seed=0):
    """Vectors that follow from text but not from pictures; a tenth of the items lack one of them."""
    generator = torch.Generator().manual_seed(seed)
    features = {name: torch.randn(NUM_ITEMS, 7, generator=generator) for name in ("image", "text")}
    present = {name: torch.rand(NUM_ITEMS, generator=generator) < 0.9 for name in features}
    weight = torch.randn(7, 4, generator=generator)
    direction = torch.nn.functional.normalize(features["text"], dim=1) * present["text"][:, None]
    return features, present, direction @ weight + noise * torch.randn(NUM_ITEMS, 4, generator=generator)


def rows(features, present):
    return content_rows([(features[name], present[name]) for name in features])


def test_fit_is_the_ridge_regression_of_scikit_learn():
    features, present, vectors = catalogue()
    trained = torch.arange(NUM_ITEMS) < 50
    found = ContentMap(features, present, trained).fit(vectors)
    content = rows(features, present)[trained].double().numpy()
    target = vectors[trained].double().numpy()
    fits = [Ridge(alpha=penalty, fit_intercept=False).fit(content, target).coef_.T for penalty in PENALTIES]
    distance = [np.abs(fit - found.numpy()).max() for fit in fits]
    assert min(distance) < 1e-4
    chosen = PENALTIES[int(np.argmin(distance))]
    # Leave-one-out, which generalised cross-validation stands for, wants a penalty like it.
    left_out = RidgeCV(alphas=PENALTIES, fit_intercept=False).fit(content, target).alpha_
    assert left_out / 4 < chosen < left_out * 4


@pytest.mark.parametrize(("noise", "least", "most"), [(0.01, 0, 0.2), (30.0, 10, np.inf)])
def test_fit_shrinks_as_content_tells_less(noise, least, most):
    features, present, vectors = catalogue(noise)
    found = ContentMap(features, present, torch.ones(NUM_ITEMS, dtype=torch.bool)).fit(vectors)
    content = rows(features, present).double().numpy()
    penalties = [
        penalty
        for penalty in PENALTIES
        if np.abs(
            Ridge(alpha=penalty, fit_intercept=False).fit(content, vectors.double()).coef_.T - found.numpy()
        ).max()
        < 1e-3 * max(1, noise)
    ]
    assert penalties
    assert least <= penalties[0] <= most


def test_fit_smaller_blocks_same_map():
    features, present, vectors = catalogue()
    everything = torch.ones(NUM_ITEMS, dtype=torch.bool)
    whole = ContentMap(features, present, everything)
    map_CD = whole.fit(vectors)
    blocks = ContentMap(features, present, everything, block_elements=7 * 16)
    torch.testing.assert_close(blocks.fit(vectors), map_CD)
    torch.testing.assert_close(blocks.apply(map_CD, torch.arange(40)), whole.apply(map_CD, torch.arange(40)))


def test_fit_does_not_look_at_untrained_items():
    features, present, vectors = catalogue()
    trained = torch.arange(NUM_ITEMS) < 50
    before = ContentMap(features, present, trained).fit(vectors)
    vectors[50:] = 1e6
    features["text"][50:] = -3.0
    assert torch.equal(ContentMap(features, present, trained).fit(vectors), before)


def test_content_rows_absent_or_odd_content_is_zero():
    feature = torch.tensor([[3.0, 4.0], [torch.nan, 1.0], [0.0, 0.0]])
    found = content_rows([(feature, torch.tensor([True, False, True]))])
    torch.testing.assert_close(found, torch.tensor([[0.6, 0.8, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))


def test_model_ranks_untouched_items_by_their_content():
    """Items 70 to 79 have no interaction: their family's users must find those of their family among the ten."""
    data, held_out, family = planted()
    trainer = Trainer(data, held_out, ModelConfig(embedding_dim=16), config(), Micro)
    list(trainer.fit())
    vectors = trainer.best_vectors()
    new = torch.tensor([i for i in range(70, 80) if data.present["image"][i] or data.present["text"][i]])
    score = vectors.user_UD @ vectors.item_ID[new].T
    hits = family[new[score.argmax(1)]] == np.arange(len(score)) % 4
    assert hits.mean() > 0.9  # by chance a quarter


def test_model_training_mode_leaves_untouched_items_to_the_graphs():
    data, _, _ = planted()
    model_ = Micro(data, ModelConfig(embedding_dim=8), torch.Generator().manual_seed(0))
    trained, evaluated = model_.train()().item_ID, model_.eval()().item_ID
    by_graphs = Micro(data, ModelConfig(embedding_dim=8, new_items="graphs"), torch.Generator().manual_seed(0)).eval()
    assert torch.equal(by_graphs().item_ID, trained)
    assert torch.equal(trained[model_.trained_I], evaluated[model_.trained_I])
    assert not torch.isclose(trained[~model_.trained_I], evaluated[~model_.trained_I]).all(1).any()
