"""A whole comparison on a small sample."""

import dataclasses
import json
import math
import re
import tomllib
import weakref
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import pipeline.experiments.compare.compare
import pipeline.experiments.compare.measure
from model.divergence import DivergedError
from model.evaluation import InnerProduct
from pipeline.config.config import load_config
from pipeline.dataset.protocol import EvaluationProtocol
from pipeline.dataset.split import split_interactions
from pipeline.documents import flatten
from pipeline.errors import InputError
from pipeline.experiments.compare.contestant import Contestant
from pipeline.experiments.compare.contestants import choose_contestants, contestants
from pipeline.experiments.compare.measure import SeedData, measure
from pipeline.experiments.compare.settings import PAPER
from pipeline.opening import open_run
from pipeline.progress import Reporter
from pipeline.sample import write_sample
from pipeline.stages.prepare import assemble
from tests.commands import microrec

ROOT = Path(__file__).resolve().parents[4]
MODELS = ["chance", "popularity", "ease", "als", "vbpr", "lightgcn-softmax", "micro"]


def compare(folder, *arguments, models=MODELS, run_id="c"):
    settings = {
        "compare.models": json.dumps(models),
        "compare.seeds": 2,
        "train.max_epochs": 4,
        "train.check_every": 2,
        "train.device": "cpu",
        "model.embedding_dim": 16,
    }
    overrides = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    command = ("compare", "--json", "--run-id", run_id, "-c", folder / "microrec.toml")
    return microrec(*command, *overrides, *arguments)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    write_sample(folder, num_items=60, num_users=90, seed=1)
    return folder


@pytest.mark.integration
def test_compare_shards_then_table_then_nothing_twice(folder):
    first = compare(folder, "--shard", "0/2")
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout)["waiting_for"] == [f"{name}, seed 1" for name in MODELS]
    second = compare(folder, "--shard", "1/2")
    assert second.returncode == 0, second.stderr
    result = json.loads(second.stdout)
    rows = {row["name"]: row for row in result["rows"]}
    assert list(rows) == MODELS
    assert rows["chance"]["recall@20"] < rows["ease"]["recall@20"]
    assert rows["ease"]["seeds"] == 2
    table = pl.read_parquet(result["parquet"])
    assert table["name"].to_list() == MODELS
    assert Path(result["table"]).read_text() == result["markdown"]
    again = compare(folder)
    assert json.loads(again.stdout)["rows"] == result["rows"]
    assert "compare/micro/seed-0: " not in again.stderr
    children = mlflow_children(folder)
    assert len(children) == 2 * len(MODELS)
    assert all("test/recall_at_20" in child.data.metrics for child in children)


def mlflow_children(folder, run_id="c"):
    tracking = load_config(folder / "microrec.toml").open_tracking()
    parent = tracking.start_run(run_id)
    return tracking._client.search_runs(
        [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    )


def test_compare_unknown_model_names_the_nearest(folder):
    done = compare(folder, models=["eease"], run_id="d")
    assert done.returncode == 2
    assert "the nearest known one is 'ease'" in done.stderr
    assert not (folder / "microrec-store/runs/d").exists()


def test_contestants_paper_settings_are_those_of_the_configuration_file(folder):
    document = tomllib.loads((ROOT / "configs" / "paper.toml").read_text())
    written = flatten({name: document[name] for name in ("model", "train")})
    assert written == dict(PAPER)
    read, default = load_config(ROOT / "configs" / "paper.toml"), load_config(folder / "microrec.toml")
    assert (read.model, read.train) == (default.with_values(PAPER).model, default.with_values(PAPER).train)


def test_contestants_one_modality_has_no_single_modality_ablation():
    assert "micro, only-text" in contestants(["image", "text"], 8)
    assert "micro, only-text" not in contestants(["text"], 8)


class Remembering(EvaluationProtocol):
    """Remembers which scorers were measured on test."""

    def __init__(self, dataset, split):
        super().__init__(dataset, split)
        self.tested = []

    def open_contest(self, scorer, most_users=None):
        self.tested.append(scorer)
        return super().open_contest(scorer, most_users)


def seed_data(folder, **split):
    """Sixty items, of which each of ten users likes ten, split at random."""
    rng = np.random.default_rng(0)
    liked = [(f"u{user}", f"i{item:02}") for user in range(10) for item in rng.choice(60, 10, replace=False)]
    items = pl.DataFrame({"item_id": [f"i{item:02}" for item in range(60)]})
    interactions = pl.DataFrame(liked, schema=["user_id", "item_id"], orient="row").sort("user_id", "item_id")
    config = load_config(folder / "microrec.toml", [f"split.{key}={value}" for key, value in split.items()])
    dataset = assemble(items, split_interactions(interactions, config.split), {})
    return SeedData(config, dataset, Remembering(dataset, config.split))


def test_measure_chooses_on_validation_and_tests_the_choice_alone(folder):
    data = seed_data(folder)

    def oracle(training, seed, part):
        """Scores exactly the interactions of one part highest."""
        liked_IU = torch.zeros(training.num_items, training.num_users)
        user_P, item_P = data.dataset.pairs(part)
        liked_IU[item_P, user_P] = 1
        return InnerProduct(torch.eye(training.num_users), liked_IU)

    choices = tuple({"part": part} for part in ("test", "validation", "train"))
    measured = measure(Contestant(name="x", group="baseline", fit=oracle, choices=choices), data, Reporter())
    assert measured.settings == {"part": "validation"}
    assert measured.metrics["validation"]["recall@20"] == 1
    assert measured.metrics["test"]["recall@20"] < 1
    (tested,) = data.protocol.tested
    assert data.protocol.validation(tested)["recall@20"] == 1
    assert measured.per_user["recall@20"].mean() == pytest.approx(measured.metrics["test"]["recall@20"])


def test_measure_choice_that_diverges_is_left_out_and_all_of_them_refused(folder):
    data = seed_data(folder)
    settings = {"train.max_epochs": 5, "train.device": "cpu", "model.modalities": (), "model.embedding_dim": 8}
    choices = ({"train.learning_rate": 1e30}, {"train.learning_rate": 1e-2})
    row = Contestant(name="x", group="baseline", settings=settings, choices=choices)
    measured = measure(row, data, Reporter())
    assert measured.settings == choices[1]
    diverged, kept = (measured.tried[json.dumps(choice)] for choice in choices)
    assert (diverged, kept) == (None, measured.metrics["validation"]["recall@20"])
    with pytest.raises(DivergedError, match="x diverges with every choice of its settings"):
        measure(dataclasses.replace(row, choices=choices[:1]), data, Reporter())


def test_measure_choice_without_a_solution_is_left_out(folder):
    """With an L2 of 0, items without interactions leave EASE's matrix singular."""
    row = contestants([], 8)["ease"]
    row = dataclasses.replace(row, choices=({"l2": 0.0}, {"l2": 10.0}), steps={})
    measured = measure(row, seed_data(folder), Reporter())
    assert measured.settings == {"l2": 10.0}
    assert measured.tried['{"l2": 0.0}'] is None


def finds(data, found):
    """A scorer that has so many of the validation interactions above everything else, the others below."""
    liked_IU = torch.zeros(60, 10)
    user_P, item_P = data.dataset.pairs("validation")
    liked_IU[item_P, user_P] = -1
    liked_IU[item_P[:found], user_P[:found]] = 1
    return InnerProduct(torch.eye(10), liked_IU)


def searched(fit, choices):
    return Contestant(name="x", group="baseline", fit=fit, choices=choices, steps={"l2": 2.0})


def test_measure_searches_on_from_the_best_choice_and_ends_inside_of_what_was_tried(folder):
    data = seed_data(folder)

    def fit(training, seed, l2):
        """Finds the more the nearer its l2 is to 37."""
        return finds(data, round(10 / (1 + abs(math.log(l2 / 37)))))

    measured = measure(searched(fit, ({"l2": 1.0}, {"l2": 4.0})), data, Reporter())
    assert measured.settings == {"l2": 32.0}
    assert [json.loads(choice)["l2"] for choice in measured.tried] == [1.0, 4.0, 8.0, 16.0, 32.0, 64.0]
    assert measured.edges == []
    (tested,) = data.protocol.tested
    assert data.protocol.validation(tested)["recall@20"] == max(measured.tried.values())


def test_measure_search_that_finds_no_end_stops_and_names_the_edge(folder, monkeypatch):
    data, said = seed_data(folder), []
    monkeypatch.setattr(pipeline.experiments.compare.measure, "MOST_FURTHER", 5)

    class Said(Reporter):
        def say(self, text):
            said.append(text)

    def fit(training, seed, l2):
        """Finds the more the larger its l2 is."""
        return finds(data, 1 + round(math.log2(l2)))

    measured = measure(searched(fit, ({"l2": 1.0},)), data, Said())
    assert [json.loads(choice)["l2"] for choice in measured.tried] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    assert measured.edges == ["l2 = 32 (highest)"]
    assert [line.split(", fitted")[0] for line in said[:2]] == [
        "x with {'l2': 1.0}: validation recall@20 0.1000",
        "x with {'l2': 2.0}: validation recall@20 0.2000",
    ]
    assert said[6:] == ["x: the best choice is at the edge of what was tried: l2 = 32 (highest)"]


def test_measure_keeps_no_scorer_but_the_best_while_it_fits_another(folder):
    data, scorers, alive = seed_data(folder), [], []

    def fit(training, seed, quality):
        alive.append(sum(scorer() is not None for scorer in scorers))
        liked_IU = torch.zeros(training.num_items, training.num_users)
        user_P, item_P = data.dataset.pairs("validation")
        liked_IU[item_P[:quality], user_P[:quality]] = 1
        scorer = InnerProduct(torch.eye(training.num_users), liked_IU)
        scorers.append(weakref.ref(scorer))
        return scorer

    choices = tuple({"quality": quality} for quality in (3, 1, 2, 8, 0))
    measured = measure(Contestant(name="x", group="baseline", fit=fit, choices=choices), data, Reporter())
    assert measured.settings == {"quality": 8}
    assert alive == [0, 1, 1, 1, 1]


def test_choose_contestants_without_content_none_needs_it_and_none_stands_twice(folder):
    config = load_config(folder / "microrec.toml", ["model.modalities=[]"])
    names = [row.name for row in choose_contestants(config)]
    assert {"ease", "lightgcn", "micro", "micro, backbone-mf"} < set(names)
    assert not {"vbpr", "lattice", "freedom", "mgcn", "micro, no-contrast", "micro, fusion-mean"} & set(names)
    assert not [name for name in names if name.startswith("content-")]
    twice = load_config(folder / "microrec.toml", ['compare.models=["ease", "ease"]'])
    assert [row.name for row in choose_contestants(twice)] == ["ease"]


def test_choose_contestants_are_of_the_modalities_in_use(folder):
    names = [
        row.name for row in choose_contestants(load_config(folder / "microrec.toml", ['model.modalities=["text"]']))
    ]
    assert {"content-knn-text", "content-taste-text", "vbpr", "lattice", "freedom", "mgcn"} < set(names)
    assert not [name for name in names if "image" in name or "only" in name or "joined" in name]


@pytest.mark.integration
def test_compare_on_other_input_is_refused_where_something_is_left_to_measure(tmp_path):
    write_sample(tmp_path, num_items=30, num_users=40, seed=1)
    first = compare(tmp_path, models=["popularity"])
    assert first.returncode == 0, first.stderr
    (file,) = tmp_path.glob("**/interactions.parquet")
    pl.read_parquet(file).head(400).write_parquet(file)
    second = compare(tmp_path, models=["popularity", "ease"])
    assert second.returncode == 2
    assert "run c: its input is no longer the one it began with (changed: interactions.parquet)" in second.stderr


@pytest.mark.integration
def test_compare_model_that_diverges_keeps_none_of_the_others_from_being_measured(folder):
    settings = ("--set", "train.learning_rate=1e30")
    done = compare(folder, *settings, models=["micro", "ease"], run_id="diverging")
    assert done.returncode == 2
    assert "diverges with every choice of settings of micro; leave them out of compare.models" in done.stderr
    assert "compare/ease/seed-1: run" in done.stderr
    assert json.loads(compare(folder, *settings, models=["ease"], run_id="diverging").stdout)["rows"]


@pytest.mark.integration
def test_compare_figures_of_other_choices_are_refused(folder, monkeypatch):
    run = open_run(load_config(folder / "microrec.toml", ["compare.seeds=1"]), "choices", Reporter())
    row = contestants([], 8)["ease"]
    monkeypatch.setattr(pipeline.experiments.compare.compare, "choose_contestants", lambda config: [row])
    first = pipeline.experiments.compare.compare.compare(run)
    assert pipeline.experiments.compare.compare.compare(run).rows == first.rows
    fewer = dataclasses.replace(row, choices=row.choices[:2])
    monkeypatch.setattr(pipeline.experiments.compare.compare, "choose_contestants", lambda config: [fewer])
    with pytest.raises(InputError, match="ease, seed 0, was measured with other settings or choices"):
        pipeline.experiments.compare.compare.compare(run)


@pytest.mark.parametrize("part", ["validation", "test"])
def test_seed_data_without_a_part_is_refused_before_anything_is_fitted(folder, part):
    with pytest.raises(InputError, match=rf"no {part} interactions; raise split\.{part}"):
        seed_data(folder, **{part: 0.0})


@pytest.mark.integration
def test_compare_again_with_more_seeds_and_models_measures_only_those(folder):
    first = compare(folder, models=["ease", "popularity"], run_id="more")
    assert first.returncode == 0, first.stderr
    second = compare(folder, "--set", "compare.seeds=3", models=["ease", "popularity", "chance"], run_id="more")
    assert second.returncode == 0, second.stderr
    measured = set(re.findall(r"compare/(\S+): run", second.stderr))
    assert measured == {"ease/seed-2", "popularity/seed-2", "chance/seed-0", "chance/seed-1", "chance/seed-2"}
    assert {row["name"]: row["seeds"] for row in json.loads(second.stdout)["rows"]} == {
        "ease": 3,
        "popularity": 3,
        "chance": 3,
    }
    assert len(mlflow_children(folder, "more")) == 9
