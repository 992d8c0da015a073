import ast
import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]
DAG_FILES = sorted((ROOT / "dags").glob("*.py"))
MICROREC = os.environ.get("MICROREC_BIN", str(ROOT / ".venv" / "bin" / "microrec"))


@pytest.fixture(scope="module")
def nightly(airflow_database):
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(ROOT / "dags"))
    assert bag.import_errors == {}
    return bag.dags["microrec_nightly"]


@pytest.mark.parametrize("file", DAG_FILES, ids=lambda file: file.name)
def test_dag_files_import_the_sdk_and_the_standard_library_only(file):
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
    ours = {other.stem for other in DAG_FILES}
    foreign = {name for name in names if name.split(".")[0] not in sys.stdlib_module_names | ours}
    assert {name for name in foreign if not name.startswith("airflow.sdk")} == set()


def test_nightly_every_task_has_owner_retries_and_timeout(nightly):
    for task in nightly.tasks:
        assert task.owner == "microrec", task.task_id
        assert task.retries >= 1, task.task_id
        assert task.execution_timeout is not None, task.task_id
        assert task.execution_timeout <= timedelta(hours=12), task.task_id


def test_nightly_training_is_on_the_gpu_queue_and_extraction_is_mapped(nightly):
    assert {task.task_id for task in nightly.tasks if task.queue == "gpu"} == {"train"}
    assert nightly.get_task("extract_image").is_mapped
    assert nightly.get_task("extract_text").is_mapped


def test_nightly_pools_are_the_ones_that_the_stack_makes(nightly):
    made = json.loads((ROOT / "deploy" / "pools.json").read_text())
    assert {task.pool for task in nightly.tasks} == {"default_pool", *made}
    assert nightly.get_task("train").pool == "microrec_gpu"
    assert made["microrec_gpu"]["slots"] == made["microrec_champion"]["slots"] == 1


def test_nightly_starts_by_time_or_by_asset_and_announces_release_and_champion(nightly):
    assert nightly.timetable.timetable.expression == "0 2 * * *"
    inputs = {asset.name for asset in nightly.timetable.asset_condition.objects}
    assert inputs == {"microrec_catalogue", "microrec_interactions"}
    outlets = {task.task_id: [outlet.name for outlet in task.outlets] for task in nightly.tasks if task.outlets}
    assert outlets == {"export": ["microrec_release"], "promote": ["microrec_champion"]}


def test_nightly_has_a_deadline_callbacks_and_documentation(nightly):
    assert nightly.deadline
    assert nightly.has_on_failure_callback
    assert nightly.has_on_success_callback
    assert nightly.doc_md
    assert nightly.tags == {"microrec"}
    expected = {"config", "shards", "device", "sample", "full_refresh", "accept_change", "promote", "set"}
    assert set(nightly.params) == expected
    assert all(nightly.params.get_param(name).description for name in nightly.params)


def test_nightly_stages_stand_in_order(nightly):
    ends = ["prepare", "changes", "train", "evaluate", "gate", "export", "register", "promote", "summarise"]
    for kind in ("image", "text"):
        for before, after in pairwise(["check_input", f"plan_shards.{kind}", f"extract_{kind}", *ends]):
            assert before in nightly.get_task(after).get_flat_relative_ids(upstream=True)


def test_dags_package_imports_from_the_repository_root():
    subprocess.run([sys.executable, "-c", "import dags.microrec_nightly"], cwd=ROOT, check=True, timeout=120)


def dag_run(run_id, logical_date=None):
    return SimpleNamespace(run_id=run_id, logical_date=logical_date, run_after=datetime(2026, 11, 25, tzinfo=UTC))


def test_run_id_of_a_date_is_the_same_whatever_started_it():
    from microrec_run import run_id_of

    moment = datetime(2026, 11, 24, 3, tzinfo=timezone(timedelta(hours=1)))
    names = {run_id_of(dag_run(f"{kind}__x", moment)) for kind in ("scheduled", "backfill", "manual")}
    assert names == {"night-20261124T020000"}
    assert run_id_of(dag_run("manual__x", moment.replace(microsecond=5))) == "night-20261124T020000-000005"


@pytest.mark.parametrize("dag_run_id", ["scheduled__2026-11-24T02:00:00+00:00", "manual__/../x", "/", "ü", "x" * 250])
def test_run_id_of_any_dag_run_is_a_plain_name(dag_run_id):
    from microrec_run import run_id_of

    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", run_id_of(dag_run(dag_run_id)))


def test_run_id_of_different_dag_runs_is_different():
    from microrec_run import run_id_of

    assert len({run_id_of(dag_run(name)) for name in ("manual__a b", "manual__a-b", "manual__a/b", "/", "//", "")}) == 6


REFUSING = """#!/bin/sh
echo "$@" >> "$0.calls"
echo '{answer}'
echo 'microrec: the input is refused: it differs too much' >&2
exit 3
"""
REFUSAL = {
    "modalities": {},
    "warnings": ["one", "two", "three", "four"],
    "checks": {
        "verdict": "refused",
        "champion": "night-0",
        "note": "",
        "rows": [],
        "reasons": ["items: 577 then, 144 now (allowed: at least 520)"],
    },
}


@pytest.mark.parametrize("accept", [False, True])
@pytest.mark.filterwarnings("ignore")  # Airflow's own libraries warn of one another
def test_nightly_refused_input_fails_at_once_and_the_note_says_which_rows(nightly, tmp_path, monkeypatch, accept):
    script = tmp_path / "microrec"
    script.write_text(REFUSING.replace("{answer}", json.dumps(REFUSAL)))
    script.chmod(0o755)
    monkeypatch.setenv("MICROREC_BIN", str(script))
    monkeypatch.setattr(nightly, "deadline", None)  # `dag.test()` of 3.3.2 trips over one (apache/airflow#73428)
    run = nightly.test(run_conf={"accept_change": accept})
    tasks = {instance.task_id: instance for instance in run.get_task_instances()}
    assert str(tasks["check_input"].state) == "failed"
    assert {str(task.state) for name, task in tasks.items() if name not in ("check_input", "summarise")} == {
        "upstream_failed"
    }
    [call] = Path(f"{script}.calls").read_text().splitlines()
    assert ("--accept-change" in call.split()) == accept
    note = tasks["summarise"].xcom_pull("summarise")
    assert "- input **refused**, compared with `night-0`\n- items: 577 then, 144 now (allowed: at least 520)\n" in note
    assert "- warning: three\n- and 1 more warnings\n" in note
    assert "four" not in note


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore")  # Airflow's own libraries warn of one another
def test_nightly_sample_gives_a_verified_release_and_an_asset_event(nightly, tmp_path, monkeypatch):
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session

    monkeypatch.setenv("MICROREC_BIN", MICROREC)
    subprocess.run([MICROREC, "sample", str(tmp_path), "--items", "80", "--users", "100", "--json"], check=True)
    config = str(tmp_path / "microrec.toml")
    settings = ["train.max_epochs=6", "model.embedding_dim=16"]
    conf = {"config": config, "device": "cpu", "set": settings, "shards": 1}
    monkeypatch.setattr(nightly, "deadline", None)  # `dag.test()` of 3.3.2 trips over one (apache/airflow#73428)
    run = nightly.test(run_conf=conf)
    states = {instance.task_id: str(instance.state) for instance in run.get_task_instances()}
    assert str(run.state) == "success", states
    note = next(task for task in run.get_task_instances() if task.task_id == "summarise").xcom_pull("summarise")
    assert re.search(r"seconds: extract_image [\d.]+, extract_text [\d.]+, prepare [\d.]+, train [\d.]+, ", note)
    releases = [path for path in (tmp_path / "microrec-store" / "releases").iterdir() if (path / "_SUCCESS").exists()]
    assert len(releases) == 1
    verified = subprocess.run(
        [MICROREC, "verify", "-c", config, releases[0].name, "--json"], check=True, capture_output=True, text=True
    )
    with create_session() as session:
        events = {event.name: event.extra for event in session.query(AssetEvent).all() if event.extra}
    assert {"microrec_release", "microrec_champion"} <= set(events)
    for name in ("microrec_release", "microrec_champion"):
        assert events[name]["digest"] in verified.stdout
        assert events[name]["metrics"]["validation"]["recall@20"] >= 0
        assert events[name]["run_id"] == releases[0].name
        assert events[name]["release"] == str(releases[0])
    again = nightly.test(run_conf=conf)
    states = {instance.task_id: str(instance.state) for instance in again.get_task_instances()}
    assert str(again.state) == "success", states
    assert {states[name] for name in ("train", "export", "promote")} == {"skipped"}
