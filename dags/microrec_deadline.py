"""When a night is late: counted from what nights that trained have taken.

Airflow's own average counts nights that ended after `changes`, in seconds, and comes down with each of them. Airflow
reads another reference from a plugin only (dags/plugins); without the plugin, Airflow's own average stays.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DeadlineReference
from airflow.sdk.configuration import conf
from airflow.sdk.definitions.deadline import BaseDeadlineReference

MAX_NIGHTS = 10
TRAINING = "train"
"""The task that a night must have done to count."""


class TrainedRuntime(BaseDeadlineReference):
    """Now, and the mean duration of the last successful nights that trained; no deadline while there are none."""

    required_kwargs = frozenset({"dag_id"})

    def _evaluate_with(self, *, session: Any, dag_id: str) -> datetime | None:
        from airflow.models import DagRun, TaskInstance  # the scheduler calls this
        from sqlalchemy import and_, select

        query = (
            select(DagRun.start_date, DagRun.end_date)
            .join(TaskInstance, and_(TaskInstance.dag_id == DagRun.dag_id, TaskInstance.run_id == DagRun.run_id))
            .where(DagRun.dag_id == dag_id, DagRun.state == "success", DagRun.end_date.is_not(None))
            .where(TaskInstance.task_id == TRAINING, TaskInstance.state == "success")
            .order_by(DagRun.end_date.desc())
            .limit(MAX_NIGHTS)
        )
        nights = [ended - begun for begun, ended in session.execute(query)]
        return datetime.now(UTC) + sum(nights, timedelta()) / len(nights) if nights else None


def usual_runtime() -> BaseDeadlineReference:
    """The reference that this Airflow can read."""
    plugin = Path(conf.get("core", "plugins_folder")) / "microrec_plugin.py"
    return TrainedRuntime() if plugin.exists() else DeadlineReference.AVERAGE_RUNTIME(max_runs=MAX_NIGHTS, min_runs=1)
