"""A night as metrics, sent where Airflow sends its own: StatsD or OpenTelemetry. Alerts: docs/how-to/runbook.md.

Names begin with the DAG's, as Airflow's own do: StatsD has no labels, and each shop is a DAG.
"""

import re
import time
from datetime import datetime
from typing import Any

from airflow.sdk.observability import stats

SHOWN = ("recall@20", "ndcg@20")
DRIFT = ("cosine_median", "neighbours_kept", "recommendations_kept")


def night_metrics(results: dict[str, Any]) -> dict[str, float]:
    """Gauges from the results of the night's tasks, by task id; of tasks that did not run there are none."""
    checks, refused = results.get("checks") or {}, bool(results.get("refused"))
    metrics: dict[str, float] = {
        "promoted": bool(results.get("promote")),
        "refused": refused or checks.get("verdict") == "refused",
        "unchanged": bool(changes := results.get("changes")) and not changes["changes"],
    }
    if checks:
        metrics["warnings"] = checks["num_warnings"]
    for shard in (*(results.get("extract_image") or ()), *(results.get("extract_text") or ())):
        if shard:
            encoded = metrics.get(f"encoded.{shard['modality']}", 0) + shard["encoded"]
            metrics[f"encoded.{shard['modality']}"] = encoded
            metrics[f"cached.{shard['modality']}"] = shard["contents"] - encoded
    for name, count in (results.get("prepare") or {}).items():
        metrics[f"counts.{name}"] = count
    for part, found in (results.get("evaluate") or {}).items():
        metrics |= {f"{part}.{name.replace('@', '_at_')}": found[name] for name in SHOWN}
    for asked, margins in (("checks", checks.get("margins")), ("gate", results.get("margins"))):
        metrics |= _margins(asked, margins or {})
    for part, row in (results.get("drift") or {}).items():
        metrics |= {f"drift.{part}.{name}": row[name] for name in DRIFT if row[name] is not None}
    champion = results.get("champion") or {}
    if since := champion.get("as_of") or champion.get("promoted_at"):
        metrics["champion.age"] = time.time() - datetime.fromisoformat(since).timestamp()
    for stage, shards in results.get("seconds", {}).items():
        if seconds := sum(filter(None, shards)):
            metrics[f"seconds.{stage}"] = seconds
    return metrics


def _margins(asked: str, margins: dict[str, float]) -> dict[str, float]:
    """Of each row, spelled as metrics are, and the least of them."""
    named = {f"{asked}.margin.{re.sub('[^a-z0-9]+', '_', row.lower())}": margin for row, margin in margins.items()}
    return {f"{asked}.least_margin": min(margins.values()), **named} if margins else {}


def send(dag_id: str, results: dict[str, Any]) -> None:
    """Send a night's metrics, and when it ended: a night that never came is missed by its absence."""
    for name, value in (night_metrics(results) | {"ended": time.time()}).items():
        stats.gauge(f"{dag_id}.{name}", float(value))
