"""Hyper-parameter search, really: small trainings on planted tastes, recorded in a store and in MLflow."""

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import time
import tomllib

import numpy as np
import polars as pl
import pytest
from mlflow import MlflowClient
from upath import UPath

from pipeline.cli import main
from pipeline.config.config import load_config
from pipeline.config.search_space import decode
from pipeline.errors import ConfigError, InputError, MicrorecError, StoreError
from pipeline.experiments.tune import Best, Trial, load_trials, propose, tune
from pipeline.opening import open_run
from pipeline.run import Run
from pipeline.stages.train import make_trainer
from pipeline.storage.layout import Store
from tests.pipeline.release_factory import blank_database, commit_anew, quiet

CONFIG = """
[catalogue]
items = "items.parquet"
interactions = ["interactions.parquet"]
[modalities.shape]
encoder = "precomputed"
vectors = "vectors.parquet"
[model]
embedding_dim = 8
[train]
device = "cpu"
max_epochs = 6
check_every = 2
learning_rate = 0.05
[gate]
metric = "none"
[tune]
trials = 4
startup_trials = 2
warmup_epochs = 0
[tune.space]
"train.learning_rate" = { low = 1e-2, high = 0.1, log = true }
"model.neighbours" = { low = 3, high = 9 }
"model.modalities" = [["shape"], []]
"""
NUM_USERS, NUM_ITEMS, NUM_FAMILIES = 60, 120, 6


def write_catalogue(folder):
    """Families of items that look alike; a user likes one family and tries a little of the rest."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    family_I = np.arange(NUM_ITEMS) % NUM_FAMILIES
    names = [f"i{index:03d}" for index in range(NUM_ITEMS)]
    pl.DataFrame({"item_id": names, "title": names}).write_parquet(folder / "items.parquet")
    vector_ID = (np.eye(NUM_FAMILIES)[family_I] + 0.3 * rng.normal(size=(NUM_ITEMS, NUM_FAMILIES))).astype(np.float32)
    pl.DataFrame({"item_id": names, "vector": vector_ID}).write_parquet(folder / "vectors.parquet")
    liking_UI = np.where(np.arange(NUM_USERS)[:, None] % NUM_FAMILIES == family_I, 0.6, 0.04)
    user_T, item_T = np.nonzero(rng.random((NUM_USERS, NUM_ITEMS)) < liking_UI)
    pl.DataFrame({"user_id": user_T, "item_id": [names[index] for index in item_T]}).write_parquet(
        folder / "interactions.parquet"
    )
    (folder / "microrec.toml").write_text(CONFIG)


def search(folder, run_id, *settings, base=None):
    config = load_config(folder / "microrec.toml", settings)
    if not (folder / "microrec-store/mlflow.db").exists():
        (folder / "microrec-store").mkdir()
        (folder / "microrec-store/mlflow.db").write_bytes(blank_database())
    return tune(open_run(config, run_id, quiet()))


def trials_of(folder, run_id, store="microrec-store"):
    """The records of a study, without the seconds."""
    trials = [dataclasses.asdict(trial) for trial in load_trials(UPath(str(folder / store / "runs" / run_id / "tune")))]
    for trial in trials:
        for row in trial["history"]:
            del row["seconds"]
    return trials


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tune") / "catalogue"
    write_catalogue(folder)
    return folder


@pytest.fixture(scope="module")
def first(folder):
    return search(folder, "first")


def test_tune_best_is_the_highest_metric_on_validation(folder, first):
    trials = trials_of(folder, "first")
    assert [trial["number"] for trial in trials] == [0, 1, 2, 3]
    complete = [trial for trial in trials if trial["state"] == "complete"]
    best = max(complete, key=lambda trial: trial["metric"])
    assert first.best == Best(trial=best["number"], metric=best["metric"], params=best["values"])
    assert (first.trials, first.pruned + len(complete)) == (4, 4)
    for trial in complete:
        assert trial["metric"] == max(row["validation"]["recall@20"] for row in trial["history"] if row["validation"])
    table = pl.read_parquet(folder / "microrec-store/runs/first/tune/trials.parquet")
    assert table["recall@20"].to_list() == [trial["metric"] for trial in trials]
    assert table["model.neighbours"].to_list() == [trial["values"]["model.neighbours"] for trial in trials]


def test_tune_first_trial_is_the_configuration_as_it_stands_even_outside_the_space(folder, first):
    own, *others = trials_of(folder, "first")
    assert own["values"] == {"train.learning_rate": 0.05, "model.neighbours": 10, "model.modalities": None}
    for trial in others:
        assert 1e-2 <= trial["values"]["train.learning_rate"] <= 0.1
        assert trial["values"]["model.neighbours"] in range(3, 10)
        assert trial["values"]["model.modalities"] in (["shape"], [])


def test_propose_draw_depends_on_the_trials_before_it_alone(folder):
    config = load_config(folder / "microrec.toml", ["tune.startup_trials=10"])
    trials, drawn = [], []
    for number in range(4):
        parameters = propose(trials, config).params
        assert propose(trials, config).params == parameters
        drawn.append(parameters["train.learning_rate"])
        values = decode(config.tune.space, parameters)
        trials.append(Trial(number=number, state="complete", values=values, metric=0.1, best_epoch=1, history=[]))
    assert len(set(drawn)) == 4


def test_tune_best_toml_runs_from_anywhere_to_the_metric_found(folder, first, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    best = tmp_path / "copied.toml"
    shutil.copy(first.config, best)
    # As trained: taste and the raising of new items come after what a study measures.
    as_trained = ["--set", "model.taste_weight=0.0", "--set", "model.new_items=map"]
    with pytest.raises(SystemExit) as exit_status:
        main(["run", "-c", str(best), "--run-id", "best", "--json", *as_trained])
    assert exit_status.value.code == 0
    result = json.loads(capsys.readouterr().out)
    assert result["release"] == str(folder / "microrec-store/releases/best")
    assert result["metrics"]["validation"]["recall@20"] == pytest.approx(first.best.metric, abs=1e-9)
    before, after = load_config(folder / "microrec.toml"), load_config(best)
    assert after == before.with_values(first.best.params)


def test_tune_interrupted_in_a_trial_continues_as_if_undisturbed(folder, first):
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", "from pipeline.cli import main; main()", "tune", "--run-id", "stopped"),
            *("-c", str(folder / "microrec.toml"), "--set", "tune.trials=100000"),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    records = folder / "microrec-store/runs/stopped/tune/trials"
    while not (records / "00000.json").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, log = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "interrupted; continue with --run-id stopped" in log
    assert "Traceback" not in log
    for record in sorted(records.iterdir())[3:]:
        record.unlink()
    assert search(folder, "stopped").best == first.best
    assert trials_of(folder, "stopped") == trials_of(folder, "first")


def test_tune_again_trains_nothing_and_more_trials_continue(folder, first, monkeypatch):
    before = trials_of(folder, "first")
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.experiments.tune.make_trainer", None)
        assert search(folder, "first") == first
    assert search(folder, "first", "tune.trials=5").trials == 5
    assert trials_of(folder, "first")[:4] == before
    with pytest.raises(InputError, match=r"tune\.seed: 0 then, 1 now"):
        search(folder, "first", "tune.seed=1")
    (folder / "microrec-store/runs/first/tune/trials/00004.json").unlink()


@pytest.mark.parametrize("damage", ["{}", "[]", '{"number": 0}'])
def test_load_trials_damaged_record_is_named(tmp_path, damage):
    (tmp_path / "trials").mkdir()
    (tmp_path / "trials/00000.json").write_text(damage)
    with pytest.raises(StoreError, match=r"00000\.json is damaged"):
        load_trials(UPath(str(tmp_path)))


def test_tune_other_test_interactions_change_nothing(folder, first, tmp_path):
    copy = tmp_path / "catalogue"
    shutil.copytree(folder, copy)
    shutil.rmtree(copy / "microrec-store/runs/first/tune")
    prepared = copy / "microrec-store/runs/first/prepare/interactions.parquet"
    rows = pl.read_parquet(prepared)
    assert (rows["split"] == "test").any()
    rows.filter(pl.col("split") != "test").write_parquet(prepared)
    commit_anew(UPath(str(prepared.parent)))
    assert search(copy, "first").best == first.best
    assert trials_of(copy, "first") == trials_of(folder, "first")


def test_tune_no_trial_is_given_test_interactions(folder, first, monkeypatch):
    given = []

    def spy(run, dataset):
        given.append(set(dataset.interactions["split"]))
        return make_trainer(run, dataset)

    monkeypatch.setattr("pipeline.experiments.tune.make_trainer", spy)
    search(folder, "spied", "tune.trials=2")
    assert given == [{"train", "validation"}] * 2


def test_tune_hopeless_trials_are_pruned_or_diverge_and_never_win(folder):
    space = 'tune.space={"train.learning_rate" = [0.05, 1e-9, 1e30]}'
    result = search(folder, "hopeless", space, "tune.trials=8", "tune.startup_trials=1")
    trials = trials_of(folder, "hopeless")
    states = {trial["values"]["train.learning_rate"]: trial["state"] for trial in trials}
    assert states == {0.05: "complete", 1e-9: "pruned", 1e30: "diverged"}
    assert result.best.params == {"train.learning_rate": 0.05}
    assert all(len(trial["history"]) < 6 for trial in trials if trial["state"] == "pruned")
    assert result.pruned == sum(trial["state"] == "pruned" for trial in trials)
    assert result.diverged == sum(trial["state"] == "diverged" for trial in trials)


def test_tune_values_refused_together_are_recorded_and_the_study_goes_on(folder):
    space = 'tune.space={"model.content_weight" = [0.4, 0.0], "model.new_items" = ["graphs", "raised"]}'
    result = search(folder, "together", space, "tune.trials=8", "train.max_epochs=1", "train.check_every=1")
    states = {tuple(trial["values"].values()): trial["state"] for trial in trials_of(folder, "together")}
    assert states.pop((0.0, "graphs")) == "refused"
    assert set(states.values()) <= {"complete", "pruned"}
    assert result.trials == 8
    assert result.refused > 0


def test_tune_trouble_with_the_machine_is_no_refused_trial(folder, monkeypatch):
    def gone(*_):
        raise ConfigError("train: this machine has no usable CUDA device")

    search(folder, "machine", "tune.trials=1", "train.max_epochs=1", "train.check_every=1")
    monkeypatch.setattr("pipeline.experiments.tune.make_trainer", gone)
    with pytest.raises(ConfigError, match="no usable CUDA device"):
        search(folder, "machine", "tune.trials=3", "train.max_epochs=1", "train.check_every=1")
    assert len(trials_of(folder, "machine")) == 1


def test_tune_every_trial_diverged_says_what_to_do(folder):
    with pytest.raises(MicrorecError, match=r"every trial diverged or was refused; lower train\.learning_rate"):
        search(folder, "diverged", "train.learning_rate=1e30", "tune.trials=1")


def test_tune_mlflow_holds_a_run_for_the_study_and_one_for_each_trial(folder, first):
    uri = f"sqlite:///{folder}/microrec-store/mlflow.db"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    experiment = client.get_experiment_by_name("microrec").experiment_id
    (study,) = client.search_runs([experiment], "tags.`microrec.run_id` = 'first/tune'")
    children = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{study.info.run_id}'")
    logged = {child.info.run_name: child for child in children}
    for trial in trials_of(folder, "first"):
        child = logged[f"first/tune/{trial['number']}"]
        assert child.info.status == "FINISHED"
        assert child.data.params["trial.state"] == trial["state"]
        assert float(child.data.params["train.learning_rate"]) == trial["values"]["train.learning_rate"]
        curve = client.get_metric_history(child.info.run_id, "validation/recall_at_20")
        expected = [(row["epoch"], row["validation"]["recall@20"]) for row in trial["history"] if row["validation"]]
        assert [(entry.step, entry.value) for entry in curve] == expected
    assert client.get_metric_history(study.info.run_id, "best/recall_at_20")[3].value == first.best.metric
    assert "best.toml" in [artifact.path for artifact in client.list_artifacts(study.info.run_id)]


def test_tune_object_store_keeps_the_study_between_processes(folder, first, tmp_path):
    config = load_config(folder / "microrec.toml", [f"mlflow.tracking_uri=sqlite:///{tmp_path}/mlflow.db"])
    (tmp_path / "mlflow.db").write_bytes(blank_database())
    root = UPath(f"memory://{tmp_path.name}")
    for trials in (2, 4):
        settings = dataclasses.replace(config.tune, trials=trials)
        result = tune(Run("first", dataclasses.replace(config, tune=settings), Store(root), quiet()))
    assert result.best == first.best
    assert tomllib.loads(UPath(result.config).read_text())["base"] == str(folder)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ('{"train.lerning_rate" = [1e-3]}', "unknown key 'train.lerning_rate'; the nearest known one is 'train.learn"),
        ('{"train.learning_rate" = {low = 1e-3, hihg = 1}}', "'tune.space.train.learning_rate.hihg'; the nearest"),
        ('{"split.test" = [0.1, 0.2]}', r"'split.test' cannot be searched.*keys of \[model\] and \[train\] can"),
        ('{"model.neighbours" = {low = 0, high = 5}}', "tune.space: model: .*neighbours must be at least 1, got 0"),
        ('{"model.neighbours" = {low = 1.0, high = 5.0}}', "tune.space: model.neighbours: .*valid integer"),
        ('{"model.backbone" = ["lightgcn", "gcn"]}', "tune.space: model: backbone 'gcn' is unknown; use one of"),
        ('{"train.learning_rate" = {low = 0.1, high = 0.01}}', "low must be below high, got 0.1 and 0.01"),
        ('{"train.learning_rate" = {low = 0, high = 1, log = true}}', "low must be positive where log is true, got 0"),
        ('{"train.learning_rate" = []}', "nothing to choose from for 'train.learning_rate'"),
        ("{}", "nothing to choose from; name values"),
        ('{"train.seed" = [0, 1]}', "'train.seed' is not a hyper-parameter; leave it out"),
        ('{"train.objective" = [{l2 = 1.0}]}', "'train.objective' is a table; name its keys one by one"),
    ],
)
def test_tune_wrong_space_is_refused_before_anything_is_done(folder, space, message):
    with pytest.raises(ConfigError, match=message):
        search(folder, "wrong", f"tune.space={space}", "catalogue.items=absent.parquet")
    assert not (folder / "microrec-store/runs/wrong").exists()


def test_tune_without_validation_is_refused(folder):
    with pytest.raises(InputError, match=r"no interactions; raise split\.validation"):
        search(folder, "none", "split.strategy=none")
