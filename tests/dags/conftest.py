"""These tests run in the Airflow environment (`make test` does that); elsewhere they are skipped."""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "dags"))

if importlib.util.find_spec("airflow") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    # Airflow reads its settings when it is first imported, so they must stand before any test module is.
    HOME = tempfile.TemporaryDirectory(prefix="microrec-airflow-", ignore_cleanup_errors=True)
    os.environ.update(
        AIRFLOW_HOME=HOME.name,
        AIRFLOW__CORE__DAGS_FOLDER=str(ROOT / "dags"),
        AIRFLOW__CORE__PLUGINS_FOLDER=str(ROOT / "dags" / "plugins"),
        AIRFLOW__CORE__LOAD_EXAMPLES="False",
        AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{HOME.name}/airflow.db",
        AIRFLOW__API_AUTH__JWT_SECRET="for-tests-only-" * 6,
    )


@pytest.fixture(scope="session")
def airflow_database():
    """A migrated SQLite database."""
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True)


ANSWER = """
import json, sys
from pathlib import Path
folder = Path(__file__).parent
words = [word for word in sys.argv[1:] if word != "--json"]
with (folder / "called.jsonl").open("a") as file:
    file.write(json.dumps(words) + "\\n")
status, answer = json.loads((folder / "answers.json").read_text()).get(words[0], [0, {}])
print(json.dumps(answer) if status == 0 else "", end="")
print("" if status == 0 else answer, file=sys.stderr)
sys.exit(status)
"""


@pytest.fixture
def fake_microrec(tmp_path, monkeypatch):
    """A program in microrec's place: `answers` by command, each an exit status and a result or last words; `called`."""
    folder = tmp_path / "fake"
    folder.mkdir()
    script = folder / "microrec"
    script.write_text(f"#!/bin/sh\n'''exec' '{sys.executable}' \"$0\" \"$@\"\n' '''\n{ANSWER}")
    script.chmod(0o755)
    monkeypatch.setenv("MICROREC_BIN", str(script))
    return SimpleNamespace(
        answers=lambda answers: (folder / "answers.json").write_text(json.dumps(answers)),
        called=lambda: [json.loads(line) for line in (folder / "called.jsonl").read_text().splitlines()],
    )


@pytest.fixture
def run_dag(airflow_database):
    """Run a DAG of the folder to its end; its run, and the state of each task."""
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(ROOT / "dags"))
    assert bag.import_errors == {}

    def run(dag_id, **options):
        dag = bag.dags[dag_id]
        for task in dag.tasks:
            task.retries = 0  # a task that fails is to fail the test, not to be waited for
        dag.deadline = None  # `dag.test()` of 3.3.2 trips over one (apache/airflow#73428)
        done = dag.test(**options)
        return done, {one.task_id: str(one.state) for one in done.get_task_instances()}

    return run


@pytest.fixture
def events_since(airflow_database):
    """The events of an asset since the test began, oldest first."""
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session

    def events(after=0):
        with create_session() as session:
            found = session.query(AssetEvent).filter(AssetEvent.id > after).order_by(AssetEvent.id)
            return [(event.id, event.name, event.extra) for event in found]

    before = max([number for number, _, _ in events()], default=0)
    return lambda name: [extra for _, one, extra in events(before) if one == name]
