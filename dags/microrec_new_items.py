"""Gives the catalogue's new items vectors between two nights: an increment beside the champion's release.

Off until somebody turns it on: it is paused when it is created. Then it runs every hour and whenever the asset
`microrec_catalogue` is updated. If nothing is new, its task is skipped. Otherwise the asset `microrec_increment` tells
consumers, who merge the increment by id. The next night's release has these items itself.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException
from microrec_alerts import run_failed, task_failed
from microrec_command import run_microrec
from microrec_run import announce, configured, run_id_of
from microrec_shops import Shop, find_shops

TOLD = ("run_id", "release", "digest", "increment", "number", "items", "added", "removed", "left_out")
"""What the event carries of the command's result."""


def new_items(shop: Shop) -> Any:
    """The DAG of a shop; one task."""

    @dag(
        dag_id=shop.named("microrec_new_items"),
        schedule=AssetOrTimeSchedule(
            timetable=CronTriggerTimetable("0 * * * *", timezone="UTC"), assets=shop.catalogue
        ),
        catchup=False,
        is_paused_upon_creation=True,
        max_active_runs=1,
        params={"config": shop.config_param},
        doc_md=shop.doc(__doc__),
        tags=shop.tags,
        on_failure_callback=run_failed,
        default_args={
            "owner": "microrec",
            "retries": 3,
            "retry_delay": timedelta(minutes=1),
            "execution_timeout": timedelta(hours=shop.settings.timeout_hours),
            "on_failure_callback": task_failed,
        },
    )
    def embed() -> None:
        @task(pool=shop.settings.encode_pool, outlets=[shop.increment])
        def increment() -> dict[str, Any]:
            """Publish the increment and announce it; skipped where nothing is new."""
            context = get_current_context()
            label = f"{run_id_of(context['dag_run'])} increment"
            found = run_microrec(["increment", *configured(context["params"]["config"])], label)
            # An attempt that was killed may have published and not announced.
            untold = context["ti"].try_number > 1 and found["increment"]
            if not (found["changed"] or untold):
                raise AirflowSkipException(f"nothing is new beside release {found['run_id']}")
            event = {name: found[name] for name in TOLD}
            announce(event)
            return event

        increment()

    return embed()


for each in find_shops():
    new_items(each)
