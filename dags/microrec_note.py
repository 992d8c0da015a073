"""The note on a DAG run's page: what the night did, in a few lines.

Airflow 3.3 gives tasks no call for it, so it goes through the public API, which the connection `airflow_api`
(`http://user:password@host:port`) gives access to. Without that connection the note stands in the task's log only.
"""

import json
import logging
import urllib.parse
import urllib.request
from typing import Any

from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowNotFoundException

log = logging.getLogger(__name__)

LONGEST = 1000
"""Characters that Airflow keeps of a note."""
LONGEST_LINE, REASONS = 120, 4
"""Characters of a warning or a reason, and reasons; the task's log has all of them."""


def compose(results: dict[str, Any]) -> str:
    """Markdown lines from the results of the night's tasks, by task id; those that did not run are left out.

    How the night ended comes first: the run's page shows one line until it is opened.
    """
    lines = [_outcome(results), f"run `{results['run_id']}`"]
    lines += _input_lines(results.get("checks"))
    modalities: dict[str, list[dict[str, Any]]] = {}
    for shard in (*(results.get("extract_image") or ()), *(results.get("extract_text") or ())):
        if shard:
            modalities.setdefault(shard["modality"], []).append(shard)
    for name, shards in modalities.items():
        encoded, calls = (sum(shard[count] for shard in shards) for count in ("encoded", "encoder_calls"))
        lines.append(f"{name}: {encoded} encoded, {shards[0]['contents'] - encoded} cached, {calls} encoder calls")
    changes = results.get("changes")
    if changes and not changes["changes"]:
        lines.append(
            f"**input unchanged** since `{changes['champion']}`: the champion stays, digest `{changes['digest']}`"
        )
    if trained := results.get("train"):
        lines.append(f"{trained['epochs']} epochs, best {trained['best_epoch']}, on {trained['device']}")
    if (released := results.get("export")) and (counts := released["counts"]):
        lines.append(f"release digest `{released['digest']}`, {', '.join(f'{n} {name}' for name, n in counts.items())}")
    for part, metrics in (results.get("evaluate") or {}).items():
        lines.append(f"{part}: recall@20 {metrics['recall@20']:.4f}, ndcg@20 {metrics['ndcg@20']:.4f}")
    if (asked := results.get("gate")) and asked.get("verdict"):
        against = f"against `{asked['champion']}`" if asked["champion"] else "there is no champion"
        lines.append(f"gate {asked['verdict']}, {against}")
    if registered := results.get("register"):
        lines.append(f"model {registered['model_name']} version {registered['model_version']}")
    seconds = {name: sum(filter(None, shards)) for name, shards in results.get("seconds", {}).items()}
    if any(seconds.values()):
        lines.append(f"seconds: {', '.join(f'{name} {value:.1f}' for name, value in seconds.items() if value)}")
    return "\n".join(f"- {line}" for line in lines)[:LONGEST]


def _input_lines(checks: dict[str, Any] | None) -> list[str]:
    """What the checks of the input came to, and the first warnings."""
    if not checks:
        return []
    against = f"compared with `{checks['champion']}`" if checks["champion"] else checks["note"]
    verdict = f"**{checks['verdict']}**" if checks["reasons"] else checks["verdict"]
    lines = [f"input {verdict}, {against}"]
    lines += [reason[:LONGEST_LINE] for reason in checks["reasons"][:REASONS]]
    if more := checks["reasons"][REASONS:]:
        lines.append(f"and {len(more)} more of the input's checks")
    return [*lines, *(f"warning: {line}"[:LONGEST_LINE] for line in checks["warnings"][:3]), *_left(checks)]


def _left(checks: dict[str, Any]) -> list[str]:
    left = checks["num_warnings"] - len(checks["warnings"])
    return [f"and {left} more warnings"] if left else []


def _outcome(results: dict[str, Any]) -> str:
    if results.get("promote"):
        return "**promoted**"
    if refused := results.get("refused"):
        return f"**refused**, waits for an approval: {refused['reason']}"
    if (checks := results.get("checks")) and checks["verdict"] == "refused":
        return f"**refused** by the checks of the input: {checks['reasons'][0]}"
    return f"not promoted: {reason}" if (reason := results.get("stays")) else "not promoted"


def attach(dag_id: str, dag_run_id: str, note: str) -> None:
    """Put the note on the run's page."""
    log.info("note:\n%s", note)
    try:
        connection = Connection.get("airflow_api")
    except AirflowNotFoundException:
        log.info("there is no connection airflow_api: the note stays in this log")
        return
    base = f"{connection.conn_type}://{connection.host}:{connection.port}"
    token = _send(f"{base}/auth/token", "POST", {"username": connection.login, "password": connection.password})
    place = f"/api/v2/dags/{dag_id}/dagRuns/{urllib.parse.quote(dag_run_id, safe='')}?update_mask=note"
    _send(base + place, "PATCH", {"note": note}, token["access_token"])


def _send(address: str, method: str, body: dict[str, Any], token: str | None = None) -> dict[str, Any]:
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    request = urllib.request.Request(address, json.dumps(body).encode(), headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)
