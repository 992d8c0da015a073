"""A whole comparison on a small sample."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import polars as pl
import pytest

from pipeline.compare.contestants import PAPER, Contestant, contestants
from pipeline.compare.measure import SeedData, measure
from pipeline.config import load_config
from pipeline.errors import InputError
from pipeline.progress import Reporter
from pipeline.report import flatten
from pipeline.sample import write_sample
from pipeline.tracking import open_tracking

ROOT = Path(__file__).resolve().parents[3]
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
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", "compare", "--json", "--run-id", run_id]
    return subprocess.run(
        [*command, "-c", str(folder / "microrec.toml"), *overrides, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    write_sample(folder, num_items=60, num_users=90, seed=1)
    return folder


@pytest.mark.integration
def test_compare_shards_then_table_then_nothing_twice(folder):
    first = compare(folder, "--shard", "0/2")
    assert first.returncode == 0, first.stderr
    assert set(json.loads(first.stdout)["waiting_for"]) == {"popularity", "als", "lightgcn-softmax"}
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


def mlflow_children(folder):
    tracking = open_tracking(load_config(folder / "microrec.toml"))
    parent = tracking.start_run("c")
    return tracking._client.search_runs(
        [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    )


def test_compare_unknown_model_names_the_nearest(folder):
    done = compare(folder, models=["eease"], run_id="d")
    assert done.returncode == 2
    assert "the nearest is 'ease'" in done.stderr


def test_contestants_paper_settings_are_those_of_the_configuration_file():
    document = tomllib.loads((ROOT / "configs" / "paper.toml").read_text())
    written = flatten({name: document[name] for name in ("model", "train")})
    assert written == dict(PAPER)


def test_contestants_one_modality_has_no_single_modality_ablation():
    assert "micro, only-text" in contestants(["image", "text"], 8)
    assert "micro, only-text" not in contestants(["text"], 8)


class Remembering:
    """Stands for dataset and protocol: one setting is best on validation, another on test."""

    def __init__(self, validation):
        self.of_validation, self.tested = validation, []

    def training_data(self):
        return None

    def validation(self, scorer):
        return self.of_validation and {"recall@20": self.of_validation[scorer]}

    def test(self, scorer):
        self.tested.append(scorer)
        return {"recall@20": 0.5}


def measured_choice(folder, monkeypatch, stand_in):
    monkeypatch.setattr("pipeline.compare.measure._per_user", lambda scorer, data: pl.DataFrame())
    choices = tuple({"which": which} for which in "abc")
    row = Contestant(name="x", group="baseline", fit=lambda training, seed, which: which, choices=choices)
    data = SeedData(load_config(folder / "microrec.toml"), stand_in, stand_in)
    return measure(row, data, Reporter())


def test_measure_chooses_on_validation_and_tests_the_choice_alone(folder, monkeypatch):
    stand_in = Remembering({"a": 0.1, "b": 0.3, "c": 0.2})
    assert measured_choice(folder, monkeypatch, stand_in).settings == {"which": "b"}
    assert stand_in.tested == ["b"]


def test_measure_without_validation_is_refused(folder, monkeypatch):
    with pytest.raises(InputError, match=r"set split\.validation above 0"):
        measured_choice(folder, monkeypatch, Remembering(None))
