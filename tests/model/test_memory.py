import dataclasses

import pytest
import torch

from model.config import ModelConfig, ObjectiveConfig, TrainConfig
from model.data import TrainingData
from model.memory import GAPS, predicted_peak


def counts(num_users, num_items, num_pairs, **dims):
    """Data of these counts; meta tensors take no memory."""
    pairs = torch.empty(num_pairs, dtype=torch.int64, device="meta")
    data = object.__new__(TrainingData)
    values = {
        "num_users": num_users, "num_items": num_items, "user_T": pairs, "item_T": pairs,
        "features": {name: torch.empty(num_items, dim, device="meta") for name, dim in dims.items()}, "present": {},
    }  # fmt: skip
    for name, value in values.items():
        object.__setattr__(data, name, value)
    return data


def test_predicted_peak_twice_the_data_about_twice_the_memory():
    small, large = (
        predicted_peak(counts(n, n, 10 * n, text=64), ModelConfig(), TrainConfig()).total for n in (10**6, 2 * 10**6)
    )
    assert large / small == pytest.approx(2, rel=0.05)


def test_predicted_peak_counts_parameters_and_chosen_modalities():
    data = counts(1000, 500, 5000, image=4096, text=1024)
    both = predicted_peak(data, ModelConfig(), TrainConfig())
    text = predicted_peak(data, ModelConfig(modalities=("text",)), TrainConfig())
    assert both.parts["features"] == 500 * 5120 * 4
    assert text.parts["features"] == 500 * 1024 * 4
    none = predicted_peak(data, ModelConfig(modalities=()), TrainConfig())
    assert none.parts["parameters"] >= 5 * 4 * 1500 * 64


def test_predicted_peak_million_items_fits_in_sixteen_gib():
    data = counts(10**6, 10**6, 10**7, content=64)
    prediction = predicted_peak(data, ModelConfig(), dataclasses.replace(TrainConfig(), batch_size=65_536))
    assert prediction.total < 16 * 2**30
    assert "propagation" in str(prediction)


def test_predicted_peak_of_each_process_what_has_columns_is_divided_and_the_rest_is_not():
    data = counts(10**6, 10**6, 10**7, content=64)
    model = ModelConfig(backbone="ngcf")
    whole, share = (predicted_peak(data, model, TrainConfig(), processes).parts for processes in (1, 4))
    for name in ("parameters", "propagation", "content"):
        assert share[name] == pytest.approx(whole[name] / 4, rel=0.01)
    for name in ("interactions", "features", "user-item graph", "item graphs"):
        assert share[name] == whole[name]


def test_predicted_peak_squares_take_the_items_once_more_and_their_gradients():
    data = counts(10**6, 10**6, 10**7, content=64)
    losses = (TrainConfig(objective=ObjectiveConfig(ranking=ranking)) for ranking in ("softmax", "squares"))
    softmax, squared = (predicted_peak(data, ModelConfig(), config).total for config in losses)
    assert squared - softmax == GAPS * 3 * 10**6 * 64 * 4
