"""An example of a consumer: loads the champion's vectors into PostgreSQL with pgvector whenever they change.

Started by the assets `microrec_champion` and `microrec_increment`. An event says that the champion has moved, or that
an increment stands beside its release. The store says what to load when the task runs, so an old event never
brings an old release back. It reads these and nothing else of the pipeline, as any other consumer would: a search
index, a cache, a warehouse.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import dag, get_current_context, task
from microrec_alerts import run_failed, task_failed
from microrec_command import run_microrec
from microrec_run import configured, run_id_of
from microrec_shops import Shop, find_shops


def consumer(shop: Shop) -> Any:
    """The DAG of a shop; one task."""

    @dag(
        dag_id=shop.named("microrec_to_pgvector"),
        schedule=shop.champion | shop.increment,
        catchup=False,
        max_active_runs=1,
        params={"config": shop.config_param},
        doc_md=shop.doc(__doc__),
        tags=[*shop.tags, "consumer"],
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
    def consume() -> None:
        @task
        def load() -> dict[str, Any]:
            """Merge the release into the tables, in one transaction; the result says which release stands there now."""
            context = get_current_context()
            schema = ["--schema", shop.name.lower().replace("-", "_")] if shop.name else []
            command = ["to-pgvector", *schema, *configured(context["params"]["config"])]
            return run_microrec(command, f"{run_id_of(context['dag_run'])} to-pgvector")

        load()

    return consume()


for each in find_shops():
    consumer(each)
