"""Stage `register`: the run, its numbers and its model in MLflow, done once however often it is tried."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from upath import UPath

from pipeline import stages
from pipeline.config.recorded import is_frozen
from pipeline.dataset.dataset import INTERACTIONS, ITEMS
from pipeline.dataset.records import Evaluation
from pipeline.documents import as_document, flatten, spelled
from pipeline.registry.champion import now
from pipeline.registry.gate import tags_of
from pipeline.registry.logged_tables import LoggedTable
from pipeline.registry.metrics import Metric, epoch_metrics
from pipeline.registry.tracking import (
    AS_OF_TAG,
    DIGEST_TAG,
    EMBEDDER_TAG,
    MANIFEST_TAG,
    RUN_TAG,
    VERSION_TAG,
    Tracking,
)
from pipeline.release.curves import training_charts
from pipeline.release.format import REPORT
from pipeline.release.manifest import MANIFEST, Manifest, manifest_sha256, read_manifest
from pipeline.release.model_card import model_card
from pipeline.release.served import Served
from pipeline.release.verdict import Verdict, read_verdict
from pipeline.release.verify import verify_release
from pipeline.run import Run, Stage, StageResult
from pipeline.stages.history import read_history
from pipeline.stages.input_checks import kept_checks
from pipeline.stages.register_embedder import can_embed, log_embedder
from pipeline.stages.register_ranker import log_ranker
from pipeline.stages.results import ExtractResult, RegisterResult
from pipeline.storage.files import (
    as_json,
    create_bytes,
    file_sha256,
    is_complete,
    local_copy,
    parse_json,
    read_bytes,
    resolve,
    swap_bytes,
)

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun

RECORD = "mlflow_run.json"
TAGGED = 3
"""Warnings in a tag; the report has them all."""
LONGEST_TAG = 5000
"""Characters of a tag: a warning may quote a whole picture that somebody wrote in the place of its path."""


def register(run: Run, folder: Path, *, anew: bool = False) -> RegisterResult:
    """Log the run to MLflow and register its model; a repeated or continued attempt makes nothing twice.

    Writes the training curves to `folder`. What is registered `anew` is a model and a version of its own, since the
    files of those that MLflow has may be gone.

    Raises:
        StoreError: there is no release, it does not verify, or it is not the one that was exported.
        ConfigError: an address MLflow cannot use.
        InputError: MLflow knows the run id from another store or other settings; nothing was logged.
    """
    release, exported = run.store.release(run.id), run.result(stages.EXPORT)
    verify_release(run.store, run.id, exported.manifest_sha256 if exported else None)
    manifest = read_manifest(release)
    tracking, digest = run.config.open_tracking(), manifest.release_digest
    mlflow_run = _agreed(run, tracking, tracking.start_run(run.id))
    tracking.require_same_release(mlflow_run, digest)
    tracking.log_parameters(mlflow_run, parameters(run.config.as_dict()))
    _log_files(run, tracking, mlflow_run, release, folder)
    # Before the numbers: MLflow asks the server for the history of each metric that the run has when a model is logged.
    served = Served.of(release)
    ranker = log_ranker(tracking, mlflow_run, manifest, served, anew=anew)
    embedder = log_embedder(run, tracking, mlflow_run, manifest, served, anew=anew) if can_embed(run) else None
    _log_numbers(run, tracking, mlflow_run)
    tracking.log_metrics(mlflow_run, space_metrics(manifest))
    verdict, card = read_verdict(release), model_card(manifest, read_verdict(release))
    tags = {**release_tags(release, manifest, verdict), **input_tags(run), **(again_tags() if anew else {})}
    model_version = tracking.register(mlflow_run, ranker, tags, card, anew=anew)
    own = {MANIFEST_TAG: tags[MANIFEST_TAG]}  # a release may have been exported again since
    if embedder:
        own[EMBEDDER_TAG] = tracking.register(mlflow_run, embedder, tags, card, anew=anew)
    tracking.tag_version(model_version, own)
    tracking.describe(mlflow_run, card)
    tracking.finish(mlflow_run)
    return RegisterResult(
        run_id=mlflow_run.info.run_id,
        model_name=tracking.model_name,
        model_version=model_version,
        tracking_uri=tracking.shown_uri,
        manifest_sha256=tags[MANIFEST_TAG],
    )


def _agreed(run: Run, tracking: Tracking, mlflow_run: "MlflowRun") -> "MlflowRun":
    """The one MLflow run of all attempts: MLflow has no way to make one only where there is none."""
    file, own = run.path / RECORD, as_json({"mlflow_run_id": mlflow_run.info.run_id})
    noted = create_bytes(file, own)
    while True:
        run_id = str(parse_json(file, noted)["mlflow_run_id"])
        agreed = tracking.preferred(run_id, mlflow_run)
        if agreed.info.run_id == run_id or swap_bytes(file, noted, own):  # what was noted may be lost, or elsewhere
            return agreed
        noted = read_bytes(file)


def release_tags(release: UPath, manifest: Manifest, verdict: Verdict | None) -> dict[str, str]:
    """Which release a version was made from, and what the gate said of that."""
    until = manifest.input.last_timestamp if manifest.input else None
    tags = {
        RUN_TAG: manifest.run_id,
        DIGEST_TAG: manifest.release_digest,
        MANIFEST_TAG: manifest_sha256(release),
        VERSION_TAG: manifest.microrec_version,
        AS_OF_TAG: "" if until is None else str(until),
    }
    return {name: value for name, value in tags.items() if value} | (tags_of(verdict) if verdict else {})


def again_tags(left_out: Sequence[str] = ()) -> dict[str, str]:
    """Tags of a version that was registered again: when (MLflow's own times begin then), and what is missing."""
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
        *(metric for name, result in _committed(run).items() for metric in _costs(name, result)),
        *(Metric(f"counts/{name}", value) for name, value in prepared.counts.items()),
        *(Metric(f"extract/{name}", value) for name, value in extraction_totals(_extractions(run)).items()),
        Metric("train/epochs", trained.epochs),
        *([Metric("train/best_epoch", trained.best_epoch)] if trained.best_epoch else []),
    ]
    tracking.log_metrics(mlflow_run, metrics)
    tracking.log_inputs(mlflow_run, (*_input_files(run), *_prepared_tables(run)))


def _costs(name: str, result: StageResult) -> Iterator[Metric]:
    """Seconds of a stage, and its peak memory, which MLflow shows among the metrics of the system."""
    yield Metric(f"seconds/{name}", result.seconds)
    if result.peak_memory_bytes:
        yield Metric(f"system/{name}_peak_memory_megabytes", result.peak_memory_bytes / 1e6)


def _input_files(run: Run) -> Iterator[LoggedTable]:
    """The files of the catalogue and of the interactions, as the run found them."""
    validated = run.result(stages.VALIDATE)
    files = validated.input.files if validated else {}
    for name, sha256 in run.require(stages.PREPARE).input_digests.items():
        location = str(resolve(name, run.config.base))
        yield LoggedTable(
            name=name, sha256=sha256, location=location, bytes=files[name].size if name in files else None
        )


def _prepared_tables(run: Run) -> Iterator[LoggedTable]:
    """What became of them, cleaned and split."""
    for name in (ITEMS, INTERACTIONS):
        with run.committed(stages.PREPARE).open(name) as file:
            sha256, rows = file_sha256(file), pl.read_parquet(file)
        location = str(run.folder(stages.PREPARE) / name)
        yield LoggedTable(name=f"prepared {name}", sha256=sha256, location=location, rows=rows)


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
    exported = run.committed(stages.EXPORT)
    for name in sorted(exported.digests or ()):
        if name.endswith(".svg"):
            with exported.open(name) as file:
                tracking.log_file(mlflow_run, file, "plots")


def parameters(configuration: dict[str, Any]) -> dict[str, str]:
    """A resolved configuration as MLflow's parameters, which are for good: what a run keeps."""
    settings = flatten(configuration)
    return {key: spelled(value) for key, value in settings.items() if is_frozen(key)}
