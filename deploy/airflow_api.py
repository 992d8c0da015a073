"""Airflow's REST API, as far as operating the stack needs it."""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploy.env_file import read


class Airflow:
    """One Airflow, as its administrator."""

    def __init__(self, port: str, password: str) -> None:
        self.base = f"http://127.0.0.1:{port}"
        self._password = password
        self._token = ""

    @classmethod
    def of(cls, env_file: Path) -> "Airflow":
        """The Airflow that an `.env` describes."""
        settings = read(env_file)
        return cls(settings["AIRFLOW_PORT"], settings["AIRFLOW_ADMIN_PASSWORD"])

    def call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, again: bool = True
    ) -> dict[str, Any]:
        """Call `/api/v2/...`, with a fresh token where the old one has run out.

        Raises `SystemExit` with Airflow's own words where it refuses, `OSError` where it does not answer.
        """
        try:
            return self._send(method, f"/api/v2/{path}", body)
        except urllib.error.HTTPError as error:
            if error.code == 401 and again:
                self.log_in()
                return self.call(method, path, body, again=False)
            raise SystemExit(f"Airflow refused {method} {path}: {error.read().decode()[:500]}") from error

    def log_in(self) -> str:
        """Return a fresh token.

        Raises `SystemExit` where Airflow does not know the password.
        """
        login = {"username": "admin", "password": self._password}
        try:
            self._token = str(self._send("POST", "/auth/token", login)["access_token"])
        except urllib.error.HTTPError as error:
            raise SystemExit(
                f"Airflow at {self.base} does not know the password in .env (status {error.code})"
            ) from error
        return self._token

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        request = urllib.request.Request(
            self.base + path,
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": "application/json", "Authorization": f"Bearer {self._token}"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            document: dict[str, Any] = json.loads(answer.read() or b"{}")
        return document

    def trigger(self, dag_id: str, conf: Mapping[str, Any], logical_date: str | None = None) -> str:
        """Start a DAG run; return its id."""
        run = self.call("POST", f"dags/{dag_id}/dagRuns", {"logical_date": logical_date, "conf": dict(conf)})
        return str(run["dag_run_id"])

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """A DAG run: state, times, note."""
        return self.call("GET", f"dags/{dag_id}/dagRuns/{_quoted(run_id)}")

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """All runs of a DAG, the latest first."""
        return list(self.call("GET", f"dags/{dag_id}/dagRuns?order_by=-run_after&limit=100")["dag_runs"])

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """The task instances of a run."""
        path = f"dags/{dag_id}/dagRuns/{_quoted(run_id)}/taskInstances?limit=1000"
        return list(self.call("GET", path)["task_instances"])

    def error(self, dag_id: str, run_id: str, task: Mapping[str, Any]) -> str:
        """What the last attempt at a task failed with, by its log; else that the log does not say or is not there."""
        place = f"dags/{dag_id}/dagRuns/{_quoted(run_id)}/taskInstances/{task['task_id']}/logs/{task['try_number']}"
        try:
            lines = self.call("GET", f"{place}?map_index={task['map_index']}&full_content=true")["content"]
        except (OSError, SystemExit) as error:
            return f"its log cannot be read ({error})"
        # What was raised stands first, what that came from after it.
        errors = [
            line["error_detail"][0]["exc_value"]
            for line in lines
            if isinstance(line, dict) and line.get("error_detail")
        ]
        return str(errors[-1]) if errors else "its log does not say why"

    def result(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> Any:
        """What a task returned."""
        path = f"dags/{dag_id}/dagRuns/{_quoted(run_id)}/taskInstances/{task_id}/xcomEntries/return_value"
        return self.call("GET", f"{path}?map_index={map_index}&deserialize=true")["value"]


def _quoted(run_id: str) -> str:
    return urllib.parse.quote(run_id, safe="")
