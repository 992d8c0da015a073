"""The night: catalogue in, verified release out, champion moved.

- **Starts** at 02:00 UTC, when the assets `microrec_catalogue` or `microrec_interactions` are updated, by hand, or as
  a backfill.
- **Identity**: a night is its logical date. Running it again continues it and repeats nothing.
- **Unchanged input**: where nothing is new since the champion, the night ends after `prepare` and says so;
  `full_refresh` trains all the same, and so does a backfill, which was asked for.
- **Order**: an older night never replaces a newer champion.
- **Failure**: wrong input (exit status 2) and a refusal of the gate (3) fail at once; anything else is tried again,
  and training continues from its checkpoint.

Thin on purpose: every task runs one `microrec` command of the ML environment and passes small JSON on.
"""

import hashlib
import os
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import (
    AssetOrTimeSchedule,
    AsyncCallback,
    CronTriggerTimetable,
    DeadlineAlert,
    DeadlineReference,
    Param,
    dag,
    get_current_context,
    task,
    task_group,
)
from airflow.sdk.exceptions import AirflowSkipException
from microrec_alerts import deadline_missed, run_failed, run_succeeded, task_failed
from microrec_assets import CATALOGUE, CHAMPION, INTERACTIONS, RELEASE
from microrec_command import run_microrec
from microrec_note import attach, compose

IMAGE_QUEUE = os.environ.get("MICROREC_IMAGE_QUEUE", "default")
"""Queue of the image shards: `gpu` where the GPU workers are to encode pictures, too."""
GPU_POD = os.environ.get("MICROREC_GPU_POD_TEMPLATE")
"""With the Kubernetes executor: the pod template of tasks that need a GPU (deploy/kubernetes)."""
ENCODE_POOL, GPU_POOL, CHAMPION_POOL = "microrec_encode", "microrec_gpu", "microrec_champion"

PARAMS = {
    "config": Param(
        os.environ.get("MICROREC_CONFIG", "microrec.toml"), type="string", description="Configuration file (TOML)."
    ),
    "shards": Param(2, type="integer", minimum=1, maximum=256, description="Extraction tasks per modality."),
    "device": Param("auto", type="string", pattern="^(auto|cpu|cuda(:[0-9]+)?)$", description="Where to train."),
    "sample": Param(
        1.0,
        type="number",
        exclusiveMinimum=0,
        maximum=1,
        description="Share of the users to train on: a trial night, which is never promoted, where it is below 1.",
    ),
    "full_refresh": Param(False, type="boolean", description="Train even if nothing is new since the champion."),
    "promote": Param(True, type="boolean", description="Let the release become champion if the gate allows it."),
    "set": Param(
        [],
        type="array",
        items={"type": "string"},
        description="Overrides, section.key=value; {ds} stands for the night's date.",
    ),
}


def moment_of(dag_run: Any) -> datetime:
    """What a night stands for: its logical date; where it has none (by asset, by hand), when it was due."""
    return (dag_run.logical_date or dag_run.run_after).astimezone(UTC)


def run_id_of(dag_run: Any) -> str:
    """The logical date where there is one: whatever started it, a date is one night. Else the DAG run's own id.

    A DAG run id is spelled with the characters a run id of ours may have; a digest keeps different ones apart.
    """
    if dag_run.logical_date is not None:
        moment = moment_of(dag_run)
        return f"night-{moment:%Y%m%dT%H%M%S}" + (f"-{moment:%f}" if moment.microsecond else "")
    spelled = re.sub(r"[^A-Za-z0-9._-]+", "-", dag_run.run_id).strip("-._")[:100]
    return f"{spelled or 'run'}-{hashlib.sha256(dag_run.run_id.encode()).hexdigest()[:8]}"


def microrec(command: str, *arguments: str, run: bool = True) -> dict[str, Any]:
    """Run a command with this DAG run's configuration and, unless `run=False`, for its run id."""
    context = get_current_context()
    params, dag_run = context["params"], context["dag_run"]
    overrides = [f"train.device={params['device']}"]
    if params["sample"] < 1:
        overrides.append(f"catalogue.filter.user_share={params['sample']}")
    overrides += [override.replace("{ds}", f"{moment_of(dag_run):%Y-%m-%d}") for override in params["set"]]
    common = ["-c", params["config"], *(part for override in overrides for part in ("--set", override))]
    run_id = run_id_of(dag_run)
    identity = ["--run-id", run_id] if run else []
    return run_microrec([command, *arguments, *common, *identity], f"{run_id} {command}")


def to_be_promoted() -> bool:
    """Whether this night may move the champion: a trial on a part of the users may not."""
    params = get_current_context()["params"]
    return bool(params["promote"]) and params["sample"] == 1


def as_of() -> list[str]:
    """The option that says what the night stands for."""
    return ["--as-of", moment_of(get_current_context()["dag_run"]).isoformat()]


@dag(
    schedule=AssetOrTimeSchedule(
        timetable=CronTriggerTimetable("0 2 * * *", timezone="UTC"), assets=(CATALOGUE | INTERACTIONS)
    ),
    catchup=False,
    max_active_runs=1,
    params=PARAMS,
    doc_md=__doc__,
    tags=["microrec"],
    deadline=DeadlineAlert(
        # In Airflow 3.3.2 a run whose deadline counts from `queued_at` cannot be cleared (apache/airflow#70368), and a
        # run without a logical date cannot be created where the deadline counts from that.
        reference=DeadlineReference.AVERAGE_RUNTIME(max_runs=10, min_runs=1),
        interval=timedelta(hours=float(os.environ.get("MICROREC_DEADLINE_HOURS", "1"))),
        callback=AsyncCallback(deadline_missed),
    ),
    on_success_callback=run_succeeded,
    on_failure_callback=run_failed,
    default_args={
        "owner": "microrec",
        "retries": 5,  # with the pauses below: a server may be away for a quarter of an hour
        "retry_delay": timedelta(seconds=30),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=10),
        "execution_timeout": timedelta(hours=2),
        "on_failure_callback": task_failed,
    },
)
def microrec_nightly() -> None:
    """Stages as tasks."""

    @task
    def check_input() -> dict[str, list[str]]:
        """Refuse impossible input before anything is computed; return the modalities by kind of content."""
        kinds: dict[str, list[str]] = {}
        for name, report in microrec("validate", run=False)["modalities"].items():
            kinds.setdefault(report["content"], []).append(name)
        return kinds

    @task_group
    def plan_shards(checked: Any) -> tuple[Any, Any]:
        """One extraction task per modality and shard; vectors that were computed elsewhere need none."""

        @task
        def image(kinds: dict[str, list[str]]) -> list[dict[str, str]]:
            return shards_of(kinds.get("image", []))

        @task
        def text(kinds: dict[str, list[str]]) -> list[dict[str, str]]:
            return shards_of(kinds.get("text", []))

        return image(checked), text(checked)

    def shards_of(modalities: list[str]) -> list[dict[str, str]]:
        count = get_current_context()["params"]["shards"]
        return [{"modality": name, "shard": f"{index}/{count}"} for name in modalities for index in range(count)]

    def extract(modality: str, shard: str) -> dict[str, Any]:
        done = microrec("extract", "--modality", modality, "--shard", shard)["modalities"][modality]
        return {name: done[name] for name in ("encoded", "cached", "encoder_calls")}

    @task(queue=IMAGE_QUEUE, pool=ENCODE_POOL)
    def extract_image(modality: str, shard: str) -> dict[str, Any]:
        """Encode the pictures of this shard that were not seen before."""
        return extract(modality, shard)

    @task(pool=ENCODE_POOL)
    def extract_text(modality: str, shard: str) -> dict[str, Any]:
        """Encode the texts of this shard that were not seen before."""
        return extract(modality, shard)

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

    @task(
        queue="gpu",
        pool=GPU_POOL,
        execution_timeout=timedelta(hours=12),
        executor_config={"pod_template_file": GPU_POD} if GPU_POD else {},
    )
    def train() -> dict[str, Any]:
        """Fit the model; a retry continues from the last checkpoint."""
        done = microrec("train")
        return {name: done[name] for name in ("epochs", "best_epoch", "device", "seconds")}

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
        results = {name: pull(task_ids=name) for name in ("train", "evaluate", "export", "register", "promote")}
        results |= {name: pull(task_ids=[name]) for name in ("extract_image", "extract_text")}
        results |= {"run_id": run_id_of(dag_run), "changes": pull(task_ids="changes", key="changes")}
        note = compose(results)
        attach(dag_run.dag_id, dag_run.run_id, note)
        return note

    images, texts = plan_shards(check_input())
    prepared, metrics = prepare(), evaluate()
    [extract_image.expand_kwargs(images), extract_text.expand_kwargs(texts)] >> prepared
    released, registered = export(metrics), register()
    promoted = promote(registered, released, metrics)
    prepared >> changes() >> train() >> metrics >> gate() >> released >> registered >> promoted
    promoted >> summarise().as_teardown()


microrec_nightly()
