"""MLflow, really: a SQLite file in a temporary folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.errors import ConfigError, InputError
from pipeline.registry.metrics import Metric, mlflow_name
from tests.pipeline.release_factory import make_config


@pytest.fixture
def config(tmp_path):
    return make_config(tmp_path)


def test_mlflow_name_forbidden_characters_are_spelled_out():
    assert mlflow_name("test/recall@20") == "test/recall_at_20"
    assert mlflow_name("slices/items without image/ndcg@10") == "slices/items without image/ndcg_at_10"
    assert mlflow_name("ünit=1") == "_nit_1"


def test_open_tracking_sqlite_keeps_everything_in_the_store(config, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    tracking = config.open_tracking()
    run = tracking.start_run("r1")
    (tmp_path / "note.txt").write_text("kept")
    tracking.log_file(run, tmp_path / "note.txt")
    assert (tmp_path / "store/mlflow.db").exists()
    assert [path.name for path in (tmp_path / "store/mlartifacts").rglob("*.txt")] == ["note.txt"]
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_open_tracking_relative_file_starts_at_the_configuration(tmp_path):
    make_config(tmp_path, mlflow={"tracking_uri": "sqlite:///db/here.db"}).open_tracking()
    assert (tmp_path / "db/here.db").exists()


@pytest.mark.parametrize("uri", ["mlruns", "file:///tmp/mlruns", "gopher://host/db"])
def test_open_tracking_folder_is_refused(tmp_path, uri):
    with pytest.raises(ConfigError, match=r"mlflow\.tracking_uri is .*sqlite:///FILE"):
        make_config(tmp_path, mlflow={"tracking_uri": uri}).open_tracking()


def test_start_run_again_continues_the_same(config):
    first = config.open_tracking().start_run("r1")
    assert config.open_tracking().start_run("r1").info.run_id == first.info.run_id
    assert config.open_tracking().start_run("r2").info.run_id != first.info.run_id


def test_start_run_deleted_experiment_says_so(config, tmp_path):
    run = config.open_tracking().start_run("r1")
    client(tmp_path).delete_experiment(run.info.experiment_id)
    with pytest.raises(InputError, match="'microrec' was deleted"):
        config.open_tracking().start_run("r2")


def test_log_metrics_twice_is_as_once(config, tmp_path):
    tracking = config.open_tracking()
    run = tracking.start_run("r1")
    metrics = [Metric("train/loss", 1 / step, step, step / 2) for step in range(1, 2501)]
    for _ in range(2):
        tracking.log_metrics(run, [*metrics, Metric("train/broken", float("nan"))])
    logged = client(tmp_path).get_metric_history(run.info.run_id, "train/loss")
    assert [(entry.step, entry.value) for entry in logged] == [(metric.step, metric.value) for metric in metrics]
    assert logged[3].timestamp - run.info.start_time == 2000
    assert "train/broken" not in client(tmp_path).get_run(run.info.run_id).data.metrics


def test_set_champion_takes_the_model_for_new_items_along_or_away(config, tmp_path):
    tracking, mlflow = config.open_tracking(), client(tmp_path)
    for name, digests in (("microrec", "ab"), ("microrec-embed", "a")):
        mlflow.create_registered_model(name)
        for digest in digests:
            mlflow.create_model_version(name, source="s3://nowhere/model", tags={"microrec.release_digest": digest})
    tracking.set_champion("1")
    assert set(mlflow.get_registered_model("microrec-embed").aliases) == {"champion"}
    tracking.set_champion("2")
    assert mlflow.get_registered_model("microrec-embed").aliases == {}
    assert tracking.champion() == "2"


def test_set_champion_takes_the_model_for_new_items_that_was_registered_with_it(config, tmp_path):
    """Not one that another attempt at the same night has made later, and is about to take away."""
    tracking, mlflow, release = config.open_tracking(), client(tmp_path), {"microrec.release_digest": "a"}
    for name, versions in (("microrec", 1), ("microrec-embed", 2)):
        mlflow.create_registered_model(name)
        for _ in range(versions):
            mlflow.create_model_version(name, source="s3://nowhere/model", tags=release)
    tracking.tag_version("1", {"microrec.embedder_version": "1"})
    tracking.set_champion("1")
    assert mlflow.get_registered_model("microrec-embed").aliases == {"champion": 1}
    mlflow.delete_model_version("microrec-embed", "1")
    tracking.set_champion("1")
    assert mlflow.get_registered_model("microrec-embed").aliases == {"champion": 2}


def test_champion_without_model_is_none(config):
    tracking = config.open_tracking()
    assert tracking.champion() is None
    assert tracking.version("1") is None
    assert tracking.version_numbers() == []


def test_shown_uri_hides_the_password(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.registry.tracking.connect", lambda *_, **__: None)
    config = make_config(tmp_path, mlflow={"tracking_uri": "postgresql+psycopg2://me:s3cret@db:5432/mlflow"})
    assert config.open_tracking().shown_uri == "postgresql+psycopg2://***@db:5432/mlflow"


@pytest.mark.parametrize(
    ("named", "sent"),
    [
        ("http://mlflow:5000/", True),
        ("http://mlflow:5001", False),
        ("https://mlflow:5000", False),
        ("http://elsewhere:5000", False),
        ("http://mlflow:5000@elsewhere", False),
    ],
)
def test_open_tracking_sends_credentials_to_no_other_server(tmp_path, monkeypatch, named, sent):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    config = make_config(tmp_path, mlflow={"tracking_uri": named})
    config.open_tracking()
    for name in ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"):
        with monkeypatch.context() as given:
            given.setenv(name, "s3cret")
            if sent:
                config.open_tracking()
                continue
            with pytest.raises(ConfigError, match="the MLflow password in the environment is for 'http://mlflow:5000'"):
                config.open_tracking()


def test_open_tracking_two_processes_at_once_share_one_database(tmp_path):
    program = (
        "import sys; from pathlib import Path\n"
        "from tests.pipeline.release_factory import make_config\n"
        "make_config(Path(sys.argv[1]), database=False).open_tracking().start_run(sys.argv[2])\n"
    )
    command = [sys.executable, "-W", "error", "-c", program, str(tmp_path)]
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    started = [
        subprocess.Popen([*command, f"r{number}"], cwd=root, env=environment, stdout=-1, stderr=-1, text=True)
        for number in range(2)
    ]
    for process in started:
        out, errors = process.communicate()
        assert (process.returncode, out, errors) == (0, "", "")
    experiment = client(tmp_path).get_experiment_by_name("microrec")
    runs = client(tmp_path).search_runs([experiment.experiment_id])
    assert sorted(run.info.run_name for run in runs) == ["r0", "r1"]


def client(base: Path) -> MlflowClient:
    uri = f"sqlite:///{base}/store/mlflow.db"
    return MlflowClient(tracking_uri=uri, registry_uri=uri)
