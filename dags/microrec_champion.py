"""The champion by hand: promote a version, roll back, hold, free.

It announces `microrec_champion` where the champion has moved, so that whatever follows the nights follows this, too.
`hold` and `free` move nothing and announce nothing.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from microrec_alerts import task_failed
from microrec_command import run_microrec
from microrec_run import announce, configured, run_id_of
from microrec_shops import Shop, find_shops

ACTIONS = ("promote", "rollback", "hold", "free")


def params(shop: Shop) -> dict[str, Param]:
    """What is to be done."""
    return {
        "action": Param("rollback", type="string", enum=list(ACTIONS), description="What to do."),
        "version": Param("", type="string", pattern="^[0-9]*$", description="promote: the registered model's version."),
        "reason": Param("", type="string", description="The reason; champion.json keeps it. hold needs one."),
        "force": Param(False, type="boolean", description="promote: even if the champion is held or the gate refuses."),
        "config": shop.config_param,
    }


def command(given: dict[str, Any]) -> list[str]:
    """The command line of an action.

    Raises `AirflowFailException` where the action lacks a parameter.
    """
    reason = ["--reason", given["reason"]] if given["reason"] else []
    match given["action"]:
        case "promote" if not given["version"]:
            raise AirflowFailException("promote: version is empty; give the registered model's version")
        case "promote":
            return ["promote", given["version"], *(["--force"] if given["force"] else []), *reason]
        case "rollback":
            return ["rollback", *reason]
        case "hold":
            return ["champion", "hold", "--reason", given["reason"]]
    return ["champion", "free"]


# Not tried again: a rollback that failed halfway would go back one more.
@task(retries=0)
def move() -> dict[str, Any]:
    """Do it."""
    context = get_current_context()
    given = context["params"]
    label = f"{run_id_of(context['dag_run'])} {given['action']}"
    return run_microrec([*command(given), *configured(given["config"])], label)


@task
def tell(champion: dict[str, Any]) -> dict[str, Any]:
    """Announce a champion that has moved."""
    if not (champion["changed"] and champion.get("release")):
        raise AirflowSkipException(f"the champion {champion['run_id']} has not moved")
    event = {name: champion[name] for name in ("run_id", "release", "digest", "counts", "model_version")}
    metrics = {part: champion["metrics"][part] for part in ("validation", "test") if champion["metrics"][part]}
    announce({**event, "metrics": metrics})
    return event


def by_hand(shop: Shop) -> Any:
    """The DAG of a shop."""

    @dag(
        dag_id=shop.named("microrec_champion"),
        schedule=None,
        max_active_runs=1,
        params=params(shop),
        doc_md=shop.doc(__doc__),
        tags=shop.tags,
        default_args={
            "owner": "microrec",
            "retries": 3,
            "retry_delay": timedelta(seconds=30),
            "execution_timeout": timedelta(hours=shop.settings.timeout_hours),
            "on_failure_callback": task_failed,
        },
    )
    def act() -> None:
        tell.override(outlets=[shop.champion])(move.override(pool=shop.settings.champion_pool)())

    return act()


for each in find_shops():
    by_hand(each)
