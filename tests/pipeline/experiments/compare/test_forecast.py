"""What a row takes is told before; one that needs more memory than there is is skipped, and says so in the table."""

import dataclasses

import polars as pl
import pytest

import pipeline.experiments.compare.compare as compare_module
from pipeline.config.config import load_config
from pipeline.experiments.compare.compare import Waiting, compare
from pipeline.experiments.compare.contestants import contestants
from pipeline.experiments.compare.cost import Cost
from pipeline.experiments.compare.forecast import forecast, told, too_large
from pipeline.opening import open_run
from pipeline.progress import Reporter
from pipeline.sample import write_sample
from tests.pipeline.experiments.compare.test_cost import shop

GIB = 1 << 30
SETTINGS = ["compare.seeds=1", "train.max_epochs=2", "train.device=cpu", "model.embedding_dim=8"]


def test_too_large_says_what_is_needed_and_what_is_free_and_nothing_where_nobody_knows():
    assert too_large(Cost(12 * GIB), lambda: 3 * GIB) == "needs about 12.0 GiB of memory, 3.0 GiB are free"
    assert too_large(Cost(3 * GIB), lambda: 3 * GIB) is None
    assert too_large(Cost(12 * GIB), lambda: None) is None


def test_told_names_choices_memory_and_seconds():
    row = contestants([], 8)["ease"]
    assert told(row, Cost(2 * GIB, 40)) == (
        "ease: 3 choices and those that a search adds, about 2.0 GiB of memory, about 40 s a choice"
    )
    assert told(contestants([], 8)["chance"], Cost(0)) == "chance: 1 choice"
    assert told(row, Cost(5 << 20, 0.2)).endswith("about 5 MiB of memory, less than a second a choice")


class Said(Reporter):
    """Remembers what it says."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def say(self, text):
        self.lines.append(text)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forecast")
    write_sample(folder, num_items=40, num_users=60, seed=1)
    return folder


def begin(folder, run_id, models):
    return open_run(load_config(folder / "microrec.toml", [*SETTINGS, f"compare.models={models}"]), run_id, Said())


def test_forecast_of_a_trained_row_grows_with_the_dimension_and_counts_no_features_twice(folder):
    config = load_config(folder / "microrec.toml", SETTINGS)
    row, data = contestants(["text"], 8)["micro"], shop(3000)
    small, large = (
        forecast(row, dataclasses.replace(config, model=dataclasses.replace(config.model, embedding_dim=dim)), data)
        for dim in (8, 512)
    )
    assert large.memory_bytes > small.memory_bytes + 3000 * 500 * 4


@pytest.mark.integration
def test_compare_row_that_is_too_large_stands_in_the_table_with_its_reason(folder, monkeypatch):
    monkeypatch.setattr(
        compare_module, "too_large", lambda cost: None if cost.seconds is None else "needs about 9 GiB, 1 GiB is free"
    )
    run = begin(folder, "skips", '["ease", "item-knn", "popularity"]')
    result = compare(run)
    rows = {row["name"]: row for row in result.rows}
    assert rows["ease"]["skipped"] == "needs about 9 GiB, 1 GiB is free"
    assert rows["ease"]["recall@20"] is None
    assert rows["item-knn"]["skipped"] is None
    assert rows["item-knn"]["recall@20"] > 0
    assert "| ease | skipped: needs about 9 GiB, 1 GiB is free |" in result.markdown
    assert pl.read_parquet(result.parquet)["skipped"].to_list() == ["needs about 9 GiB, 1 GiB is free", None, None]
    monkeypatch.undo()
    again = compare(begin(folder, "skips", '["ease", "item-knn", "popularity"]'))
    assert {row["skipped"] for row in again.rows} == {None}
    assert {row["name"]: row for row in again.rows}["ease"]["recall@20"] > 0


@pytest.mark.integration
def test_compare_measures_what_is_cheap_first_and_tells_before(folder):
    models = ["micro", "ease", "als", "item-knn", "popularity"]
    run = begin(folder, "order", str(models).replace("'", '"'))
    result = compare(run)
    assert [row["name"] for row in result.rows] == models
    told_of = [line.split(":")[0] for line in run.reporter.lines if "choice" in line.split(",")[0]]
    assert told_of == models[::-1]


@pytest.mark.integration
def test_compare_skip_of_one_shard_keeps_the_other_from_waiting(folder, monkeypatch):
    monkeypatch.setattr(compare_module, "too_large", lambda cost: None if cost.seconds is None else "too large")
    models = '["ease", "popularity"]'
    first = compare(begin(folder, "shards", models), shard=(0, 2))
    assert isinstance(first, Waiting)
    assert first.waiting_for == ["popularity, seed 0"]
    second = compare(begin(folder, "shards", models), shard=(1, 2))
    assert [row["skipped"] for row in second.rows] == ["too large", None]
