"""Secrets are planted wherever one can be given, and looked for in everything that a run and a failure leave behind."""

import threading
import warnings
import zipfile
from pathlib import Path

import pytest
from upath import UPath
from werkzeug.serving import make_server

from pipeline.release.signature import read_public_keys, require_signed
from tests.commands import microrec
from tests.pipeline.release.test_signature import write_pair
from tests.pipeline.tiny import make_tiny

MARK = "planted"
"""Stands in every secret below, beside what makes it hard to find."""
ENVIRONMENT = {
    "AWS_SECRET_ACCESS_KEY": "planted/aws+secret",
    "AWS_SESSION_TOKEN": "planted-session-token",
    "MLFLOW_TRACKING_USERNAME": "admin",
    "MLFLOW_TRACKING_PASSWORD": "planted-mlflow-password",
    "PGPASSWORD": "planted-pg-password",
}
NO_ANSWER = "postgresql+psycopg2://{}127.0.0.1:1/db{}"
REFUSED = {
    "slash in a password": NO_ANSWER.format("me:pla/planted@", ""),
    "blank in a password": NO_ANSWER.format("me:pla planted@", ""),
    "at in a password": NO_ANSWER.format("me:pla@planted@", ""),
    "user with a host": NO_ANSWER.format("me@corp:planted@", ""),
    "question mark in a password": NO_ANSWER.format("me:pla?planted@", ""),
    "number and slash": NO_ANSWER.format("me:12/planted@", ""),
    "password and no host": "postgresql+psycopg2://me:planted",
    "parameter": NO_ANSWER.format("", "?user=me&password=planted&connect_timeout=1"),
    "token": "ftp://planted@host",
}
LOCATIONS = {
    "store.root": "s3://KEY:planted/x@bucket/store",
    "catalogue.items": "https://planted@host/items.parquet",
    "catalogue.image_root": "s3://planted@bucket/pictures",
}


@pytest.fixture
def server(tmp_path_factory, monkeypatch):
    """MLflow as a server that asks for no password: whatever an address has in it is accepted."""
    folder = tmp_path_factory.mktemp("mlflow")
    monkeypatch.setenv("_MLFLOW_SERVER_FILE_STORE", f"sqlite:///{folder}/server.db")
    monkeypatch.setenv("_MLFLOW_SERVER_SERVE_ARTIFACTS", "true")
    monkeypatch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", "mlflow-artifacts:/")
    monkeypatch.setenv("_MLFLOW_SERVER_ARTIFACT_DESTINATION", str(folder / "kept"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own
        import mlflow.server.fastapi_app  # noqa: F401  or a request would load it, and warn
        from mlflow.server import app
    listening = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    yield f"127.0.0.1:{listening.server_port}", folder
    listening.shutdown()
    thread.join()
    listening.server_close()


@pytest.fixture
def planted(monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("mlflow.store.db.utils.MAX_RETRY_COUNT", 1)  # of a database that does not answer
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")


def write_shop(folder: Path) -> Path:
    """The tiny catalogue and its configuration as a file."""
    make_tiny(folder)
    file = folder / "microrec.toml"
    file.write_text(
        "[catalogue]\nitems = 'items.parquet'\ninteractions = ['interactions.parquet']\n"
        "[modalities.text]\nencoder = 'precomputed'\nvectors = 'text.parquet'\n"
        "[model]\nembedding_dim = 8\nneighbours = 4\n"
        "[train]\nmax_epochs = 2\ncheck_every = 1\ndevice = 'cpu'\nbatch_size = 16\n"
        "[store]\nroot = 'store'\n"
    )
    return file


def found_in(folder: Path) -> tuple[list[str], list[str]]:
    """Files below `folder` that hold the mark, and all that were looked into; archives are opened."""
    hits, looked = [], []
    for file in sorted(one for one in folder.rglob("*") if one.is_file()):
        looked.append(str(file.relative_to(folder)))
        content = file.read_bytes()
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                content += b"".join(archive.read(name) for name in archive.namelist())
        hits += [looked[-1]] if MARK.encode() in content else []
    return hits, looked


@pytest.mark.integration
def test_run_publishes_no_secret_of_its_address_or_environment(tmp_path, tmp_path_factory, planted, server):
    address, kept = server
    file = write_shop(tmp_path)
    uri = f"http://me%40corp:planted%40word@{address}"
    private, public = write_pair(tmp_path_factory.mktemp("keys"), "release")
    settings = ["--set", f"mlflow.tracking_uri={uri}", "--set", f"export.signing_key={private}"]
    done = microrec("run", "-c", file, "--run-id", "r1", "--json", *settings)
    assert done.returncode == 0, done.stderr
    require_signed(UPath(str(tmp_path / "store/releases/r1")), read_public_keys([public]))
    hits, looked = found_in(tmp_path)
    on_server, looked_there = found_in(kept)
    assert (hits, on_server) == ([], [])
    assert MARK not in done.stdout + done.stderr
    for name in ("store/releases/r1/manifest.json", "store/releases/r1/report.html", "store/runs/r1/config.json"):
        assert name in looked, looked
    assert "server.db" in looked_there
    assert any("MLmodel" in name for name in looked_there), looked_there


@pytest.mark.parametrize("form", REFUSED)
def test_address_that_is_refused_or_does_not_answer_is_told_without_its_secret(tmp_path, planted, form):
    file = write_shop(tmp_path)
    done = microrec("run", "-c", file, "--run-id", "r1", "--set", f"mlflow.tracking_uri={REFUSED[form]}")
    assert done.returncode in (1, 2)
    assert "mlflow.tracking_uri" in done.stderr or "127.0.0.1" in done.stderr
    assert MARK not in done.stdout + done.stderr
    assert found_in(tmp_path)[0] == []


@pytest.mark.parametrize("key", LOCATIONS)
def test_location_with_a_secret_is_refused_without_it(tmp_path, planted, key):
    done = microrec("validate", "-c", write_shop(tmp_path), "--set", f"{key}={LOCATIONS[key]}")
    assert done.returncode == 2
    assert key in done.stderr
    assert MARK not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://me:planted@127.0.0.1:1/db",
        "postgresql://me:pla@planted@127.0.0.1:1/db",
        "postgresql://me:pla/planted@127.0.0.1:1/db",
        "postgresql://me:pla?planted@127.0.0.1:1/db",
        "host=127.0.0.1 port=1 password=planted",
        "host=127.0.0.1 password=pla planted",
    ],
)
def test_address_of_vectors_is_told_without_its_secret(tmp_path, planted, monkeypatch, dsn):
    monkeypatch.setenv("MICROREC_PGVECTOR_DSN", dsn)
    monkeypatch.setattr("pipeline.serving.pgvector.choose_release", lambda *_: tmp_path)
    monkeypatch.setattr(
        "pipeline.serving.pgvector_state.read_manifest", lambda *_: type("M", (), {"release_digest": "d"})
    )
    done = microrec("to-pgvector", "-c", write_shop(tmp_path))
    assert done.returncode in (1, 2)
    assert "MICROREC_PGVECTOR_DSN" in done.stderr
    assert MARK not in done.stdout + done.stderr


def test_traceback_of_an_unknown_error_has_no_secret(tmp_path, planted, monkeypatch):
    def fail(*_):
        raise RuntimeError(f"http://me:planted@host and {ENVIRONMENT['AWS_SECRET_ACCESS_KEY']}")

    monkeypatch.setattr("pipeline.config.config.load_config", fail)
    done = microrec("validate", "-c", tmp_path / "none.toml")
    assert done.returncode == 1
    assert "RuntimeError" in done.stderr
    assert MARK not in done.stderr
