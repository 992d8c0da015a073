"""An operator decides on a night that the gate refused.

The refused night starts this DAG. Its first task waits on the page "Required Actions", for days if need be: it holds no
worker and keeps no night from beginning. Approved, the night is published, registered and made champion although the
gate refused it and although the champion may be held. Rejected or left alone, nothing moves. A champion that stands for
a later moment than the refused night stays.
"""

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException
from microrec_alerts import task_failed
from microrec_command import run_microrec
from microrec_lineage import champion_file, tell
from microrec_run import announce, configured
from microrec_shops import Shop, find_shops
from microrec_stages import why_it_stays

WAITING_AT_ONCE = 100
BODY = """Run `{{ params.run_id }}`, for {{ params.as_of }}: {{ params.reason }}

*Approve* publishes it and makes it champion. *Reject* leaves the champion as it is."""


def params(shop: Shop) -> dict[str, Param]:
    """What the refused night says of itself."""
    return {
        "run_id": Param("", type="string", description="The refused run."),
        "reason": Param("", type="string", description="What the gate said."),
        "as_of": Param("", type="string", description="The moment the night stands for (ISO 8601)."),
        "config": shop.config_param,
        "set": shop.set_param,
        "attempt": Param(1, type="integer", description="Which attempt of the night's gate it was."),
    }


def _approved(command: str, *arguments: str) -> dict[str, Any]:
    """Run a command as the refused night would have."""
    given = get_current_context()["params"]
    options = configured(given["config"], given["set"])
    return run_microrec([command, *arguments, *options, "--run-id", given["run_id"]], f"{given['run_id']} {command}")


@task
def export() -> dict[str, Any]:
    """Publish the release and announce it."""
    done, metrics = _approved("export"), _approved("evaluate")["metrics"]
    tell(written=[done["release"]])
    event = {
        "run_id": get_current_context()["params"]["run_id"],
        **{name: done[name] for name in ("release", "digest", "counts")},
        "metrics": {part: metrics[part] for part in ("validation", "test") if metrics[part]},
    }
    announce({**event, "trial": False})
    return event


@task
def register() -> str:
    """Register the model; its version."""
    return str(_approved("register")["model_version"])


@task
def promote(released: dict[str, Any], version: str) -> dict[str, Any]:
    """Make it champion and announce it; skipped where a champion stands for a later moment."""
    context = get_current_context()
    given = context["params"]
    answer = context["ti"].xcom_pull(task_ids="ask")
    by = (answer["responded_by_user"] or {}).get("name", "an operator")
    moment = ["--as-of", given["as_of"]] if given["as_of"] else []
    reason = f"approved by {by}: {given['reason']}"
    champion = _approved("promote", version, "--force", "--reason", reason, *moment)
    if champion["run_id"] != released["run_id"]:
        raise AirflowSkipException(f"not promoted: {why_it_stays({**champion, 'held': None})}")
    tell(read=[released["release"]], written=[champion_file(released["release"])])
    event = {**released, "model_version": version}
    announce(event)
    return event


def approval(shop: Shop) -> Any:
    """The DAG of a shop."""

    @dag(
        dag_id=shop.named("microrec_approval"),
        schedule=None,
        max_active_runs=WAITING_AT_ONCE,
        params=params(shop),
        doc_md=shop.doc(__doc__),
        tags=shop.tags,
        default_args={
            "owner": "microrec",
            "retries": 5,
            "retry_delay": timedelta(seconds=30),
            "retry_exponential_backoff": True,
            "max_retry_delay": timedelta(minutes=10),
            "execution_timeout": timedelta(hours=shop.settings.timeout_hours),
            "on_failure_callback": task_failed,
        },
    )
    def decide() -> None:
        ask = ApprovalOperator(
            task_id="ask",
            subject="The gate refused {{ params.run_id }}: make it champion all the same?",
            body=BODY,
            defaults=ApprovalOperator.REJECT,
            response_timeout=timedelta(days=shop.settings.approval_days),
        )
        released, version = export.override(outlets=[shop.release])(), register()
        ask >> released >> version
        promote.override(outlets=[shop.champion], pool=shop.settings.champion_pool)(released, version)

    return decide()


for each in find_shops():
    approval(each)
