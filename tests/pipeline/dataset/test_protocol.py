"""Who is masked, who competes: on one user, six items and known scores."""

import numpy as np
import polars as pl
import pytest
import torch

from model.evaluation import InnerProduct
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.protocol import EvaluationProtocol
from pipeline.dataset.split import SplitConfig

# Item: 0 train, 1 validation, 2 test, 3 nobody's, 4 test, 5 train by user 1 alone. Best score first.
ROWS = [(0, 0, "train"), (0, 1, "validation"), (0, 2, "test"), (0, 4, "test"), (1, 5, "train"), (1, 2, "train")]


@pytest.fixture
def dataset():
    user, item, split = zip(*ROWS, strict=True)
    return Dataset(
        items=pl.DataFrame({"item_id": [f"i{n}" for n in range(6)]}),
        users=pl.DataFrame({"user_id": ["u0", "u1"]}),
        interactions=pl.DataFrame({"user_index": user, "item_index": item, "split": split}),
        features={"text": np.ones((6, 2), dtype=np.float32)},
        present={"text": np.array([True, True, False, True, True, True])},
    )


SCORER = InnerProduct(torch.ones(2, 1), torch.tensor([[6.0], [5.0], [4.0], [3.0], [2.0], [1.0]]))


def lists(monkeypatch, protocol, measure):
    """The ranking that a measurement was computed from."""
    found = []
    rank = protocol._rank
    monkeypatch.setattr(protocol, "_rank", lambda *arguments: found.append(rank(*arguments)) or found[-1])
    measure(SCORER)
    return [item for item in found[0].item_QK[0].tolist() if item >= 0]


def test_validation_masks_training_alone(dataset, monkeypatch):
    protocol = EvaluationProtocol(dataset, SplitConfig())
    assert lists(monkeypatch, protocol, protocol.validation) == [1, 2, 3, 4, 5]


def test_test_masks_training_and_validation(dataset, monkeypatch):
    protocol = EvaluationProtocol(dataset, SplitConfig())
    assert lists(monkeypatch, protocol, protocol.test) == [2, 3, 4, 5]


def test_paper_leaves_validation_items_in(dataset, monkeypatch):
    protocol = EvaluationProtocol(dataset, SplitConfig())
    assert lists(monkeypatch, protocol, protocol.paper) == [1, 2, 3, 4, 5]


def test_paper_has_the_authors_ndcg_and_the_standard_one():
    """Item n stands in place n; of the two relevant ones the first ten places hold item 2 alone."""
    rows = [(0, 0, "train"), (0, 1, "validation"), (0, 2, "test"), (0, 30, "test")]
    user, item, split = zip(*rows, strict=True)
    dataset = Dataset(
        items=pl.DataFrame({"item_id": [f"i{n:02}" for n in range(40)]}),
        users=pl.DataFrame({"user_id": ["u0"]}),
        interactions=pl.DataFrame({"user_index": user, "item_index": item, "split": split}),
        features={},
        present={},
    )
    scorer = InnerProduct(torch.ones(1, 1), torch.arange(40.0, 0, -1)[:, None])
    found = EvaluationProtocol(dataset, SplitConfig()).paper(scorer)
    gain = 1 / np.log2(3)
    assert found["ndcg@10"] == pytest.approx(gain)
    assert found["standard_ndcg@10"] == pytest.approx(gain / (1 + gain))
    assert found["recall@10"] == 0.5


def test_cold_only_items_without_training_compete_and_count(dataset, monkeypatch):
    """Item 2 is relevant but trained by the other user; 1 is masked; 3 and 4 compete, 4 is relevant."""
    protocol = EvaluationProtocol(dataset, SplitConfig())
    assert lists(monkeypatch, protocol, protocol.cold) == [3, 4]
    assert protocol.cold(SCORER)["recall@10"] == 1.0


def test_validation_of_whole_items_held_out_ranks_untrained_items_alone(dataset, monkeypatch):
    protocol = EvaluationProtocol(dataset, SplitConfig(strategy="cold-items"))
    assert lists(monkeypatch, protocol, protocol.validation) == [1, 3, 4]


def test_slices_count_relevant_items_of_the_slice_with_all_competing(dataset):
    slices = EvaluationProtocol(dataset, SplitConfig()).slices(SCORER)
    assert slices["items without text"]["users"] == 1
    assert slices["items without text"]["recall@10"] == 1.0  # item 2
    assert slices["cold items"]["ndcg@10"] == pytest.approx(1 / np.log2(4))  # item 4, third behind 2 and 3
    assert slices["users with fewer than 10 interactions"]["users"] == 1


def test_per_user_metrics_are_those_of_the_mean(dataset):
    protocol = EvaluationProtocol(dataset, SplitConfig())
    user, metrics = protocol.test_per_user(SCORER)
    assert user.tolist() == [0]
    assert metrics["recall@20"].mean().item() == protocol.test(SCORER)["recall@20"]
