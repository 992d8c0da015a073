"""A DAG run as the command line knows it: which run it is, what it stands for, and with which configuration."""

import hashlib
import re
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import get_current_context
from microrec_command import run_microrec


def moment_of(dag_run: Any) -> datetime:
    """What a night stands for: its logical date; where it has none (by asset, by hand), when it was due."""
    return (dag_run.logical_date or dag_run.run_after).astimezone(UTC)


def run_id_of(dag_run: Any) -> str:
    """The logical date where there is one: whatever started it, a date is one night. Else the DAG run's own id.

    A DAG run id is spelled with the characters a run id of ours may have; a digest keeps different ones apart.
    """
    if dag_run.logical_date is not None:
        moment = moment_of(dag_run)
        return f"night-{moment:%Y%m%dT%H%M%S}" + (f"-{moment:%f}" if moment.microsecond else "")
    spelled = re.sub(r"[^A-Za-z0-9._-]+", "-", dag_run.run_id).strip("-._")[:100]
    return f"{spelled or 'run'}-{hashlib.sha256(dag_run.run_id.encode()).hexdigest()[:8]}"


def microrec(command: str, *arguments: str, run: bool = True) -> dict[str, Any]:
    """Run a command with this DAG run's configuration and, unless `run=False`, for its run id.

    The seconds of a stage are kept beside the task's result, for the note.
    """
    context = get_current_context()
    params, dag_run = context["params"], context["dag_run"]
    overrides = [f"train.device={params['device']}"]
    if params["sample"] < 1:
        overrides.append(f"catalogue.filter.user_share={params['sample']}")
    overrides += [override.replace("{ds}", f"{moment_of(dag_run):%Y-%m-%d}") for override in params["set"]]
    common = ["-c", params["config"], *(part for override in overrides for part in ("--set", override))]
    run_id = run_id_of(dag_run)
    identity = ["--run-id", run_id] if run else []
    result = run_microrec([command, *arguments, *common, *identity], f"{run_id} {command}")
    if "seconds" in result:
        context["ti"].xcom_push(key="seconds", value=result["seconds"])
    return result


def to_be_promoted() -> bool:
    """Whether this night may move the champion: a trial on a part of the users may not."""
    params = get_current_context()["params"]
    return bool(params["promote"]) and params["sample"] == 1


def as_of() -> list[str]:
    """The option that says what the night stands for."""
    return ["--as-of", moment_of(get_current_context()["dag_run"]).isoformat()]
