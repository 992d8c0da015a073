"""Gradients of a step stay numbers of usual size, whatever finite features come."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.backbones import BACKBONES
from model.config import ModelConfig, ObjectiveConfig
from model.data import LARGEST, SMALLEST
from model.fusion import FUSIONS
from model.micro import Micro
from model.training import Trainer
from tests.model.test_training import FIXED, NUM_ITEMS, config, planted

LARGE = 1e3
"""More than any gradient of these sizes that is no fault: there are a few dozen users and items."""


def largest_gradient(data, **model):
    held_out = planted()[1]
    settings = dataclasses.replace(config(objective=ObjectiveConfig(**FIXED)), max_epochs=1)
    trainer = Trainer(data, held_out, ModelConfig(embedding_dim=8, content_weight=0.4, **model), settings, Micro)
    seen = []
    for parameter in trainer.model.parameters():
        parameter.register_post_accumulate_grad_hook(lambda one: seen.append(one.grad.abs().max()))
    trainer.train_epoch()
    return float(torch.stack(seen).max())


def altered(change):
    data = planted()[0]
    features, present = (
        {name: value.clone() for name, value in side.items()} for side in (data.features, data.present)
    )
    change(features, present)
    return dataclasses.replace(data, features=features, present=present)


def zero_vectors(features, present):
    for name in features:
        features[name][3:6] = 0
        present[name][3:6] = True


def constant(features, present):
    for feature_ID in features.values():
        feature_ID[:] = 1


def constant_columns(features, present):
    for feature_ID in features.values():
        feature_ID[:, 1:] = 5


@pytest.mark.parametrize("change", [zero_vectors, constant, constant_columns])
@pytest.mark.parametrize(
    ("fusion", "backbone"),
    [*((fusion, "lightgcn") for fusion in sorted(FUSIONS)), *(("concat", backbone) for backbone in sorted(BACKBONES))],
)
def test_gradients_of_odd_features_are_of_usual_size(fusion, backbone, change):
    assert largest_gradient(altered(change), fusion=fusion, backbone=backbone) < LARGE


@settings(max_examples=10, deadline=None)
@given(
    lengths=st.lists(st.sampled_from([0.0, 2 * SMALLEST, 1e-5, 1.0, 1e5, LARGEST / 1e3]), min_size=8, max_size=8),
    fusion=st.sampled_from(sorted(FUSIONS)),
)
def test_gradients_of_features_of_any_length_are_finite(lengths, fusion):
    def scale(features, present):
        for feature_ID in features.values():
            feature_ID *= torch.tensor(lengths).repeat(NUM_ITEMS // 8)[:, None]

    assert largest_gradient(altered(scale), fusion=fusion) < float("inf")
