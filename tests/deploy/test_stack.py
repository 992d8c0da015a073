"""The whole stack for real: processes on loopback, three nights, the consumer's table. `make test-stack` runs it."""

import io
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl
import psycopg2
import pytest
import s3fs

from deploy.airflow_api import Airflow
from deploy.compose import ROOT
from deploy.env_file import PORTS, complete, read
from deploy.night import follow
from tests.deploy.browser import Browser

NIGHTLY, CONSUMER = "microrec_nightly", "microrec_to_pgvector"
SCREENS = ("airflow-graph", "airflow-grid", "mlflow-run", "mlflow-registry")
pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(not os.environ.get("MICROREC_TEST_STACK"), reason="MICROREC_TEST_STACK is not set"),
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed"),
]


@pytest.fixture(scope="module")
def stack():
    """A stack of its own with the sample catalogue; yields its env file."""
    folder = Path(tempfile.mkdtemp(prefix="microrec-stack-"))
    folder.chmod(0o755)  # PostgreSQL runs as another user where we are root
    env_file = folder / "env"
    small = {"SEED_ITEMS": "60", "SEED_USERS": "80", "MAX_EPOCHS": "5", "COMPOSE_PROFILES": "cpu"}
    complete(env_file, small | free_ports())

    def run(action):
        options = ["--env-file", str(env_file), "--state", str(folder / "state")]
        done = subprocess.run(
            [sys.executable, "-m", "deploy.stack", action, *options],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    try:
        run("up")
        assert "started" not in run("up")
        run("seed")
        yield env_file
    finally:
        assert "stopped" in run("down")
        assert "nothing was running" in run("down")
        shutil.rmtree(folder)


def free_ports():
    """Ports that are free now, with the ones SeaweedFS adds 10000 to in the lower range."""
    taken = {}
    for name, port in PORTS.items():
        candidate = port + 2000
        while any(is_taken(number) for number in (candidate, candidate + 10000)) or str(candidate) in taken.values():
            candidate += 1
        taken[name] = str(candidate)
    return taken


def is_taken(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def airflow(stack):
    return Airflow.of(stack)


def night(airflow):
    """Run a night to its end; return its states and results by task."""
    run_id = airflow.trigger(NIGHTLY, {"shards": 1})
    *_, (state, tasks) = follow(airflow, run_id)
    states = {task["task_id"]: task["state"] for task in tasks}
    assert state == "success", states
    mapped = ("extract_image", "extract_text")
    results = {
        name: airflow.result(NIGHTLY, run_id, name, 0 if name in mapped else -1)
        for name in states
        if states[name] == "success" and not name.startswith(("plan", "changes"))
    }
    return {
        "run_id": run_id,
        "states": states,
        "results": results,
        "note": airflow.run(NIGHTLY, run_id)["note"],
        "tasks": tasks,
    }


def encoded(done):
    return {name: done["results"][f"extract_{name}"]["encoded"] for name in ("image", "text")}


@pytest.fixture(scope="module")
def first(airflow):
    return night(airflow)


def test_first_night_promotes_a_champion_trained_on_the_gpu_worker(first):
    assert first["results"]["promote"]["digest"] == first["results"]["export"]["digest"]
    assert min(encoded(first).values()) > 40
    assert first["results"]["export"]["digest"] in first["note"]
    train = next(task for task in first["tasks"] if task["task_id"] == "train")
    assert (train["queue"], train["pool"]) == ("gpu", "microrec_gpu")


def test_first_night_fills_the_consumers_table(first, airflow, stack):
    while not (runs := airflow.runs(CONSUMER)) or runs[0]["state"] in ("queued", "running"):
        pass
    assert runs[0]["state"] == "success"
    settings = read(stack)
    dsn = f"postgresql://vectors:{settings['VECTORS_DB_PASSWORD']}@127.0.0.1:{settings['POSTGRES_PORT']}/vectors"
    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT digest, (SELECT count(*) FROM item_vectors) FROM vectors_release")
        assert cursor.fetchone() == (first["results"]["export"]["digest"], 60)
    connection.close()


def test_same_night_again_calls_no_encoder_and_keeps_the_digest(first, airflow):
    again = night(airflow)
    assert [again["results"][f"extract_{kind}"]["encoder_calls"] for kind in ("image", "text")] == [0, 0]
    assert again["states"]["train"] == again["states"]["promote"] == "skipped"
    assert "input unchanged" in again["note"]
    assert first["results"]["export"]["digest"] in again["note"]


def test_night_with_ten_changed_items_encodes_ten(first, airflow, stack):
    change_titles(stack, 10)
    third = night(airflow)
    assert encoded(third) == {"image": 0, "text": 10}
    assert third["results"]["export"]["digest"] != first["results"]["export"]["digest"]


@pytest.mark.skipif(shutil.which("chromedriver") is None, reason="chromium-driver is not installed")
def test_pages_show_the_night_and_its_model(first, airflow, stack, tmp_path):
    folder = Path(os.environ.get("MICROREC_SCREENSHOTS", tmp_path))
    take_screenshots(airflow, read(stack), first, folder)
    assert all((folder / f"{name}.png").stat().st_size > 20_000 for name in SCREENS)


def take_screenshots(airflow, settings, done, folder):
    """The pages of a night that has ended well, as PNG files."""
    server = f"127.0.0.1:{settings['MLFLOW_PORT']}"
    mlflow = f"http://{server}"
    registered, digest = done["results"]["register"], done["results"]["export"]["digest"]
    page = f"{airflow.base}/dags/{NIGHTLY}/runs/{done['run_id']}"
    with Browser() as browser:
        browser.open(airflow.base)
        browser.set_cookie("_token", airflow.log_in())
        for view in ("graph", "grid"):
            browser.run(f"localStorage.setItem('default_dag_view', '\"{view}\"')")
            browser.open(page, "extract_image", "promote")
            time.sleep(5)  # the graph is laid out and drawn after its texts are there
            browser.save(folder / f"airflow-{view}.png")
        # The browser logs in once and remembers; the page itself may not be opened by an address with a password.
        browser.open(f"http://admin:{settings['MLFLOW_ADMIN_PASSWORD']}@{server}/", "Experiments")
        browser.open(f"{mlflow}/#/experiments/1/runs/{registered['run_id']}", "recall_at_20")
        browser.save(folder / "mlflow-run.png")
        browser.open(f"{mlflow}/#/models/{registered['model_name']}", "champion")
        browser.save(folder / "mlflow-registry.png")
        browser.open(
            f"{mlflow}/#/models/{registered['model_name']}/versions/{registered['model_version']}", digest[:16]
        )


def change_titles(env_file, count):
    """Give the first items that have a title another one."""
    settings = read(env_file)
    store = s3fs.S3FileSystem(
        key=settings["S3_ACCESS_KEY"],
        secret=settings["S3_SECRET_KEY"],
        endpoint_url=f"http://127.0.0.1:{settings['S3_PORT']}",
    )
    place = "microrec/catalogue/items.parquet"
    items = pl.read_parquet(io.BytesIO(store.cat_file(place)))
    titled = items.filter(pl.col("title").is_not_null())["item_id"].head(count)
    changed = items.with_columns(
        pl.when(pl.col("item_id").is_in(titled.implode()))
        .then(pl.col("title") + " anew")
        .otherwise("title")
        .alias("title")
    )
    buffer = io.BytesIO()
    changed.write_parquet(buffer)
    store.pipe_file(place, buffer.getvalue())
