"""Removes what no night needs any more: old runs, releases, registered versions and features.

Off until somebody turns it on: it is paused when it is created. Then it runs every Sunday at 12:00 UTC. Trigger it by
hand with `apply` off to see what would go.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import CronTriggerTimetable, Param, dag, get_current_context, task
from microrec_alerts import run_failed, task_failed
from microrec_command import run_microrec
from microrec_run import configured, run_id_of
from microrec_shops import Shop, find_shops

SHOWN = 50
"""Items in the task's result; its log has all of them."""


def params(shop: Shop) -> dict[str, Param]:
    """What it may be told."""
    return {
        "config": Param(shop.config, type="string", description="Configuration file (TOML)."),
        "keep": Param(7, type="integer", minimum=0, description="Number of newest releases that always stay."),
        "keep_days": Param(30, type="number", minimum=0, description="Days that everything stays after its last use."),
        "apply": Param(True, type="boolean", description="Remove it; off: only say what can go."),
    }


def command(given: dict[str, Any]) -> list[str]:
    """The command line."""
    applied = ["--apply"] if given["apply"] else []
    return ["gc", "--keep", str(given["keep"]), "--keep-days", str(given["keep_days"]), *applied]


def collector(shop: Shop) -> Any:
    """The DAG of a shop; one task."""

    @dag(
        dag_id=shop.named("microrec_gc"),
        schedule=CronTriggerTimetable("0 12 * * 0", timezone="UTC"),
        catchup=False,
        is_paused_upon_creation=True,
        max_active_runs=1,
        params=params(shop),
        doc_md=shop.doc(__doc__),
        tags=shop.tags,
        on_failure_callback=run_failed,
        default_args={
            "owner": "microrec",
            "retries": 3,
            "retry_delay": timedelta(minutes=5),
            "execution_timeout": timedelta(hours=shop.settings.timeout_hours),
            "on_failure_callback": task_failed,
        },
    )
    def clean() -> None:
        @task
        def collect() -> dict[str, Any]:
            """Say or remove what can go; the result has the room, the first items and the notes."""
            context = get_current_context()
            given = context["params"]
            label = f"{run_id_of(context['dag_run'])} gc"
            found = run_microrec([*command(given), *configured(given["config"])], label)
            return {name: found[name] for name in ("applied", "bytes", "notes")} | {"items": found["items"][:SHOWN]}

        collect()

    return clean()


for each in find_shops():
    collector(each)
