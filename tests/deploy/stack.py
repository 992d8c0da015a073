"""A stack for tests to use and to damage: services as processes, nights, what they left in the store."""

import io
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl
import psycopg2
import s3fs

from deploy.airflow_api import Airflow
from deploy.compose import ROOT, Stack
from deploy.env_file import PORTS, read
from deploy.night import DAG, follow
from deploy.processes import Processes

BUCKET = "microrec"
APPROVAL, CHAMPION, CONSUMER = "microrec_approval", "microrec_champion", "microrec_to_pgvector"
MAPPED = ("extract_image", "extract_text")
WITHOUT_RESULT = ("plan_shards", "changes", "refused", "ask_approval")


@dataclass(frozen=True)
class Night:
    """A night that has ended."""

    run_id: str
    """Airflow's; ours stands in `release`."""
    tasks: list[dict[str, Any]]
    results: dict[str, Any]
    """What each task returned; of a mapped one, a list."""
    note: str

    @property
    def states(self) -> dict[str, str]:
        return {task["task_id"]: task["state"] for task in self.tasks}

    @property
    def digest(self) -> str:
        return self.results["export"]["digest"]

    @property
    def release(self) -> str:
        return self.results["export"]["run_id"]

    @property
    def encoded(self) -> dict[str, int]:
        return {name: sum(shard["encoded"] for shard in self.results[name]) for name in MAPPED}

    def attempts(self, task_id: str) -> list[int]:
        """How often each (mapped) instance of a task was tried."""
        found = sorted((task for task in self.tasks if task["task_id"] == task_id), key=lambda task: task["map_index"])
        return [task["try_number"] for task in found]


@dataclass(frozen=True)
class TestStack:
    """Services as processes, with an `.env` and a folder of their own."""

    __test__ = False

    env_file: Path
    state: Path

    @property
    def settings(self) -> dict[str, str]:
        return read(self.env_file)

    @cached_property
    def airflow(self) -> Airflow:
        return Airflow.of(self.env_file)

    @property
    def processes(self) -> Processes:
        return Processes(self.state)

    def run(self, action: str) -> str:
        """`python -m deploy.stack ACTION`, which must succeed; return what it says."""
        options = ["--env-file", str(self.env_file), "--state", str(self.state)]
        command = [sys.executable, "-m", "deploy.stack", action, *options]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def change(self, **settings: str) -> None:
        """Give settings other values."""
        self.env_file.write_text("".join(f"{name}={value}\n" for name, value in (self.settings | settings).items()))

    def pause(self, dag_id: str, paused: bool = True) -> None:
        """Let a DAG start no more runs, nor the next task of one that runs."""
        self.airflow.call("PATCH", f"dags/{dag_id}?update_mask=is_paused", {"is_paused": paused})

    def resume(self, dag_id: str) -> None:
        """Let it go on."""
        self.pause(dag_id, paused=False)

    def clear(self, run_id: str, task_id: str) -> None:
        """Have a task and all that follow it done again, as the button of Airflow's page does."""
        asked = {"dag_run_id": run_id, "task_ids": [task_id], "dry_run": False, "only_failed": False}
        path = f"dags/{DAG}/clearTaskInstances"
        self.airflow.call("POST", path, asked | {"include_downstream": True, "reset_dag_runs": True})

    def start_night(self, *overrides: str, **params: Any) -> str:
        """Trigger a night with overrides of the configuration; return Airflow's run id."""
        return self.airflow.trigger(DAG, {"set": list(overrides), **params})

    def finish_night(self, run_id: str, state: str = "success", dag_id: str = DAG) -> Night:
        """Follow a night to its end, which must be the one expected."""
        *_, (ended, tasks) = follow(self.airflow, run_id, dag_id)
        assert ended == state, {task["task_id"]: task["state"] for task in tasks}
        results: dict[str, Any] = {}
        for task in sorted(tasks, key=lambda task: task["map_index"]):
            name, index = task["task_id"], task["map_index"]
            if task["state"] != "success" or name.startswith(WITHOUT_RESULT):
                continue
            value = self.airflow.result(dag_id, run_id, name, index)
            if name in MAPPED:
                results.setdefault(name, []).append(value)
            else:
                results[name] = value
        return Night(run_id, tasks, results, self.airflow.run(dag_id, run_id)["note"])

    def night(self, *overrides: str, **params: Any) -> Night:
        """Run a night to its end."""
        return self.finish_night(self.start_night(*overrides, **params))

    def refused_night(self, *overrides: str) -> Night:
        """Run a night that must end red."""
        return self.finish_night(self.start_night(*overrides, shards=1), "failed")

    def finish_run(self, dag_id: str, run_id: str) -> None:
        """Follow a run of another DAG to its end, which must be a good one."""
        *_, (state, tasks) = follow(self.airflow, run_id, dag_id)
        assert state == "success", {task["task_id"]: task["state"] for task in tasks}

    def question(self, run_id: str) -> dict[str, Any] | None:
        """What an approval asks; None before it does."""
        path = f"dags/{APPROVAL}/dagRuns/{quote(run_id, safe='')}/hitlDetails"
        found = self.airflow.call("GET", path)["hitl_details"]
        return dict(found[0]) if found else None

    def answer(self, run_id: str, option: str) -> None:
        """Answer it, as the page's button does."""
        path = f"dags/{APPROVAL}/dagRuns/{quote(run_id, safe='')}/taskInstances/ask/-1/hitlDetails"
        self.airflow.call("PATCH", path, {"chosen_options": [option], "params_input": {}})

    def dags(self) -> set[str]:
        """Names of the DAGs that Airflow knows now."""
        return {dag["dag_id"] for dag in self.airflow.call("GET", "dags?limit=100")["dags"]}

    def task_state(self, run_id: str, task_id: str) -> str | None:
        """State of a task that is not mapped."""
        return next(task["state"] for task in self.airflow.tasks(DAG, run_id) if task["task_id"] == task_id)

    def log(self, run_id: str, task_id: str, attempt: int = 1) -> str:
        """The log of one attempt at a task."""
        place = f"dag_id={DAG}/run_id={run_id}/task_id={task_id}/attempt={attempt}.log"
        return (self.state / "logs" / "airflow" / place).read_text()

    @cached_property
    def store(self) -> s3fs.S3FileSystem:
        """The object store; paths begin with the bucket."""
        return s3fs.S3FileSystem(
            key=self.settings["S3_ACCESS_KEY"],
            secret=self.settings["S3_SECRET_KEY"],
            endpoint_url=f"http://127.0.0.1:{self.settings['S3_PORT']}",
            use_listings_cache=False,
            skip_instance_cache=True,
        )

    @property
    def champion(self) -> dict[str, Any]:
        """`champion.json` of the configured store."""
        return dict(self.read_json(f"{BUCKET}/store/champion.json"))

    def read_table(self, name: str) -> pl.DataFrame:
        """`items` or `interactions` of the catalogue."""
        return pl.read_parquet(io.BytesIO(self.store.cat_file(f"{BUCKET}/catalogue/{name}.parquet")))

    def replace_table(self, name: str, table: pl.DataFrame) -> None:
        """Write one of them anew, as whoever delivers the catalogue does."""
        payload = io.BytesIO()
        table.write_parquet(payload)
        self.store.pipe_file(f"{BUCKET}/catalogue/{name}.parquet", payload.getvalue())

    def vectors_database(self) -> psycopg2.extensions.connection:
        """A connection to the consumer's database, as the owner of its tables."""
        password, port = (self.settings[name] for name in ("VECTORS_DB_PASSWORD", "POSTGRES_PORT"))
        return psycopg2.connect(f"postgresql://vectors:{password}@127.0.0.1:{port}/vectors")

    def consumed(self, schema: str = "public") -> tuple[str, int] | None:
        """Digest and number of items that the consumer's tables in PostgreSQL hold; None before the first."""
        with closing(self.vectors_database()) as connection, connection.cursor() as cursor:
            try:
                cursor.execute(
                    f"SELECT digest, (SELECT count(*) FROM {schema}.item_vectors) FROM {schema}.vectors_release"
                )
            except psycopg2.errors.UndefinedTable:
                return None
            row = cursor.fetchone()
        return (str(row[0]), int(row[1])) if row else None

    def read_json(self, place: str) -> Any:
        return json.loads(self.store.cat_file(place))

    def microrec(self, *arguments: str) -> dict[str, Any]:
        """Run a command as the worker does."""
        worker = Stack(self.env_file, self.state).service("worker")
        done = subprocess.run(
            [ROOT / ".venv" / "bin" / "microrec", *arguments, "--json", "-c", self.state / "config" / "microrec.toml"],
            env={**os.environ, **worker.environment, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def free_ports() -> dict[str, str]:
    """Ports that are free now, with the ones SeaweedFS adds 10000 to in the lower range."""
    taken: dict[str, str] = {}
    for name, port in PORTS.items():
        candidate = port + 2000
        while any(is_taken(number) for number in (candidate, candidate + 10000)) or str(candidate) in taken.values():
            candidate += 1
        taken[name] = str(candidate)
    return taken


def is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(condition: Callable[[], Any], seconds: float = 1800, pause: float = 0.1) -> Any:
    """Wait until the condition gives something true; return it. Real time decides nothing here: be patient."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(pause)
    return found
