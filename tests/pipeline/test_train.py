import io

import polars as pl
import pytest
import torch
from rich.console import Console

import pipeline.train
from pipeline.config import compose
from pipeline.dataset import Dataset
from pipeline.errors import ConfigError
from pipeline.progress import Reporter
from pipeline.run import Run
from pipeline.train import check_memory


@pytest.fixture
def dataset():
    interactions = pl.DataFrame({"user_index": [0, 1, 2], "item_index": [0, 1, 2], "split": ["train"] * 3})
    return Dataset(
        items=pl.DataFrame({"item_id": ["a", "b", "c"]}),
        users=pl.DataFrame({"user_id": ["u", "v", "w"]}),
        interactions=interactions,
        features={"text": torch.ones(3, 8).numpy()},
        present={"text": torch.ones(3, dtype=torch.bool).numpy()},
    )


@pytest.fixture
def run(tmp_path):
    document = {"catalogue": {"items": "i", "interactions": ["x"]}, "train": {"device": "cpu"}}
    config = compose(document, base=tmp_path)
    return Run("x", config, config.open_store(), Reporter(Console(file=io.StringIO(), width=400)))


def test_check_memory_enough_says_the_prediction_and_its_parts(run, dataset):
    predicted = check_memory(run, dataset)
    assert predicted > pipeline.train.resident_memory_bytes() / 2
    log = run.reporter.console.file.getvalue()
    assert "predicted peak" in log
    assert "item graphs" in log


def test_check_memory_too_little_is_refused_with_the_reason(run, dataset, monkeypatch):
    monkeypatch.setattr(pipeline.train, "free_memory_bytes", lambda: 1000)
    with pytest.raises(
        ConfigError, match=r"train: needs .*parameters.*only 0\.00 GiB are free; lower model\.embedding_dim"
    ):
        check_memory(run, dataset)


def test_check_memory_free_memory_unknown_is_no_reason_to_refuse(run, dataset, monkeypatch):
    monkeypatch.setattr(pipeline.train, "free_memory_bytes", lambda: None)
    assert check_memory(run, dataset) > 0
