"""`make night`: triggers the nightly run and follows it to its end."""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from deploy.airflow_api import Airflow
from deploy.compose import ROOT

DAG = "microrec_nightly"
ENDED = ("success", "failed")
SECONDS_BETWEEN_LOOKS = 2.0
MARKS = {"success": "done", "failed": "FAILED", "skipped": "skipped", "upstream_failed": "not reached"}


def follow(airflow: Airflow, run_id: str, dag_id: str = DAG) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield the run's state and its tasks until it has ended; an api-server that restarts is waited for."""
    state = ""
    while state not in ENDED:
        try:
            state = airflow.run(dag_id, run_id)["state"]
            yield state, airflow.tasks(dag_id, run_id)
        except OSError as error:
            sys.stderr.write(f"Airflow does not answer ({error}); trying again\n")
        if state not in ENDED:
            time.sleep(SECONDS_BETWEEN_LOOKS)


def lines(tasks: list[dict[str, Any]], shown: dict[str, str]) -> Iterator[str]:
    """A line for each task whose state has changed; `shown` remembers."""
    for task in sorted(tasks, key=lambda task: task["start_date"] or "~"):
        name = _name(task)
        state = f"{task['state']} {task['try_number']}"
        if task["state"] and shown.get(name) != state and (task["state"] == "running" or _ended(task)):
            shown[name] = state
            yield f"{_done(tasks)}  {name:24} {_told(task)}"


def _name(task: dict[str, Any]) -> str:
    return str(task["task_id"]) + (f"[{task['map_index']}]" if task["map_index"] >= 0 else "")


def _done(tasks: list[dict[str, Any]]) -> str:
    return f"{sum(map(_ended, tasks)):3}/{len(tasks)}"


def _ended(task: dict[str, Any]) -> bool:
    return task["state"] in (*MARKS, "up_for_retry")


def _told(task: dict[str, Any]) -> str:
    seconds = f" {task['duration']:.1f} s" if task["duration"] and _ended(task) else ""
    again = f", attempt {task['try_number']}" if task["try_number"] > 1 else ""
    return f"{MARKS.get(task['state'], task['state'])}{seconds}  on {task['hostname'] or '?'}, {task['queue']}{again}"


def main() -> None:
    """`python -m deploy.night [--param NAME=JSON ...]`; the exit status says how the night ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env-file", type=Path, default=ROOT / ".env")
    parser.add_argument("--param", action="append", default=[], metavar="NAME=JSON", help="a parameter of the DAG")
    parser.add_argument("--logical-date", help="the moment the night stands for (ISO 8601); default none")
    given = parser.parse_args()
    conf = {name: json.loads(value) for name, _, value in (param.partition("=") for param in given.param)}
    airflow = Airflow.of(given.env_file)
    try:
        run_id = airflow.trigger(DAG, conf, given.logical_date)
    except OSError as error:
        raise SystemExit(f"Airflow does not answer at {airflow.base} ({error}); is the stack up? `make up`") from error
    sys.stderr.write(f"{airflow.base}/dags/{DAG}/runs/{run_id}\n")
    shown: dict[str, str] = {}
    tasks: list[dict[str, Any]] = []
    try:
        for _, tasks in follow(airflow, run_id):
            sys.stderr.writelines(f"{line}\n" for line in lines(tasks, shown))
        for task in tasks:
            if task["state"] == "failed":
                sys.stderr.write(f"{_name(task)}: {airflow.error(DAG, run_id, task)}\n")
    except KeyboardInterrupt:
        raise SystemExit("no longer followed; the night goes on") from None
    run = airflow.run(DAG, run_id)
    state = run["state"]
    begun, ended = (datetime.fromisoformat(run[name]) for name in ("start_date", "end_date"))
    sys.stdout.write(f"{state} after {(ended - begun).total_seconds():.0f} s\n{run['note'] or ''}\n")
    raise SystemExit(0 if state == "success" else 1)


if __name__ == "__main__":
    main()
