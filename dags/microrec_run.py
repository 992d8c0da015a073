"""A DAG run as the command line knows it: which run it is, what it stands for, and with which configuration."""

import hashlib
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import get_current_context
from airflow.sdk.exceptions import AirflowFailException
from microrec_command import run_microrec
from microrec_settings import AirflowSettings, read_settings
from microrec_shops import find_config


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
    run_id = run_id_of(context["dag_run"])
    identity = ["--run-id", run_id] if run else []
    common = configured(context["params"]["config"], overrides())
    result = run_microrec([command, *arguments, *common, *identity], f"{run_id} {command}")
    if "seconds" in result:
        context["ti"].xcom_push(key="seconds", value=result["seconds"])
    return result


def overrides() -> list[str]:
    """What this DAG run's parameters change in the configuration: `section.key=value`."""
    context = get_current_context()
    params, date = context["params"], f"{moment_of(context['dag_run']):%Y-%m-%d}"
    share = [f"catalogue.filter.user_share={params['sample']}"] if params["sample"] < 1 else []
    return [f"train.device={params['device']}", *share, *(one.replace("{ds}", date) for one in params["set"])]


def configured(config: str, changes: Iterable[str] = ()) -> list[str]:
    """The options that give a command its configuration.

    Raises `AirflowFailException` for a configuration from elsewhere, and for a setting that is not to be changed:
    the right to trigger a night must not give the use of the worker's credentials.
    """
    changes = list(changes)
    try:
        file = find_config(config)
        settings = read_settings(file) if changes and file.exists() else AirflowSettings()
    except (OSError, ValueError) as error:
        raise AirflowFailException(str(error)) from error
    for key in (one.partition("=")[0].strip() for one in changes):
        if not settings.overrides(key):
            raise AirflowFailException(
                f"set may not change {key!r}; airflow.overridable in {file} has {', '.join(settings.overridable)}"
            )
    return ["-c", str(file), *(part for one in changes for part in ("--set", one))]


def announce(extra: dict[str, Any]) -> None:
    """Give the event of the task's one outlet what consumers need."""
    context = get_current_context()
    [asset] = context["task"].outlets
    context["outlet_events"][asset].extra = extra


def to_be_promoted() -> bool:
    """Whether this night may move the champion: a trial on a part of the users may not."""
    params = get_current_context()["params"]
    return bool(params["promote"]) and params["sample"] == 1


def as_of() -> list[str]:
    """The option that says what the night stands for."""
    return ["--as-of", moment_of(get_current_context()["dag_run"]).isoformat()]
