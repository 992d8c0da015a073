"""The whole stack for real: processes on loopback, nights, the consumer's table, metrics, pages."""

import shutil
import threading
import time
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import polars as pl
import pytest

from deploy.night import DAG
from tests.deploy.pages import Pages, screens_folder
from tests.deploy.stack import BUCKET, CONSUMER, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def first(stack):
    return stack.night(shards=1)


def test_first_night_promotes_a_champion_trained_on_the_gpu_worker(first):
    assert first.results["promote"]["digest"] == first.digest
    assert min(first.encoded.values()) > 80
    assert first.digest in first.note
    train = next(task for task in first.tasks if task["task_id"] == "train")
    assert (train["queue"], train["pool"]) == ("gpu", "microrec_gpu")


def test_new_stack_waits_for_its_first_scheduled_night(first, stack):
    assert {run["run_type"] for run in stack.airflow.runs(DAG)} == {"manual"}


def test_first_night_fills_the_consumers_table(first, stack):
    runs = wait_for(lambda: stack.airflow.runs(CONSUMER), pause=1)
    wait_for(lambda: stack.airflow.runs(CONSUMER)[0]["state"] not in ("queued", "running"), pause=1)
    assert stack.airflow.run(CONSUMER, runs[0]["dag_run_id"])["state"] == "success"
    assert stack.consumed() == (first.digest, int(stack.settings["SEED_ITEMS"]))


def test_same_night_again_calls_no_encoder_and_keeps_the_digest(first, stack):
    again = stack.night(shards=1)
    assert [again.results[f"extract_{kind}"][0]["encoder_calls"] for kind in ("image", "text")] == [0, 0]
    assert again.states["train"] == again.states["promote"] == "skipped"
    assert "input unchanged" in again.note
    assert first.digest in again.note


def test_night_with_ten_changed_items_encodes_ten(first, stack):
    change_titles(stack, 10)
    third = stack.night(shards=1)
    assert third.encoded == {"extract_image": 0, "extract_text": 10}
    assert third.digest != first.digest
    assert third.results["promote"]["digest"] == third.digest


def test_backfill_two_at_once_gives_three_releases_and_promotes_none_out_of_order(first, stack):
    store = "backfill"  # of its own: the nights before stand for later moments, and would keep these from promotion
    settings = [f"store.root=s3://{BUCKET}/{store}", f"mlflow.model_name={store}"]
    stack.pause(CONSUMER)  # it reads the store that the configuration names
    asked = {"from_date": "2026-11-20T00:00:00Z", "to_date": "2026-11-22T12:00:00Z", "max_active_runs": 2}
    conf = {"shards": 1, "set": settings}
    backfill = stack.airflow.call("POST", "backfills", {"dag_id": DAG, "dag_run_conf": conf, **asked})

    def runs():
        return [run for run in stack.airflow.runs(DAG) if run["run_type"] == "backfill"]

    most = 0
    while not stack.airflow.call("GET", f"backfills/{backfill['id']}")["completed_at"]:
        most = max(most, sum(run["state"] == "running" for run in runs()))
        time.sleep(2)
    nights = [stack.finish_night(run["dag_run_id"]) for run in runs()]
    nights.sort(key=lambda night: night.release)
    assert most == 2
    assert [night.release for night in nights] == [f"night-202611{day}T020000" for day in (20, 21, 22)]
    options = [part for setting in settings for part in ("--set", setting)]
    assert [stack.microrec("verify", night.release, *options)["digest"] for night in nights] == [
        night.digest for night in nights
    ]
    assert nights[0].digest == nights[1].digest  # both began without a champion; the third begins from the first
    promoted = [night for night in nights if night.states["promote"] == "success"]
    ends = [ended(night, "promote") for night in promoted]
    assert ends == sorted(ends)
    assert stack.read_json(f"{BUCKET}/{store}/champion.json")["run_id"] == nights[-1].release == promoted[-1].release


def ended(night, task_id):
    return datetime.fromisoformat(next(task["end_date"] for task in night.tasks if task["task_id"] == task_id))


@pytest.mark.skipif(shutil.which("chromedriver") is None, reason="chromium-driver is not installed")
def test_pages_show_the_night_and_its_model(first, stack, tmp_path):
    take_screenshots(stack, first, screens_folder(tmp_path))


def test_metrics_reach_statsd_from_scheduler_and_worker(first, statsd):
    wanted = {"airflow.scheduler_heartbeat", f"airflow.ti.finish.{DAG}.train.success", f"airflow.{DAG}.seconds.train"}
    wait_for(lambda: wanted <= statsd.names, pause=1)


def test_metrics_reach_an_opentelemetry_collector_after_a_change_of_settings(first, stack):
    with collector() as (port, bodies):
        stack.change(STATSD_ON="False", OTEL_ON="True", OTEL_ENDPOINT=f"http://127.0.0.1:{port}")
        assert "airflow-scheduler: its settings have changed" in stack.run("up")
        wait_for(lambda: any(b"airflow.scheduler_heartbeat" in body for body in bodies), pause=1)


@contextmanager
def collector():
    """Takes metrics as an OpenTelemetry collector does, by OTLP over HTTP; yields its port and what it was sent."""
    bodies = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            assert self.path == "/v1/metrics"
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield server.server_address[1], bodies
        finally:
            server.shutdown()


def take_screenshots(stack, night, folder):
    """The pages of a night that has ended well, as PNG files."""
    registered = night.results["register"]
    with Pages(stack, folder) as pages:
        pages.open_run(DAG, night.run_id, "extract_image", "promote")
        pages.save("airflow-grid")
        pages.remember("default_dag_view", '"graph"')
        pages.open_run(DAG, night.run_id, "extract_image", "promote")
        for button in ("Collapse Details", "Expand all task groups", "Fit View"):
            time.sleep(2)
            pages.click(button)
        pages.save("airflow-graph")
        pages.log_in_to_mlflow()
        # Until MLflow knows whether there are child runs, grey bars stand in their place.
        pages.open_mlflow(f"experiments/1/runs/{registered['run_id']}", "recall_at_20", without="Child runs")
        pages.save("mlflow-run")
        model = f"models/{registered['model_name']}"
        pages.open_mlflow(model, "champion")
        pages.save("mlflow-registry")
        pages.open_mlflow(f"{model}/versions/{registered['model_version']}", night.digest[:16])


def change_titles(stack, count):
    """Give the first items that have a title another one."""
    items = stack.read_table("items")
    titled = items.filter(pl.col("title").is_not_null())["item_id"].head(count)
    title = pl.when(pl.col("item_id").is_in(titled.implode())).then(pl.col("title") + " anew").otherwise("title")
    stack.replace_table("items", items.with_columns(title.alias("title")))
