"""Whole items held out, through a run and a comparison, against loops that know nothing of the pipeline."""

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file

import pipeline.experiments.compare.compare
import pipeline.experiments.compare.measure
from model.training import Trainer
from pipeline import stages
from pipeline.columns import TEST, TRAIN, VALIDATION
from pipeline.config.config import load_config
from pipeline.dataset.dataset import load_dataset
from pipeline.experiments.compare.compare import compare
from pipeline.experiments.compare.tracked import FitResult
from pipeline.opening import open_run
from pipeline.progress import Reporter
from pipeline.run import Stage
from pipeline.sample import write_sample
from pipeline.stages.checkpoint import VECTORS
from pipeline.stages.history import read_history
from pipeline.stages.order import do_stages
from tests.reference import full_ranking, ranking_metrics

pytestmark = pytest.mark.integration

SETTINGS = [
    *("split.strategy=cold-items", "split.validation=0.25", "split.test=0.25", "split.seed=5", "train.seed=7"),
    *("train.max_epochs=4", "train.check_every=2", "train.device=cpu", "model.embedding_dim=16"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cold")
    write_sample(folder, num_items=80, num_users=90, seed=1)
    return folder


def begin(folder, run_id, *settings):
    return open_run(load_config(folder / "microrec.toml", [*SETTINGS, *settings]), run_id, Reporter())


def recall_of_untrained(vectors, interactions, part, cutoff, among_all=False):
    """Mean over users; of the items without training interactions, or of all, but those masked, the best."""
    rows = list(interactions.select("user_index", "item_index", "split").iter_rows())
    trained = {item for _, item, split in rows if split == TRAIN}
    masked = {VALIDATION: (TRAIN,), TEST: (TRAIN, VALIDATION)}[part]
    recalls = []
    for user in sorted({user for user, _, split in rows if split == part}):
        relevant = {item for other, item, split in rows if other == user and split == part} - trained
        seen = {item for other, item, split in rows if other == user and split in masked}
        untrained = set(range(len(vectors["item_ID"]))) - trained
        ranked = full_ranking(vectors["user_UD"][user], vectors["item_ID"], seen, None if among_all else untrained)
        recalls += [ranking_metrics(ranked, relevant, cutoff)["recall"]] if relevant else []
    return np.mean(recalls)


def test_run_cold_items_stops_and_reports_by_items_that_training_has_not_seen(folder):
    run = begin(folder, "run", "model.taste_weight=0.0", "model.new_items=map")  # what was measured is released
    do_stages(run, upto=stages.EVALUATE)
    metrics, history = run.require(stages.EVALUATE).metrics, read_history(run)
    vectors, interactions = (
        load_file(run.folder(stages.TRAIN) / VECTORS),
        load_dataset(run.folder(stages.PREPARE)).interactions,
    )
    expected = {part: recall_of_untrained(vectors, interactions, part, 10) for part in (VALIDATION, TEST)}
    assert metrics.validation["recall@10"] == pytest.approx(expected[VALIDATION])
    assert metrics.cold["recall@10"] == pytest.approx(expected[TEST])
    among_all = recall_of_untrained(vectors, interactions, TEST, 10, among_all=True)
    assert metrics.cold_open["recall@10"] == pytest.approx(among_all)
    assert metrics.cold_open["recall@10"] < metrics.cold["recall@10"]
    assert metrics.warm is None
    assert metrics.warm_alone is None
    assert set(metrics.yardsticks) == {"image", "text"}
    assert metrics.yardsticks["text"].cold_open["recall@10"] > 0
    assert 0 <= metrics.new_items["slot_share@20"] <= 1
    assert 0 < metrics.similar_items["same_kind@10"] <= 1
    best = [epoch for epoch in history if epoch.is_best][-1]
    assert best.validation["recall@10"] == pytest.approx(expected[VALIDATION])


@pytest.mark.parametrize(("strategy", "part"), [("random", "test"), ("cold-items", "cold")])
def test_compare_each_seed_is_another_split_and_training_measured_on_its_part(folder, monkeypatch, strategy, part):
    seen, checked = [], []

    def measure(row, data, reporter):
        seen.append(data)
        return pipeline.experiments.compare.measure.measure(row, data, reporter)

    class Remembered(Trainer):
        def __init__(self, data, held_out, *arguments):
            super().__init__(data, held_out, *arguments)
            checked.append((held_out, self.config.seed))

    monkeypatch.setattr(pipeline.experiments.compare.compare, "measure", measure)
    monkeypatch.setattr(pipeline.experiments.compare.measure, "Trainer", Remembered)
    models = 'compare.models=["popularity", "micro"]'
    run = begin(folder, f"compare-{strategy}", f"split.strategy={strategy}", "compare.seeds=2", models)
    result = compare(run)
    assert [data.config.split.seed for data in seen] == [5, 5, 6, 6]
    assert [data.config.train.seed for data in seen] == [7, 7, 8, 8]
    assert [seed for _, seed in checked] == [7, 8]
    first, second = (set(zip(*map(list, map(np.asarray, data.dataset.pairs(TEST))), strict=True)) for data in seen[::2])
    assert first != second
    for data, (held_out, _) in zip(seen[::2], checked, strict=True):
        trained = set(data.dataset.pairs(TRAIN)[1].tolist())
        if part == "cold":
            assert set(held_out.candidate_I.logical_not().nonzero().flatten().tolist()) == trained
        else:
            assert held_out.candidate_I is None
    assert result.part == part
    for row in result.rows:
        fits = [Stage(f"compare/{row['name']}/seed-{seed}", FitResult) for seed in range(2)]
        values = [run.require(fit).metrics[part]["recall@20"] for fit in fits]
        among_all = [run.require(fit).metrics["cold_open"] for fit in fits]
        expected = np.mean([one["recall@20"] for one in among_all]) if part == "cold" else None
        assert row["open recall@20"] == (expected if expected is None else pytest.approx(expected))
        new = [run.require(fit).metrics["new_items"] for fit in fits]
        shares = [one["slot_share@20"] for one in new if one["items"]]
        assert row["slot_share@20"] == (pytest.approx(np.mean(shares)) if len(shares) == 2 else None)
        files = [run.folder(fit) / "per_user.parquet" for fit in fits]
        assert row["recall@20"] == pytest.approx(np.mean(values))
        assert [pl.read_parquet(file)["recall@20"].mean() for file in files] == pytest.approx(values)
