"""Stage `register`: the run, its numbers and its model in MLflow, done once however often it is tried."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upath import UPath

from pipeline.columns import ITEM_ID, RANK, SCORE, USER_ID
from pipeline.errors import StoreError
from pipeline.release import ITEM_EMBEDDINGS, MANIFEST, REPORT, USER_VECTORS, read_manifest, read_table
from pipeline.report import flatten, training_charts
from pipeline.run import EXTENDABLE, Result, Run
from pipeline.storage import is_complete, local_copy, read_json
from pipeline.tracking import DIGEST_TAG, RUN_TAG, Metric, Tracking, open_tracking

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun
    from mlflow.models import ModelSignature

RANKER = Path(__file__).parent / "serving" / "ranker.py"
REQUIREMENTS = ("mlflow", "numpy", "pandas", "pyarrow")
"""What the ranker imports; registered with the versions that it was tried with here."""
NOT_METRICS = {"epoch", "is_best"}


def register(run: Run, folder: Path) -> Result:
    """Log the run to MLflow and register its model; a repeated or continued attempt makes nothing twice.

    Writes the training curves to `folder`.

    Raises:
        StoreError: there is no release.
        ConfigError: an address MLflow cannot use.
        InputError: MLflow knows the run id from another store or other settings; nothing was logged.
    """
    release = run.store.release(run.id)
    manifest = read_manifest(release)
    tracking = open_tracking(run.config)
    mlflow_run = tracking.start_run(run.id)
    tracking.require_same_release(mlflow_run, manifest["release_digest"])
    tracking.log_parameters(mlflow_run, parameters(run))
    _log_files(run, tracking, mlflow_run, release, folder)
    # Before the numbers: MLflow asks the server for the history of each metric that the run has when a model is logged.
    model_id = _log_model(tracking, mlflow_run, release, manifest)
    _log_numbers(run, tracking, mlflow_run)
    digest = manifest["release_digest"]
    model_version = tracking.register(
        mlflow_run, model_id, {DIGEST_TAG: digest, RUN_TAG: run.id}, f"Release {run.id}, digest {digest}"
    )
    tracking.finish(mlflow_run)
    return {
        "run_id": mlflow_run.info.run_id,
        "model_name": tracking.model_name,
        "model_version": model_version,
        "tracking_uri": tracking.shown_uri,
    }


def _log_numbers(run: Run, tracking: Tracking, mlflow_run: "MlflowRun") -> None:
    """Metrics of every epoch, final metrics, seconds per stage, digests of the inputs."""
    results = _committed_results(run)
    history = read_json(run.stage("train") / "history.json")
    final = flatten(results["evaluate"]["metrics"])
    metrics = [
        *epoch_metrics(history),
        *(Metric(name.replace(".", "/"), value) for name, value in final.items() if isinstance(value, (int, float))),
        *(Metric(f"seconds/{name}", result["seconds"]) for name, result in results.items()),
        *(Metric(f"counts/{name}", value) for name, value in results["prepare"]["counts"].items()),
        *(Metric(f"extract/{name}", value) for name, value in extraction_totals(results).items()),
        *(
            Metric(f"train/{key}", results["train"][key])
            for key in ("best_epoch", "epochs")
            if results["train"].get(key)
        ),
    ]
    tracking.log_metrics(mlflow_run, metrics)
    tracking.log_inputs(mlflow_run, results["prepare"]["input_digests"])


def epoch_metrics(history: list[dict[str, Any]]) -> list[Metric]:
    """Every number of every epoch: `train/loss`, and `validation/recall@20` on epochs that end in a check."""
    metrics, elapsed = [], 0.0
    for row in history:
        elapsed += row["seconds"]
        for name, value in row.items():
            if value is not None and name not in NOT_METRICS:
                part = "validation" if "@" in name else "train"
                metrics.append(Metric(f"{part}/{name}", float(value), row["epoch"], elapsed))
    return metrics


def extraction_totals(results: dict[str, Result]) -> dict[str, int]:
    """Per modality, over all shards of the run: contents encoded, found in the cache, and calls of the encoder."""
    totals: dict[str, int] = {}
    for stage, result in results.items():
        for modality, done in result["modalities"].items() if stage.split("-")[0] == "extract" else ():
            for name in ("encoded", "encoder_calls"):
                totals[f"{modality}/{name}"] = totals.get(f"{modality}/{name}", 0) + done.get(name, 0)
            # A later shard finds in the cache what an earlier one has just put there: not this run's luck.
            totals[f"{modality}/cached"] = done.get("contents", 0) - totals[f"{modality}/encoded"]
    return totals


def _committed_results(run: Run) -> dict[str, Result]:
    """Results of the stages before this one.

    Raises `StoreError` where one that is needed here is missing.
    """
    names = sorted(path.name for path in run.path.iterdir() if is_complete(path))
    results = {name: result for name in names if (result := run.result(name)) is not None}
    missing = [name for name in ("prepare", "train", "evaluate", "export") if name not in results]
    if missing:
        raise StoreError(f"run {run.id}: no result of stage {', '.join(missing)} in {run.path}; run the stage again")
    return results


def _log_files(run: Run, tracking: Tracking, mlflow_run: "MlflowRun", release: UPath, folder: Path) -> None:
    for name in (REPORT, MANIFEST):
        with local_copy(release / name) as file:
            tracking.log_file(mlflow_run, file)
    history = read_json(run.stage("train") / "history.json")
    for title, svg in training_charts(history, (run.result("train") or {}).get("best_epoch")).items():
        plot = folder / f"{title.lower().replace(' ', '-')}.svg"
        plot.write_text(svg, encoding="utf-8")
        tracking.log_file(mlflow_run, plot, "plots")


def _log_model(tracking: Tracking, mlflow_run: "MlflowRun", release: UPath, manifest: dict[str, Any]) -> str:
    users = read_table(release, USER_VECTORS).column(USER_ID)
    item_type = read_table(release, ITEM_EMBEDDINGS).column(ITEM_ID).type
    with _local_tables(release) as tables:
        return tracking.log_model(
            mlflow_run,
            RANKER,
            tables,
            signature(users.type, item_type),
            input_example=users.slice(0, 2).to_pandas().to_frame(USER_ID) if len(users) else None,
            pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
            metadata={"run_id": manifest["run_id"], "release_digest": manifest["release_digest"]},
        )


def signature(user_type: Any, item_type: Any) -> "ModelSignature":
    """What goes into the ranker and what comes out, ids in the types of the release."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    user, item = DataType[_mlflow_type(user_type)], DataType[_mlflow_type(item_type)]
    answer = {USER_ID: user, RANK: DataType.long, ITEM_ID: item, SCORE: DataType.float}
    return ModelSignature(
        inputs=Schema([ColSpec(user, USER_ID)]),
        outputs=Schema([ColSpec(kind, name) for name, kind in answer.items()]),
        params=ParamSchema([ParamSpec("k", DataType.long, 20)]),
    )


def _mlflow_type(arrow_type: Any) -> str:
    import pyarrow as pa

    if pa.types.is_integer(arrow_type):
        return "long" if arrow_type.bit_width > 32 else "integer"
    return "string"


@contextmanager
def _local_tables(release: UPath) -> Iterator[dict[str, Path]]:
    """The tables the ranker reads, as local folders; fetched where the store is an object store."""
    with local_copy(release / ITEM_EMBEDDINGS) as items, local_copy(release / USER_VECTORS) as users:
        yield {ITEM_EMBEDDINGS: items, USER_VECTORS: users}


def parameters(run: Run) -> dict[str, str]:
    """The configuration as MLflow's parameters, which are for good: without what a run may be continued with."""
    settings = flatten(run.config.as_dict())
    return {key: spelled(value) for key, value in settings.items() if key not in EXTENDABLE}


def spelled(value: Any) -> str:
    """A configuration value as MLflow's parameters have it: text as it is, the rest as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
