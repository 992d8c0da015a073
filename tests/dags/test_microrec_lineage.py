"""A night's OpenLineage events, received by a collector."""

import gzip
import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import microrec_lineage
from microrec_lineage import address, champion_file
from microrec_settings import read_base

ROOT = Path(__file__).resolve().parents[2]
NIGHT = """
import sys
from datetime import UTC, datetime
from airflow.dag_processing.dagbag import DagBag

dag = DagBag(sys.argv[1]).dags["microrec_nightly"]
dag.deadline = None
for task in dag.tasks:
    task.retries = 0
dag.test(logical_date=datetime(2001, 1, 1, tzinfo=UTC), run_conf={"config": "shop.toml", "device": "cpu"})
"""
"""A process of its own: Airflow asks once whether there is an address."""


@contextmanager
def collector():
    """Takes events as an OpenLineage collector does; yields its address and what it was sent."""
    events = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            events.append(json.loads(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", events
        server.shutdown()


def test_night_tells_a_collector_which_addresses_it_read_and_wrote(airflow_database, fake_microrec, tmp_path):
    (tmp_path / "shop.toml").write_text('base = "shop"\n')
    checks = {"verdict": "ok", "champion": None, "note": "first", "reasons": []}
    champion = {"run_id": "night-20010101T000000", "held": None}
    fake_microrec.answers(
        {
            "validate": [0, {"modalities": {}, "checks": checks, "warnings": []}],
            "prepare": [0, {"counts": {}, "input_digests": {"my items.csv": "a", "s3://lake/x/part-0.parquet": "b"}}],
            "changes": [0, {"champion": None, "digest": None, "changes": ["first"]}],
            "train": [0, {"epochs": 5, "best_epoch": 4, "device": "cpu"}],
            "evaluate": [0, {"metrics": {"validation": None, "test": None}}],
            "gate": [0, {"verdict": "passed", "champion": None, "metric": "recall@20", "value": None}],
            "export": [0, {"release": "s3://store/shop/releases/x", "digest": "d1", "counts": {}}],
            "register": [0, {"run_id": "m1", "model_name": "microrec", "model_version": "7"}],
            "promote": [0, champion],
        }
    )
    with collector() as (url, events):
        settings = {"OPENLINEAGE_URL": url, "AIRFLOW__OPENLINEAGE__NAMESPACE": "nights"}
        settings |= {"MICROREC_CONFIG": str(tmp_path / "shop.toml")}
        done = subprocess.run(
            [sys.executable, "-c", NIGHT, str(ROOT / "dags")],
            env=os.environ | settings,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    ended = {event["job"]["name"]: event for event in events if event["eventType"] == "COMPLETE"}
    assert {event["job"]["namespace"] for event in events} == {"nights"}
    assert "microrec_nightly" in ended

    def named(task, side):
        return {(one["namespace"], one["name"]) for one in ended[f"microrec_nightly.{task}"][side]}

    release = ("s3://store", "shop/releases/x")
    # All tasks of a test share one process, and so what the tasks before have told.
    assert named("prepare", "inputs") == {
        ("file", f"{tmp_path}/shop/my%20items.csv"),
        ("s3://lake", "x/part-0.parquet"),
    }
    assert named("export", "outputs") == {release}
    assert release in named("promote", "inputs")
    assert named("promote", "outputs") == {release, ("s3://store", "shop/champion.json")}


def test_lineage_that_cannot_be_told_is_a_line_in_the_log(monkeypatch, caplog):
    def broken():
        raise RuntimeError("no task runs here")

    monkeypatch.setattr(microrec_lineage, "get_current_context", broken)
    microrec_lineage.tell(written=["s3://lake/shop/releases/r1"])
    assert "lineage is not reported: no task runs here" in caplog.text


def test_address_of_a_location_is_absolute_and_champion_stands_beside_the_releases(tmp_path):
    assert address("items.csv", tmp_path) == f"file://{tmp_path}/items.csv"
    assert address("/data/ä b.csv", tmp_path) == "file:///data/%C3%A4%20b.csv"
    assert address("s3://lake/a b/*.csv", tmp_path) == "s3://lake/a%20b/%2A.csv"
    assert champion_file("s3://lake/shop/releases/r1") == "s3://lake/shop/champion.json"
    assert champion_file("/store/releases/r1") == "/store/champion.json"


def test_base_of_a_configuration_is_where_its_relative_locations_start(tmp_path):
    assert read_base(tmp_path / "absent.toml") == tmp_path
    (tmp_path / "shop.toml").write_text('base = "data"\n')
    assert read_base(tmp_path / "shop.toml") == tmp_path / "data"
