"""The tasks of a night: each runs one `microrec` command of the ML environment and passes small JSON on."""

import logging
import os
from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import get_current_context, task, task_group
from airflow.sdk.exceptions import AirflowException, AirflowSkipException
from microrec_command import RefusedError
from microrec_lineage import champion_file, tell
from microrec_metrics import send
from microrec_note import LONGEST_LINE, attach, compose
from microrec_run import announce, as_of, microrec, overrides, run_id_of, to_be_promoted

log = logging.getLogger(__name__)


def on(queue: str) -> dict[str, Any]:
    """A task's queue; the Kubernetes executor has none and takes the GPU pod (deploy/kubernetes) for `gpu`."""
    template = os.environ.get("MICROREC_GPU_POD_TEMPLATE") if queue == "gpu" else None
    return {"queue": queue, "executor_config": {"pod_template_file": template} if template else {}}


@task
def check_input() -> dict[str, list[str]]:
    """Pin the night's input and refuse an impossible or shrunken one; return the modalities by kind of content.

    Cleared after the input has changed, it begins the night again on the current input.
    """
    kinds: dict[str, list[str]] = {}
    for name, report in _validate()["modalities"].items():
        kinds.setdefault(report["content"], []).append(name)
    return kinds


def _validate() -> dict[str, Any]:
    """Run `validate` and keep what the checks say, also where they refuse: a task that fails returns nothing."""
    accepted = ["--accept-change"] if get_current_context()["params"]["accept_change"] else []
    try:
        found = microrec("validate", *accepted)
    except RefusedError as refusal:
        _push_checks(refusal.result)
        raise
    _push_checks(found)
    return found


def _push_checks(found: dict[str, Any] | None) -> None:
    """Keep verdict and warnings for the note; a whole report is too much for Airflow's database."""
    if not found:
        return
    checks, warnings = found["checks"], found["warnings"]
    kept = {name: checks[name] for name in ("verdict", "champion", "note", "reasons")}
    shown = {"warnings": [line[:LONGEST_LINE] for line in warnings[:3]], "num_warnings": len(warnings)}
    get_current_context()["ti"].xcom_push(key="checks", value={**kept, **shown, "margins": _margins(checks)})


def _margins(judged: dict[str, Any]) -> dict[str, float]:
    """How far each row of the checks or of the gate was from a refusal, by the row's name."""
    rows = judged.get("rows", [])
    return {row["name"]: row["margin"] for row in rows if row.get("margin") is not None}


@task_group
def plan_shards(checked: Any) -> tuple[Any, Any]:
    """One extraction task per modality and shard; vectors that were computed elsewhere need none."""

    @task
    def image(kinds: dict[str, list[str]]) -> list[dict[str, str]]:
        return _shards_of(kinds.get("image", []))

    @task
    def text(kinds: dict[str, list[str]]) -> list[dict[str, str]]:
        return _shards_of(kinds.get("text", []))

    return image(checked), text(checked)


def _shards_of(modalities: list[str]) -> list[dict[str, str]]:
    count = get_current_context()["params"]["shards"]
    return [{"modality": name, "shard": f"{index}/{count}"} for name in modalities for index in range(count)]


def _extract(modality: str, shard: str) -> dict[str, Any]:
    done = microrec("extract", "--modality", modality, "--shard", shard)["modalities"][modality]
    return {"modality": modality, **{name: done[name] for name in ("contents", "encoded", "encoder_calls")}}


@task
def extract_image(modality: str, shard: str) -> dict[str, Any]:
    """Encode the pictures of this shard that were not seen before."""
    return _extract(modality, shard)


@task
def extract_text(modality: str, shard: str) -> dict[str, Any]:
    """Encode the texts of this shard that were not seen before."""
    return _extract(modality, shard)


@task(trigger_rule="none_failed")
def prepare() -> dict[str, int]:
    """Clean, split, index. A retry first repeats what earlier tasks did for another input."""
    if get_current_context()["ti"].try_number > 1:
        begun_again = _validate()["begun_again"]
        # Pictures may have moved though the tables have not: the run's own extraction would count as done.
        microrec("extract", run=begun_again)
    done = microrec("prepare")
    tell(read=done.get("input_digests", ()))
    return done["counts"]


@task.short_circuit(ignore_downstream_trigger_rules=False)
def changes() -> bool:
    """Whether training could give anything but the champion again."""
    context = get_current_context()
    found = microrec("changes")
    context["ti"].xcom_push(key="changes", value={**found, "changes": found["changes"][:20]})
    asked = context["params"]["full_refresh"] or context["dag_run"].run_type == "backfill"
    return bool(found["changes"]) or asked


@task
def train() -> dict[str, Any]:
    """Fit the model; a retry continues from the last checkpoint."""
    done = microrec("train")
    return {name: done[name] for name in ("epochs", "best_epoch", "device")}


@task
def evaluate() -> dict[str, Any]:
    """Measure validation and test."""
    metrics = microrec("evaluate")["metrics"]
    return {part: metrics[part] for part in ("validation", "test") if metrics[part]}


@task
def gate() -> dict[str, Any]:
    """Ask before anything is published; fails, without retry, where quality has fallen too far."""
    if not to_be_promoted():
        return {"asked": False}
    context = get_current_context()
    try:
        found = microrec("gate", *as_of())
    except RefusedError as refusal:
        context["ti"].xcom_push(key="refused", value=_refused(context, str(refusal)))
        context["ti"].xcom_push(key="margins", value=_margins(refusal.result or {}))
        raise
    context["ti"].xcom_push(key="margins", value=_margins(found))
    return {name: found[name] for name in ("verdict", "champion", "metric", "value")}


def _refused(context: Any, reason: str) -> dict[str, Any]:
    """What an operator's approval needs to publish this night all the same."""
    return {
        "run_id": run_id_of(context["dag_run"]),
        "reason": reason,
        "as_of": as_of()[1],
        "config": context["params"]["config"],
        "set": overrides(),
        "attempt": context["ti"].try_number,
    }


@task.short_circuit(trigger_rule="one_failed", ignore_downstream_trigger_rules=False)
def refused() -> bool:
    """Whether it was the gate that ended the night, and not a fault before it or of it."""
    return get_current_context()["ti"].xcom_pull(task_ids="gate", key="refused") is not None


def ask_approval(dag_id: str) -> TriggerDagRunOperator:
    """Start the DAG in which an operator approves a refused night, and do not wait for it."""
    found = "ti.xcom_pull(task_ids='gate', key='refused')"
    return TriggerDagRunOperator(
        task_id="ask_approval",
        trigger_dag_id=dag_id,
        trigger_run_id="{{ run_id }}.{{ " + found + "['attempt'] }}",
        conf="{{ " + found + " | tojson }}",
        logical_date=None,
        skip_when_already_exists=True,
    )


@task
def export(metrics: dict[str, Any]) -> dict[str, Any]:
    """Publish the release and announce it; a trial's event says that it is one."""
    done, context = microrec("export"), get_current_context()
    tell(written=[done["release"]])
    context["ti"].xcom_push(key="drift", value=done.get("drift"))
    event = {
        "run_id": run_id_of(context["dag_run"]),
        **{name: done[name] for name in ("release", "digest", "counts")},
    }
    announce({**event, "metrics": metrics, "trial": not to_be_promoted()})
    return event


@task
def register() -> dict[str, Any]:
    """Log the run and register the model."""
    done = microrec("register")
    return {name: done[name] for name in ("run_id", "model_name", "model_version")}


@task
def promote(registered: dict[str, Any], released: dict[str, Any], metrics: dict[str, Any]) -> dict[str, Any]:
    """Move the champion and announce it; skipped where it is not wanted, or the champion is held or a newer one."""
    if not to_be_promoted():
        raise _stays("promote is off, or this is a trial on a sample")
    version = str(registered["model_version"])
    champion = microrec("promote", version, *as_of())
    if champion["run_id"] != released["run_id"]:
        raise _stays(why_it_stays(champion))
    tell(read=[released["release"]], written=[champion_file(released["release"])])
    event = {**released, "model_version": version}
    announce({**event, "metrics": metrics})
    return event


def why_it_stays(champion: dict[str, Any]) -> str:
    """Why `microrec promote` has left the champion that it answers."""
    if held := champion["held"]:
        return f"the champion {champion['run_id']} is held since {held['since']:.19}: {held['reason']}"
    return f"the champion {champion['run_id']} stands for a later moment and stays"


def _stays(reason: str) -> AirflowSkipException:
    get_current_context()["ti"].xcom_push(key="stays", value=reason)
    return AirflowSkipException(f"not promoted: {reason}")


@task(retries=1)
def summarise() -> str:
    """Write what happened on the run's page, however the night ended."""
    context = get_current_context()
    pull, dag_run = context["ti"].xcom_pull, context["dag_run"]
    mapped, stages = ("extract_image", "extract_text"), ("prepare", "train", "evaluate", "export", "register")
    results = {name: pull(task_ids=name) for name in (*stages, "gate", "promote")}
    results |= {name: pull(task_ids=[name]) for name in mapped}
    results |= {"run_id": run_id_of(dag_run), "changes": pull(task_ids="changes", key="changes")}
    results |= {"stays": pull(task_ids="promote", key="stays"), "refused": pull(task_ids="gate", key="refused")}
    results["checks"] = pull(task_ids="check_input", key="checks")
    results |= {"margins": pull(task_ids="gate", key="margins"), "drift": pull(task_ids="export", key="drift")}
    results["champion"] = _champion()
    results["seconds"] = {name: pull(task_ids=[name], key="seconds") for name in (*mapped, *stages)}
    send(dag_run.dag_id, results)
    note = compose(results)
    attach(dag_run.dag_id, dag_run.run_id, note)
    return note


def _champion() -> dict[str, Any] | None:
    """The champion that stands now; None where there is none or the store does not say, and the night is told so."""
    try:
        return microrec("champion", run=False)
    except AirflowException as error:
        log.warning("the champion's age is not known: %s", error)
        return None
