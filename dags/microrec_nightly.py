"""The night: catalogue in, verified release out, champion moved.

Thin on purpose: every task runs one `microrec` command of the ML environment (`microrec_command.py`) and passes
small JSON on. A night's identity is its DAG run id, which for a scheduled night holds the logical date: running it
again continues it and repeats nothing.
"""

import hashlib
import os
import re
from datetime import timedelta
from typing import Any

from airflow.sdk import Asset, Param, dag, get_current_context, task
from microrec_command import run_microrec

RELEASE = Asset(name="microrec_release", uri="x-microrec://release")
CHAMPION = Asset(name="microrec_champion", uri="x-microrec://champion")

PARAMS = {
    "config": Param(
        os.environ.get("MICROREC_CONFIG", "microrec.toml"), type="string", description="Configuration file (TOML)."
    ),
    "shards": Param(2, type="integer", minimum=1, maximum=256, description="Extraction tasks per modality."),
    "device": Param("auto", type="string", pattern="^(auto|cpu|cuda(:[0-9]+)?)$", description="Where to train."),
    "set": Param([], type="array", items={"type": "string"}, description="Overrides, section.key=value."),
    "promote": Param(True, type="boolean", description="Let the release become champion if the gate allows it."),
}


def run_id_of(dag_run_id: str) -> str:
    """Spell a DAG run id with the characters a run id of ours may have; a digest keeps different ids apart."""
    spelled = re.sub(r"[^A-Za-z0-9._-]+", "-", dag_run_id).strip("-._")[:100]
    return f"{spelled or 'run'}-{hashlib.sha256(dag_run_id.encode()).hexdigest()[:8]}"


def microrec(command: str, *arguments: str, run: bool = True) -> dict[str, Any]:
    """Run a command with this DAG run's configuration and, unless `run=False`, for its run id."""
    context = get_current_context()
    params = context["params"]
    overrides = [f"train.device={params['device']}", *params["set"]]
    common = ["-c", params["config"], *(part for override in overrides for part in ("--set", override))]
    identity = ["--run-id", run_id_of(context["dag_run"].run_id)] if run else []
    return run_microrec([command, *arguments, *common, *identity])


@dag(
    schedule="0 2 * * *",
    catchup=False,
    max_active_runs=1,
    params=PARAMS,
    doc_md=__doc__,
    tags=["microrec"],
    default_args={
        "owner": "microrec",
        "retries": 2,
        "retry_delay": timedelta(seconds=30),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=10),
        "execution_timeout": timedelta(hours=2),
    },
)
def microrec_nightly() -> None:
    """Stages as tasks."""

    @task
    def check_input() -> list[str]:
        """Refuse impossible input before anything is computed; return the modalities."""
        return sorted(microrec("validate", run=False)["modalities"])

    @task
    def plan_shards(modalities: list[str]) -> list[dict[str, str]]:
        """One extraction task per modality and shard."""
        count = get_current_context()["params"]["shards"]
        return [{"modality": name, "shard": f"{index}/{count}"} for name in modalities for index in range(count)]

    @task(max_active_tis_per_dagrun=2)
    def extract(modality: str, shard: str) -> dict[str, Any]:
        """Encode what this shard has not seen before."""
        done = microrec("extract", "--modality", modality, "--shard", shard, run=False)["modalities"][modality]
        return {name: done[name] for name in ("encoded", "cached", "encoder_calls") if name in done}

    @task(trigger_rule="none_failed")
    def prepare() -> dict[str, int]:
        """Clean, split, index."""
        return microrec("prepare")["counts"]

    @task(queue="gpu", execution_timeout=timedelta(hours=12))
    def train() -> dict[str, Any]:
        """Fit the model; a retry continues from the last checkpoint."""
        done = microrec("train")
        return {name: done[name] for name in ("epochs", "best_epoch", "device", "seconds")}

    @task
    def evaluate() -> dict[str, Any]:
        """Measure validation and test."""
        metrics = microrec("evaluate")["metrics"]
        return {part: metrics[part] for part in ("validation", "test") if metrics[part]}

    @task(outlets=[RELEASE])
    def export() -> dict[str, Any]:
        """Publish the release; the asset event carries its digest, place and counts."""
        done = microrec("export")
        event = {name: done[name] for name in ("digest", "release", "counts")}
        get_current_context()["outlet_events"][RELEASE].extra = event
        return event

    @task
    def register() -> dict[str, Any]:
        """Log the run and register the model."""
        done = microrec("register")
        return {name: done[name] for name in ("model_name", "model_version")}

    @task.short_circuit(ignore_downstream_trigger_rules=True)
    def wanted() -> bool:
        """Whether this night is to be promoted."""
        return bool(get_current_context()["params"]["promote"])

    @task(outlets=[CHAMPION])
    def promote(registered: dict[str, Any], released: dict[str, Any]) -> dict[str, Any]:
        """Move the champion; fails, without retry, where the quality gate refuses."""
        version = str(registered["model_version"])
        microrec("promote", version, run=False)
        event = {**released, "model_version": version}
        get_current_context()["outlet_events"][CHAMPION].extra = event
        return event

    shards = extract.expand_kwargs(plan_shards(check_input()))
    prepared, trained, evaluated = prepare(), train(), evaluate()
    released, registered, asked = export(), register(), wanted()
    shards >> prepared >> trained >> evaluated >> released >> registered >> asked
    asked >> promote(registered, released)


microrec_nightly()
