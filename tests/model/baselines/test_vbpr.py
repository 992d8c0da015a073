import dataclasses
import itertools

import torch

from model.baselines.vbpr import Vbpr
from model.config import ModelConfig, ObjectiveConfig
from model.training import Trainer
from tests.model.test_training import config, planted


def test_vbpr_score_is_interaction_part_plus_content_part():
    data, _, _ = planted()
    model = Vbpr(data, ModelConfig(embedding_dim=8), torch.Generator().manual_seed(0))
    vectors = model()
    image, text = (
        torch.nn.functional.normalize(data.features[name], dim=1) * data.present[name][:, None]
        for name in ("image", "text")
    )
    assert any(not present_I.all() for present_I in data.present.values())
    for user, item in itertools.product(range(3), range(data.num_items)):
        content = model.projection.weight @ torch.cat([image[item], text[item]])
        expected = model.user_embedding_UD[user, :4] @ model.item_embedding_ID[item]
        expected = expected + model.user_embedding_UD[user, 4:] @ content
        torch.testing.assert_close(vectors.user_UD[user] @ vectors.item_ID[item], expected)
    assert vectors.item_ID.shape == (data.num_items, 8)


def test_vbpr_item_without_interactions_is_ranked_by_content_alone():
    data, _, _ = planted()
    kept = data.item_T != 5
    data = dataclasses.replace(data, user_T=data.user_T[kept], item_T=data.item_T[kept])
    model = Vbpr(data, ModelConfig(embedding_dim=8), torch.Generator().manual_seed(0))
    assert model().item_ID[5, :4].any()
    vectors = model.eval()()
    assert not vectors.item_ID[5, :4].any()
    assert torch.equal(vectors.item_ID[5, 4:], vectors.content_ID[5])
    assert vectors.item_ID[6, :4].any()


def test_vbpr_odd_dimension_is_kept():
    data, _, _ = planted()
    assert Vbpr(data, ModelConfig(embedding_dim=5), torch.Generator().manual_seed(0))().item_ID.shape[1] == 5


def test_vbpr_planted_families_are_recovered_by_the_common_trainer():
    data, held_out, _ = planted()
    settings = config(objective=ObjectiveConfig(ranking="bpr", l2=1e-3, l2_exponent=1.0, contrastive_weight=0.0))
    trainer = Trainer(data, held_out, ModelConfig(embedding_dim=16), settings, Vbpr)
    list(trainer.fit())
    assert trainer.best_metric > 0.7  # chance is 20 / 80
