"""Stage register against a real MLflow, and the model it registers, loaded where this repository is not."""

import dataclasses
import json
import os
import pkgutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.models import Model

import pipeline
from model.epoch import EpochReport
from pipeline import stages
from pipeline.config.compare import CompareConfig
from pipeline.config.config import Config
from pipeline.config.search_space import TuneConfig
from pipeline.errors import InputError, StoreError
from pipeline.registry.connection import absolute_uri
from pipeline.registry.metrics import epoch_metrics
from pipeline.registry.promotion import promote
from pipeline.registry.tracking import Tracking
from pipeline.release.manifest import read_manifest
from pipeline.release.space import DriftRow, Space
from pipeline.run import Run, run_stage
from pipeline.stages.register import parameters, register, space_metrics
from pipeline.stages.register_ranker import DEFAULTS
from pipeline.storage.files import file_sha256, write_json
from tests.pipeline.release_factory import INPUT_DIGESTS, NUM_ITEMS, commit_anew, make_config, make_run, quiet


def address(run):
    return absolute_uri(run.config.tracking_uri, run.config.base)


def client_of(run):
    return MlflowClient(address(run), address(run))


@pytest.fixture(scope="module")
def registered(tmp_path_factory):
    """A run that went through `register` as the command line does it, and what it returned."""
    run = make_run(make_config(tmp_path_factory.mktemp("registered")), "r1")
    (run.folder(stages.EXPORT) / "neighbours-best.svg").write_text("<svg/>")
    commit_anew(run.folder(stages.EXPORT))
    return run, run_stage(run, stages.REGISTER, register)


def test_register_returns_where_the_model_is(registered):
    run, result = registered
    assert result.model_name == "microrec"
    assert result.model_version == "1"
    assert result.tracking_uri == address(run)
    assert client_of(run).get_run(result.run_id).info.status == "FINISHED"


def test_register_logs_parameters_metrics_and_timings(registered):
    run, result = registered
    data = client_of(run).get_run(result.run_id).data
    assert data.params["model.embedding_dim"] == "8"
    assert not [name for name in data.params if name.startswith(("gate.", "mlflow."))]  # decide publication only
    assert data.params["catalogue.interactions"] == '["interactions.parquet"]'
    assert data.tags["microrec.run_id"] == "r1"
    assert data.metrics["test/recall_at_20"] == pytest.approx(0.18)
    assert data.metrics["slices/users with fewer than 10 interactions/recall_at_20"] == 0.1
    assert data.metrics["train/best_epoch"] == 4
    assert {"seconds/prepare", "seconds/train", "seconds/evaluate", "seconds/export"} <= set(data.metrics)
    peak = run.require(stages.TRAIN).peak_memory_bytes
    assert data.metrics["system/train_peak_memory_megabytes"] == pytest.approx(peak / 1e6)


def test_register_again_after_what_a_run_may_be_continued_with_has_changed(registered):
    run, result = registered
    more = dataclasses.replace(run.config, compare=CompareConfig(seeds=9, models=("ease",)), tune=TuneConfig(trials=99))
    tracking = run.config.open_tracking()
    tracking.log_parameters(tracking.start_run("r1"), parameters(more.as_dict()))
    assert client_of(run).get_run(result.run_id).data.params == parameters(run.config.as_dict())


def test_register_id_that_another_store_has_used_is_refused(registered, tmp_path):
    run, _ = registered
    elsewhere = make_config(tmp_path, mlflow={"tracking_uri": address(run)}, store={"root": "elsewhere"})
    other = make_run(elsewhere, "r1", seed=7)
    with pytest.raises(InputError, match=r"run id 'r1' was used on .* use a new run id"):
        run_stage(other, stages.REGISTER, register)
    assert len(run.config.open_tracking().version_numbers()) == 1


def test_register_logs_every_epoch_at_its_step(registered):
    run, result = registered
    client = client_of(run)
    loss = client.get_metric_history(result.run_id, "train/loss")
    assert [(entry.step, entry.value) for entry in loss] == [(epoch, 1 / epoch) for epoch in range(1, 7)]
    recall = client.get_metric_history(result.run_id, "validation/recall_at_20")
    checks = [(entry.step, entry.value) for entry in recall]
    assert checks == [(0, 0.2), *((epoch, pytest.approx(0.02 * epoch)) for epoch in (2, 4, 6))]


def test_register_logs_inputs_with_whole_digests(registered):
    run, result = registered
    inputs = client_of(run).get_run(result.run_id).inputs.dataset_inputs
    logged = {entry.dataset.name: {tag.key: tag.value for tag in entry.tags}["sha256"] for entry in inputs}
    assert {name: sha256 for name, sha256 in logged.items() if not name.startswith("prepared ")} == INPUT_DIGESTS
    assert all(entry.dataset.digest == logged[entry.dataset.name][:36] for entry in inputs)
    assert all(Path(entry.dataset.source).is_absolute() for entry in inputs)


def test_register_logs_prepared_tables_with_rows_and_columns(registered):
    run, result = registered
    inputs = client_of(run).get_run(result.run_id).inputs.dataset_inputs
    items = next(entry.dataset for entry in inputs if entry.dataset.name == "prepared items.parquet")
    assert json.loads(items.profile) == {"num_rows": NUM_ITEMS}
    columns = {column["name"]: column["type"] for column in json.loads(items.schema)["mlflow_colspec"]}
    assert columns["item_id"] == "string"
    assert Path(items.source) == Path(run.folder(stages.PREPARE).path) / "items.parquet"


def test_register_keeps_report_manifest_and_plots(registered, tmp_path):
    run, result = registered
    kept = download_artifacts(run_id=result.run_id, artifact_path="", dst_path=str(tmp_path), tracking_uri=address(run))
    names = {path.relative_to(kept).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    drawn = ("training-loss", "contrastive-term", "validation", "neighbours-best")
    plots = {f"plots/{name}.svg" for name in drawn}
    assert {"report.html", "manifest.json", *plots} <= names
    manifest = run.store.release("r1") / "manifest.json"
    assert (tmp_path / "manifest.json").read_bytes() == manifest.read_bytes()


def test_register_version_carries_digest_and_run(registered):
    run, result = registered
    version = client_of(run).get_model_version("microrec", "1")
    digest = run.require(stages.EXPORT).digest
    tags = dict(version.tags)
    files = json.loads(tags.pop("microrec.model_files"))
    assert tags == {
        "microrec.release_digest": digest,
        "microrec.run_id": "r1",
        "microrec.version": "0.9",
        "microrec.manifest_sha256": file_sha256(run.store.release("r1") / "manifest.json"),
    }
    folder = next((run.config.base / "store/mlartifacts/models").iterdir()) / "artifacts"
    assert {"ranker.py", "item_ID.npy", "about.json"} < set(files)
    assert files == {path.name: file_sha256(path) for path in folder.rglob("*") if path.name in files}
    assert version.description.startswith("# Release r1\n")
    assert f"`{digest}`" in version.description
    assert client_of(run).get_run(result.run_id).data.tags["mlflow.note.content"] == version.description


def test_register_model_is_code_and_parquet_with_pinned_requirements(registered):
    run, _ = registered
    folder = next((run.config.base / "store/mlartifacts/models").iterdir()) / "artifacts"
    files = {path.name for path in folder.rglob("*") if path.is_file()}
    assert "ranker.py" in files
    assert not [name for name in files if name.endswith((".pkl", ".pickle"))]
    requirements = (folder / "requirements.txt").read_text().split()
    assert [line.partition("==")[0] for line in requirements] == ["mlflow", "numpy", "pandas", "pyarrow"]
    signature = Model.load(str(folder)).signature
    assert signature.inputs.input_names() == ["user_id", "history", "item_id", "candidates", "exclude"]
    assert signature.inputs.required_input_names() == []
    answer = ["request", "user_id", "asked_item_id", "rank", "item_id", "score", "source"]
    assert signature.outputs.input_names() == answer
    assert {param.name: param.default for param in signature.params} == DEFAULTS


def test_register_again_makes_nothing_twice(registered, tmp_path):
    run, result = registered
    again = register(run, tmp_path)
    client = client_of(run)
    experiment = client.get_experiment_by_name("microrec").experiment_id
    assert dataclasses.replace(again, seconds=result.seconds, peak_memory_bytes=result.peak_memory_bytes) == result
    assert len(client.search_runs([experiment])) == 1
    assert len(client.search_model_versions("name = 'microrec'")) == 1
    assert len(client.search_logged_models([experiment])) == 1
    assert len(client.get_metric_history(result.run_id, "train/loss")) == 6


@pytest.mark.parametrize("killed_in", ["log_inputs", "log_file", "log_model", "register", "finish"])
def test_register_killed_anywhere_and_repeated_makes_one_of_each(tmp_path, monkeypatch, killed_in):
    run = make_run(make_config(tmp_path), "r1")
    original = getattr(Tracking, killed_in)

    def then_killed(*args, **kwargs):
        original(*args, **kwargs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Tracking, killed_in, then_killed)
        with pytest.raises(KeyboardInterrupt):
            run_stage(run, stages.REGISTER, register)
    result = run_stage(run, stages.REGISTER, register)
    client = client_of(run)
    experiment = client.get_experiment_by_name("microrec").experiment_id
    assert [found.info.run_id for found in client.search_runs([experiment])] == [result.run_id]
    assert [str(found.version) for found in client.search_model_versions("name = 'microrec'")] == ["1"]
    assert len(client.search_logged_models([experiment])) == 1
    assert client.get_run(result.run_id).info.status == "FINISHED"


@pytest.mark.parametrize(
    "overtaken_in",
    ["mlflow.MlflowClient.create_run", "mlflow.pyfunc.log_model", "mlflow.MlflowClient.create_model_version"],
)
def test_register_overtaken_by_another_attempt_leaves_one_of_each(tmp_path, monkeypatch, overtaken_in):
    """The other is done between this one's look for what is there and its own making of it."""
    run = make_run(make_config(tmp_path), "r1")
    owner, name = overtaken_in.rsplit(".", 1)
    owner = pkgutil.resolve_name(owner)
    original, others = getattr(owner, name), []

    def overtaken(*args, **kwargs):
        if not others:
            others.append(None)
            (tmp_path / "other").mkdir()
            with ThreadPoolExecutor(1) as other:  # MLflow's active run is a thread's
                others.append(other.submit(register, run, tmp_path / "other").result())
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, overtaken)
    result = register(run, tmp_path)
    client = client_of(run)
    experiment = client.get_experiment_by_name("microrec").experiment_id
    assert result == others[1]
    assert [found.info.run_id for found in client.search_runs([experiment])] == [result.run_id]
    assert [str(found.version) for found in client.search_model_versions("name = 'microrec'")] == [result.model_version]
    (logged,) = client.search_logged_models([experiment])
    assert client.get_model_version("microrec", result.model_version).source == f"models:/{logged.model_id}"


@pytest.mark.parametrize("noted", ["nothing", "gone"])
def test_register_whose_run_began_first_but_was_seen_last_takes_the_one_that_was_noted(tmp_path, monkeypatch, noted):
    """The moment that orders runs is the client's; a database that is held can let the later one in before."""
    run = make_run(make_config(tmp_path), "r1")
    if noted == "gone":
        write_json(run.path / "mlflow_run.json", {"mlflow_run_id": "0" * 32})
    original, others = MlflowClient.create_run, []

    def late(*args, **kwargs):
        if not others:
            others.append(None)
            (tmp_path / "other").mkdir()
            with ThreadPoolExecutor(1) as other:
                others.append(other.submit(register, run, tmp_path / "other").result())
            return original(*args, **kwargs, start_time=1)
        return original(*args, **kwargs)

    monkeypatch.setattr(MlflowClient, "create_run", late)
    assert register(run, tmp_path) == others[1]
    client = client_of(run)
    experiment = client.get_experiment_by_name("microrec").experiment_id
    assert [found.info.run_id for found in client.search_runs([experiment])] == [others[1].run_id]
    assert len(client.search_model_versions("name = 'microrec'")) == len(client.search_logged_models([experiment])) == 1


def test_register_on_another_server_or_experiment_than_the_noted_run_makes_a_run_there(registered, tmp_path):
    run, result = registered
    moved = make_config(tmp_path, mlflow={"tracking_uri": f"sqlite:///{tmp_path}/other.db"})
    again = register(Run("r1", moved, run.store, quiet()), tmp_path)
    elsewhere = make_config(tmp_path, mlflow={"experiment": "another"})
    third = register(Run("r1", elsewhere, run.store, quiet()), tmp_path)
    assert len({again.run_id, third.run_id, result.run_id}) == 3
    assert client_of(run).get_run(result.run_id).info.lifecycle_stage == "active"


def test_register_leaves_stdout_and_the_working_folder_alone(tmp_path, monkeypatch, capfd):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    before = dict(os.environ)
    run_stage(make_run(make_config(tmp_path), "r1"), stages.REGISTER, register)
    assert capfd.readouterr() == ("", "")
    assert list((tmp_path / "here").iterdir()) == []
    assert os.environ.get("MLFLOW_TRACKING_URI") == before.get("MLFLOW_TRACKING_URI")


def test_register_password_in_the_configuration_is_not_logged(tmp_path, monkeypatch):
    run = make_run(make_config(tmp_path), "r1")
    tracking = run.config.open_tracking()
    secret = make_config(tmp_path, mlflow={"tracking_uri": "postgresql+psycopg2://me:s3cret@db/mlflow"})
    monkeypatch.setattr(Config, "open_tracking", lambda config: tracking)  # there is no such server
    result = register(Run("r1", secret, run.store, quiet()), tmp_path)
    logged = client_of(run).get_run(result.run_id).data.params
    assert "s3cret" not in str(logged)


def test_register_without_release_is_refused(tmp_path):
    run = Run("nothing", make_config(tmp_path), make_config(tmp_path).open_store(), quiet())
    with pytest.raises(StoreError, match="there is no release"):
        register(run, tmp_path)


def test_space_metrics_are_drift_by_slice_and_the_score_scale(registered):
    run, _ = registered
    manifest = read_manifest(run.store.release(run.id))
    assert space_metrics(manifest) == []  # an earlier version's
    drift = {"all": DriftRow(count=3, cosine_median=0.5), "users": DriftRow(count=2)}
    moved = dataclasses.replace(manifest, space=Space(first="r0", line_score_scale=2.0), drift=drift)
    assert {metric.name: metric.value for metric in space_metrics(moved)} == {
        "drift/all/count": 3,
        "drift/all/cosine_median": 0.5,
        "drift/all/drawn": 0,
        "drift/users/count": 2,
        "drift/users/drawn": 0,
        "space/line_score_scale": 2.0,
    }


def test_epoch_metrics_skips_what_was_not_measured():
    numbers = {"ranking": 0.3, "contrastive": 9.0, "learning_rate": 0.01}
    history = [
        EpochReport(epoch=1, loss=0.5, seconds=2.0, is_best=False, validation=None, **numbers),
        EpochReport(epoch=2, loss=0.4, seconds=3.0, is_best=True, validation={"recall@20": 0.1}, **numbers),
    ]
    metrics = [(metric.name, metric.value, metric.step, metric.seconds) for metric in epoch_metrics(history)]
    assert metrics == [
        ("train/loss", 0.5, 1, 2.0),
        *((f"train/{name}", value, 1, 2.0) for name, value in numbers.items()),
        ("train/seconds", 2.0, 1, 2.0),
        ("train/loss", 0.4, 2, 5.0),
        *((f"train/{name}", value, 2, 5.0) for name, value in numbers.items()),
        ("train/seconds", 3.0, 2, 5.0),
        ("validation/recall@20", 0.1, 2, 5.0),
    ]


LOADING = """
import importlib.util, json, sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in str(finder)]  # where microrec is installed
sys.path[:] = [path for path in sys.path if path != sys.argv[3]]
assert importlib.util.find_spec("pipeline") is None, "the repository can be seen"
import mlflow, pandas as pd
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/microrec@champion")
answer = model.predict(pd.DataFrame({"user_id": json.loads(sys.argv[2])}), params={"k": 20, "exclude_seen": False})
assert not {"pipeline", "features", "torch"} & set(sys.modules)
print(answer.to_json(orient="records", double_precision=15))
"""


@pytest.mark.parametrize("integer_ids", [False, True])
def test_champion_loaded_in_a_fresh_process_gives_the_exact_top_of_the_parquet(tmp_path, integer_ids):
    run = make_run(make_config(tmp_path), "r1", integer_ids=integer_ids)
    version = run_stage(run, stages.REGISTER, register).model_version
    promote(run.store, run.config.open_tracking(), run.config.gate, version, quiet())
    release = run.store.release("r1")
    users = pq.read_table(str(release / "user_vectors")).to_pydict()
    items = pq.read_table(str(release / "item_embeddings")).to_pydict()
    outside = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "MLFLOW_DISABLE_TELEMETRY": "true"}
    root = str(Path(pipeline.__file__).parents[1])
    command = [sys.executable, "-P", "-c", LOADING, address(run), json.dumps(users["user_id"]), root]
    done = subprocess.run(command, cwd=tmp_path, env=outside, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    scores_UI = np.array(users["embedding"], np.float32) @ np.array(items["embedding"], np.float32).T
    assert {row["source"] for row in answer} == {"user"}
    for user_id, score_I in zip(users["user_id"], scores_UI, strict=True):
        rows = [row for row in answer if row["user_id"] == user_id]
        best = np.argsort(-score_I, kind="stable")[:20]
        assert [row["rank"] for row in rows] == list(range(1, 21))
        np.testing.assert_allclose([row["score"] for row in rows], score_I[best], rtol=1e-5)
        assert [row["item_id"] for row in rows] == [items["item_id"][place] for place in best]
