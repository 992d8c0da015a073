"""An example of a consumer: loads the champion's vectors into PostgreSQL with pgvector whenever the champion moves.

Started by the asset `microrec_champion`; which release it loads, in whatever store, stands in the asset's event. It
reads the release and nothing else of the pipeline, as any other consumer would: a search index, a cache, a warehouse.
"""

import os
from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, get_current_context, task
from microrec_alerts import run_failed, task_failed
from microrec_assets import CHAMPION
from microrec_command import run_microrec
from microrec_run import run_id_of


@dag(
    schedule=[CHAMPION],
    catchup=False,
    max_active_runs=1,
    params={
        "config": Param(
            os.environ.get("MICROREC_CONFIG", "microrec.toml"), type="string", description="Configuration file (TOML)."
        )
    },
    doc_md=__doc__,
    tags=["microrec", "consumer"],
    on_failure_callback=run_failed,
    default_args={
        "owner": "microrec",
        "retries": 3,
        "retry_delay": timedelta(seconds=30),
        "retry_exponential_backoff": True,
        "execution_timeout": timedelta(hours=1),
        "on_failure_callback": task_failed,
    },
)
def microrec_to_pgvector() -> None:
    """One task."""

    @task
    def load() -> dict[str, Any]:
        """Replace the tables of vectors, in one transaction."""
        context = get_current_context()
        events = context["triggering_asset_events"].get(CHAMPION, ())
        champion = ([event.extra for event in events if event.extra.get("release")] or [{}])[-1]
        release = ["--release", champion["release"]] if champion else []
        run_id = champion.get("run_id") or run_id_of(context["dag_run"])
        return run_microrec(["to-pgvector", "-c", context["params"]["config"], *release], f"{run_id} to-pgvector")

    load()


microrec_to_pgvector()
