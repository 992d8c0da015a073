import pytest
import torch

from model.data import LARGEST, SMALLEST, TrainingData, mean_of_present


def make(feature_ID, present_I=None):
    feature_ID = torch.as_tensor(feature_ID)
    present_I = torch.ones(len(feature_ID), dtype=torch.bool) if present_I is None else torch.tensor(present_I)
    one_T = torch.zeros(1, dtype=torch.int64)
    return TrainingData(
        num_users=1, num_items=len(feature_ID), user_T=one_T, item_T=one_T,
        features={"text": feature_ID}, present={"text": present_I},
    )  # fmt: skip


@pytest.mark.parametrize("scale", [1e-40, 1e-20, 1e-13, 1e19, 1e30])
def test_training_data_vectors_that_cannot_be_squared_are_refused_with_row_and_mend(scale):
    feature_ID = torch.ones(3, 2)
    feature_ID[1] *= scale
    with pytest.raises(ValueError, match=r"modality text: row 1 has features up to .*scale its vector"):
        make(feature_ID)
    assert make(feature_ID, [True, False, True]).present["text"].tolist() == [True, False, True]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_training_data_features_that_are_not_finite_are_refused_unless_absent(value):
    feature_ID = torch.ones(2, 3)
    feature_ID[0, 1] = value
    with pytest.raises(ValueError, match="modality text: a feature is NaN or infinite"):
        make(feature_ID)
    assert make(feature_ID, [False, True]).present["text"].tolist() == [False, True]


@pytest.mark.parametrize("length", [SMALLEST, 1.0, LARGEST])
def test_training_data_zero_vector_is_an_absent_one(length):
    data = make([[length, 0.0], [0.0, 0.0], [0.0, -length]])
    assert data.present["text"].tolist() == [True, False, True]
    assert data.with_means().present["text"].all() == (length > SMALLEST)


def test_mean_of_present_rounding_errors_are_no_mean():
    feature_ID = torch.tensor([[1e-3, 1.0], [-1e-3, -1.0], [1e-12, 0.0]])
    assert mean_of_present(feature_ID, torch.tensor([True, True, True])).tolist() == [0, 0]
    assert mean_of_present(feature_ID, torch.tensor([True, False, False])).tolist() == feature_ID[0].tolist()
