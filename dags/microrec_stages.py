"""The tasks of a night: each runs one `microrec` command of the ML environment and passes small JSON on."""

import os
from datetime import timedelta
from typing import Any

from airflow.sdk import get_current_context, task, task_group
from airflow.sdk.exceptions import AirflowSkipException
from microrec_assets import CHAMPION, RELEASE
from microrec_command import RefusedError
from microrec_note import LONGEST_LINE, attach, compose
from microrec_run import as_of, microrec, run_id_of, to_be_promoted

IMAGE_QUEUE = os.environ.get("MICROREC_IMAGE_QUEUE", "default")
"""Queue of the image shards: `gpu` where the GPU workers are to encode pictures, too."""
ENCODE_POOL, GPU_POOL, CHAMPION_POOL = "microrec_encode", "microrec_gpu", "microrec_champion"


def _on(queue: str) -> dict[str, Any]:
    """A task's queue; the Kubernetes executor has none and takes the GPU pod (deploy/kubernetes) for `gpu`."""
    template = os.environ.get("MICROREC_GPU_POD_TEMPLATE") if queue == "gpu" else None
    return {"queue": queue, "executor_config": {"pod_template_file": template} if template else {}}


@task
def check_input() -> dict[str, list[str]]:
    """Refuse impossible or shrunken input before anything is computed; return the modalities by kind of content."""
    accepted = ["--accept-change"] if get_current_context()["params"]["accept_change"] else []
    try:
        found = microrec("validate", *accepted, run=False)
    except RefusedError as refusal:
        _push_checks(refusal.result)  # a task that fails returns nothing, and the note is to say what was refused
        raise
    _push_checks(found)
    kinds: dict[str, list[str]] = {}
    for name, report in found["modalities"].items():
        kinds.setdefault(report["content"], []).append(name)
    return kinds


def _push_checks(found: dict[str, Any] | None) -> None:
    """Keep verdict and warnings for the note; a whole report is too much for Airflow's database."""
    if not found:
        return
    checks, warnings = found["checks"], found["warnings"]
    kept = {name: checks[name] for name in ("verdict", "champion", "note", "reasons")}
    value = {**kept, "warnings": [line[:LONGEST_LINE] for line in warnings[:3]], "num_warnings": len(warnings)}
    get_current_context()["ti"].xcom_push(key="checks", value=value)


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


@task(**_on(IMAGE_QUEUE), pool=ENCODE_POOL)
def extract_image(modality: str, shard: str) -> dict[str, Any]:
    """Encode the pictures of this shard that were not seen before."""
    return _extract(modality, shard)


@task(pool=ENCODE_POOL)
def extract_text(modality: str, shard: str) -> dict[str, Any]:
    """Encode the texts of this shard that were not seen before."""
    return _extract(modality, shard)


@task(trigger_rule="none_failed")
def prepare() -> dict[str, int]:
    """Clean, split, index."""
    return microrec("prepare")["counts"]


@task.short_circuit(ignore_downstream_trigger_rules=False)
def changes() -> bool:
    """Whether training could give anything but the champion again."""
    context = get_current_context()
    found = microrec("changes")
    context["ti"].xcom_push(key="changes", value={**found, "changes": found["changes"][:20]})
    asked = context["params"]["full_refresh"] or context["dag_run"].run_type == "backfill"
    return bool(found["changes"]) or asked


@task(**_on("gpu"), pool=GPU_POOL, execution_timeout=timedelta(hours=12))
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
    return microrec("gate", *as_of()) if to_be_promoted() else {"asked": False}


@task(outlets=[RELEASE])
def export(metrics: dict[str, Any]) -> dict[str, Any]:
    """Publish the release and announce it."""
    done = microrec("export")
    context = get_current_context()
    event = {
        "run_id": run_id_of(context["dag_run"]),
        **{name: done[name] for name in ("release", "digest", "counts")},
    }
    context["outlet_events"][RELEASE].extra = {**event, "metrics": metrics}
    return event


@task
def register() -> dict[str, Any]:
    """Log the run and register the model."""
    done = microrec("register")
    return {name: done[name] for name in ("run_id", "model_name", "model_version")}


@task(outlets=[CHAMPION], pool=CHAMPION_POOL)
def promote(registered: dict[str, Any], released: dict[str, Any], metrics: dict[str, Any]) -> dict[str, Any]:
    """Move the champion and announce it; skipped where it is not wanted or a newer champion stands."""
    if not to_be_promoted():
        raise AirflowSkipException("not to be promoted: promote is off, or this is a trial on a sample")
    version = str(registered["model_version"])
    champion = microrec("promote", version, *as_of(), run=False)
    if champion["run_id"] != released["run_id"]:
        raise AirflowSkipException(f"the champion {champion['run_id']} stands for a later moment and stays")
    event = {**released, "model_version": version}
    get_current_context()["outlet_events"][CHAMPION].extra = {**event, "metrics": metrics}
    return event


@task(retries=1)
def summarise() -> str:
    """Write what happened on the run's page, however the night ended."""
    context = get_current_context()
    pull, dag_run = context["ti"].xcom_pull, context["dag_run"]
    mapped, stages = ("extract_image", "extract_text"), ("prepare", "train", "evaluate", "export", "register")
    results = {name: pull(task_ids=name) for name in (*stages, "promote")}
    results |= {name: pull(task_ids=[name]) for name in mapped}
    results |= {"run_id": run_id_of(dag_run), "changes": pull(task_ids="changes", key="changes")}
    results["checks"] = pull(task_ids="check_input", key="checks")
    results["seconds"] = {name: pull(task_ids=[name], key="seconds") for name in (*mapped, *stages)}
    note = compose(results)
    attach(dag_run.dag_id, dag_run.run_id, note)
    return note
