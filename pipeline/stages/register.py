"""Stage `register`: the run, its numbers and its model in MLflow, done once however often it is tried."""

import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upath import UPath

from pipeline import stages
from pipeline.columns import ASKED, ASKED_ITEM_ID, ITEM_ID, RANK, REQUEST, SCORE, SOURCE, USER_ID
from pipeline.config.recorded import is_frozen
from pipeline.dataset.records import Evaluation
from pipeline.documents import as_document, flatten, spelled
from pipeline.registry.champion import now
from pipeline.registry.gate import tags_of
from pipeline.registry.tracking import DIGEST_TAG, RUN_TAG, Metric, Tracking, epoch_metrics
from pipeline.release.format import ITEM_EMBEDDINGS, REPORT, USER_VECTORS, read_table
from pipeline.release.manifest import MANIFEST, Manifest, read_manifest
from pipeline.release.report import training_charts
from pipeline.release.served import Served
from pipeline.release.verdict import read_verdict
from pipeline.run import Run, Stage, StageResult
from pipeline.stages.history import read_history
from pipeline.stages.input_checks import kept_checks
from pipeline.stages.results import ExtractResult, RegisterResult
from pipeline.storage.files import is_complete, local_copy

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun
    from mlflow.models import ModelSignature

TAGGED = 3
"""Warnings in a tag; the report has them all."""
LONGEST_TAG = 5000
"""Characters of a tag: a warning may quote a whole picture that somebody wrote in the place of its path."""
RANKER = Path(__file__).parents[1] / "serving" / "ranker.py"
SERVED = "release"
"""Name of the folder of files that the ranker reads."""
DEFAULTS = {"mode": "recommend", "k": 20, "exclude_seen": True, "unknown": "popular"}
"""The ranker's parameters; it has them, too, for it imports nothing of ours."""
REQUIREMENTS = ("mlflow", "numpy", "pandas", "pyarrow")
"""What the ranker imports; registered with the versions that it was tried with here."""


def register(run: Run, folder: Path, *, anew: bool = False) -> RegisterResult:
    """Log the run to MLflow and register its model; a repeated or continued attempt makes nothing twice.

    Writes the training curves to `folder`. What is registered `anew` is a model and a version of its own, since the
    files of those that MLflow has may be gone.

    Raises:
        StoreError: there is no release.
        ConfigError: an address MLflow cannot use.
        InputError: MLflow knows the run id from another store or other settings; nothing was logged.
    """
    release = run.store.release(run.id)
    manifest = read_manifest(release)
    tracking, digest = run.config.open_tracking(), manifest.release_digest
    mlflow_run = tracking.start_run(run.id)
    tracking.require_same_release(mlflow_run, digest)
    tracking.log_parameters(mlflow_run, parameters(run.config.as_dict()))
    _log_files(run, tracking, mlflow_run, release, folder)
    # Before the numbers: MLflow asks the server for the history of each metric that the run has when a model is logged.
    model_id = log_model(tracking, mlflow_run, release, manifest, anew=anew)
    _log_numbers(run, tracking, mlflow_run)
    tracking.log_metrics(mlflow_run, space_metrics(manifest))
    verdict = read_verdict(release)
    tags = {DIGEST_TAG: digest, RUN_TAG: run.id, **input_tags(run), **(tags_of(verdict) if verdict else {})}
    tags |= again_tags() if anew else {}
    model_version = tracking.register(mlflow_run, model_id, tags, f"Release {run.id}, digest {digest}")
    tracking.finish(mlflow_run)
    return RegisterResult(
        run_id=mlflow_run.info.run_id,
        model_name=tracking.model_name,
        model_version=model_version,
        tracking_uri=tracking.shown_uri,
    )


def again_tags(left_out: Sequence[str] = ()) -> dict[str, str]:
    """What a version says that was registered again: when, for MLflow's own times begin then, and without what."""
    tags = {"microrec.registered_again": now(), "microrec.registered_again.without": "\n".join(left_out)}
    return {name: value for name, value in tags.items() if value}


def input_tags(run: Run) -> dict[str, str]:
    """What the version says of its input: the checks' verdict with its reasons, and the warnings of `validate`."""
    checks, validated = kept_checks(run), run.result(stages.VALIDATE)
    warnings = validated.report.warnings if validated else []
    tags = {
        "microrec.checks": checks.verdict if checks else "",
        "microrec.checks.reasons": "\n".join(checks.reasons if checks else []),
        "microrec.warnings": str(len(warnings)) if validated else "",
        "microrec.warnings.first": "\n".join(warnings[:TAGGED]),
    }
    return {name: value[:LONGEST_TAG] for name, value in tags.items() if value}


def _log_numbers(run: Run, tracking: Tracking, mlflow_run: "MlflowRun") -> None:
    """Metrics of every epoch, final metrics, seconds per stage, digests of the inputs."""
    prepared, trained = run.require(stages.PREPARE), run.require(stages.TRAIN)
    metrics = [
        *epoch_metrics(read_history(run)),
        *final_metrics(run.require(stages.EVALUATE).metrics),
        *(Metric(f"seconds/{name}", result.seconds) for name, result in _committed(run).items()),
        *(Metric(f"counts/{name}", value) for name, value in prepared.counts.items()),
        *(Metric(f"extract/{name}", value) for name, value in extraction_totals(_extractions(run)).items()),
        Metric("train/epochs", trained.epochs),
        *([Metric("train/best_epoch", trained.best_epoch)] if trained.best_epoch else []),
    ]
    tracking.log_metrics(mlflow_run, metrics)
    tracking.log_inputs(mlflow_run, prepared.input_digests)


def final_metrics(evaluation: Evaluation) -> list[Metric]:
    """What was measured at the end, `test/recall@20` and the like."""
    final = flatten(as_document(evaluation))
    return [Metric(name.replace(".", "/"), value) for name, value in final.items() if isinstance(value, (int, float))]


def space_metrics(manifest: Manifest) -> list[Metric]:
    """How far a release's vectors moved, `drift/all/cosine_median` and the like, and its score scale."""
    drift = flatten({name: as_document(row) for name, row in manifest.drift.items()}, "drift.")
    if manifest.space:
        drift["space.line_score_scale"] = manifest.space.line_score_scale
    return [Metric(name.replace(".", "/"), value) for name, value in drift.items() if value is not None]


def extraction_totals(results: Sequence[ExtractResult]) -> dict[str, int]:
    """Per modality, over all shards of the run: contents encoded, found in the cache, and calls of the encoder."""
    totals: dict[str, int] = {}
    for result in results:
        for modality, done in result.modalities.items():
            for name, count in (("encoded", done.encoded), ("encoder_calls", done.encoder_calls)):
                totals[f"{modality}/{name}"] = totals.get(f"{modality}/{name}", 0) + count
            # A later shard finds in the cache what an earlier one has just put there: not this run's luck.
            totals[f"{modality}/cached"] = done.contents - totals[f"{modality}/encoded"]
    return totals


def _committed(run: Run) -> dict[str, StageResult]:
    """What every stage and shard of the run says besides its own."""
    names = sorted(path.name for path in run.path.iterdir() if is_complete(path))
    return {name: run.require(Stage(name, StageResult)) for name in names}


def _extractions(run: Run) -> list[ExtractResult]:
    """The results of stage `extract`, or of its shards."""
    names = [name for name in _committed(run) if name.partition("-")[0] == stages.EXTRACT.name]
    return [run.require(Stage(name, ExtractResult)) for name in names]


def _log_files(run: Run, tracking: Tracking, mlflow_run: "MlflowRun", release: UPath, folder: Path) -> None:
    for name in (REPORT, MANIFEST):
        with local_copy(release / name) as file:
            tracking.log_file(mlflow_run, file)
    for title, svg in training_charts(read_history(run), run.require(stages.TRAIN).best_epoch).items():
        plot = folder / f"{title.lower().replace(' ', '-')}.svg"
        plot.write_text(svg, encoding="utf-8")
        tracking.log_file(mlflow_run, plot, "plots")


def log_model(
    tracking: Tracking, mlflow_run: "MlflowRun", release: UPath, manifest: Manifest, *, anew: bool = False
) -> str:
    """Log the ranker with the files that it reads; the model's id in MLflow."""
    users = read_table(release, USER_VECTORS).column(USER_ID)
    item_type = read_table(release, ITEM_EMBEDDINGS).column(ITEM_ID).type
    with tempfile.TemporaryDirectory(prefix="microrec-") as folder:
        Served.of(release).write(Path(folder))
        return tracking.log_model(
            mlflow_run,
            RANKER,
            {SERVED: Path(folder)},
            signature(users.type, item_type),
            anew=anew,
            input_example=input_example(users) if len(users) else None,
            pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
            metadata={"run_id": manifest.run_id, "release_digest": manifest.release_digest},
        )


def input_example(users: Any) -> tuple[Any, dict[str, Any]]:
    """Two users and the parameters, as MLflow keeps an example."""
    return users.slice(0, 2).to_pandas().to_frame(USER_ID), {"mode": "recommend", "k": 20}


def signature(user_type: Any, item_type: Any) -> "ModelSignature":
    """What goes into the ranker and what comes out.

    Columns are of any type: MLflow would make texts of missing ids, and a single row of a dictionary of lists.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType

    user, item = DataType[_mlflow_type(user_type)], DataType[_mlflow_type(item_type)]
    anything = AnyType()  # type: ignore[no-untyped-call]
    answer = {
        REQUEST: DataType.long,
        RANK: DataType.long,
        ITEM_ID: item,
        SCORE: DataType.float,
        SOURCE: DataType.string,
    }
    asked_for = [ColSpec(user, USER_ID, required=False), ColSpec(item, ASKED_ITEM_ID, required=False)]
    outputs = [ColSpec(kind, name, required=name in (REQUEST, SOURCE)) for name, kind in answer.items()]
    defaults = {
        "mode": DataType.string,
        "k": DataType.long,
        "exclude_seen": DataType.boolean,
        "unknown": DataType.string,
    }
    return ModelSignature(
        inputs=Schema([ColSpec(anything, name, required=False) for name in ASKED]),
        outputs=Schema([outputs[0], *asked_for, *outputs[1:]]),
        params=ParamSchema([ParamSpec(name, kind, DEFAULTS[name]) for name, kind in defaults.items()]),
    )


def _mlflow_type(arrow_type: Any) -> str:
    import pyarrow as pa

    if pa.types.is_integer(arrow_type):
        return "long" if arrow_type.bit_width > 32 else "integer"
    return "string"


def parameters(configuration: dict[str, Any]) -> dict[str, str]:
    """A resolved configuration as MLflow's parameters, which are for good: what a run keeps."""
    settings = flatten(configuration)
    return {key: spelled(value) for key, value in settings.items() if is_frozen(key)}
