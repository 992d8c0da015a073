"""`register --again`: after MLflow was lost, a run or a release is registered in the one that there is now.

What was in MLflow alone is gone: the times of the runs, tags and descriptions that people wrote, numbers of versions.
Nothing of it is invented; the result and the version's tags say what is missing.
"""

import dataclasses
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from upath import UPath

from pipeline import stages
from pipeline.errors import InputError
from pipeline.registry.audit import verify_named_release
from pipeline.registry.logged_tables import LoggedTable
from pipeline.registry.metrics import Metric
from pipeline.registry.tracking import MANIFEST_TAG, ModelVersion, Tracking
from pipeline.registry.versions import adopt, answering_version, lost_champions
from pipeline.release.format import REPORT
from pipeline.release.manifest import MANIFEST, Manifest, manifest_sha256, read_manifest
from pipeline.release.model_card import model_card
from pipeline.release.served import Served
from pipeline.release.verdict import read_verdict
from pipeline.run import Run, write_result
from pipeline.stages.order import do_stage
from pipeline.stages.register import again_tags, final_metrics, parameters, register, release_tags
from pipeline.stages.register_ranker import log_ranker
from pipeline.stages.results import RegisterResult
from pipeline.storage.files import local_copy
from pipeline.storage.layout import Store

LEFT_OUT = (
    "the model for new items",
    "training curves",
    "neighbour grids",
    "seconds of the stages",
    "extraction counts",
    "warnings and checks of the input",
)
"""What a run's folder has and its release has not."""


@dataclass(frozen=True, kw_only=True)
class RegisteredAgain:
    """What `register --again` tells."""

    run_id: str
    digest: str
    mlflow_run_id: str
    model_name: str
    model_version: str
    changed: bool
    """False: MLflow has a version of this release, and its model answers."""
    champion: bool
    left_out: list[str]
    """What the run's folder would have told MLflow, and the release alone does not."""
    lost: list[str]
    """Champions, now or before, that MLflow has no version of: register them again before a rollback."""


def register_run_again(run: Run) -> RegisteredAgain:
    """Register a run again, unless MLflow has it.

    Raises as stage `register`, and `StoreError` for a release that does not verify.
    """
    run.result(stages.REGISTER) or do_stage(run, stages.REGISTER)
    with tempfile.TemporaryDirectory(prefix="microrec-") as folder:
        return _again(run, lambda tracking: register(run, Path(folder), anew=True), ())


def register_release_again(run: Run) -> RegisteredAgain:
    """Register a run again, unless MLflow has it, from what stands in its release alone.

    Raises `StoreError` for a release that is not there or does not verify.
    """
    return _again(run, lambda tracking: _register(tracking, run.store.release(run.id)), LEFT_OUT)


def _again(run: Run, do: Callable[[Tracking], RegisterResult], left_out: tuple[str, ...]) -> RegisteredAgain:
    """Register unless it is there; then the run's result and `champion.json` name the version that there is now."""
    digest, tracking = verify_named_release(run.store, run.id).digest, run.config.open_tracking()
    there = answering_version(run.store, tracking, run.id, digest, run.reporter)
    now = do(tracking) if there is None else _found(tracking, there, run.store.release(run.id))
    did = f"registered again as version {now.model_version}"
    if there:
        did = f"is there as version {there.version}, and its model answers: nothing to register"
    run.reporter.say(f"register: release {run.id} {did}")
    _record(run, now)
    champion = adopt(run.store, tracking, run.id, digest, now.model_version, now.manifest_sha256 or "", run.reporter)
    lost = lost_champions(run.store, tracking)
    if lost:
        run.reporter.say(
            f"register: MLflow has no version of the champions {', '.join(lost)}; register them again, too"
        )
    return RegisteredAgain(
        run_id=run.id,
        digest=digest,
        mlflow_run_id=now.run_id,
        model_name=tracking.model_name,
        model_version=now.model_version,
        changed=there is None,
        champion=champion,
        left_out=[] if there else list(left_out),
        lost=lost,
    )


def _found(tracking: Tracking, version: ModelVersion, release: UPath) -> RegisterResult:
    """What a version says that is there; a release that was exported anew since has another manifest."""
    if version.manifest_sha256 != manifest_sha256(release):
        tracking.tag_version(version.version, {MANIFEST_TAG: manifest_sha256(release)})
    return _result(tracking, version.mlflow_run_id or "", version.version, release)


def _result(tracking: Tracking, mlflow_run_id: str, version: str, release: UPath) -> RegisterResult:
    return RegisterResult(
        run_id=mlflow_run_id,
        model_name=tracking.model_name,
        model_version=version,
        tracking_uri=tracking.shown_uri,
        manifest_sha256=manifest_sha256(release),
    )


def _record(run: Run, result: RegisterResult) -> None:
    """Have the run's own result, if there is one, say the same: the next `run` with its id promotes what that names."""
    done = run.result(stages.REGISTER)
    if done is None:
        return
    result = dataclasses.replace(result, seconds=done.seconds, peak_memory_bytes=done.peak_memory_bytes)
    if result != done:
        files = run.committed(stages.REGISTER)
        write_result(files.folder, result.kept_in(run.store), files.digests)


def _register(tracking: Tracking, release: UPath) -> RegisterResult:
    manifest, verdict = read_manifest(release), read_verdict(release)
    mlflow_run = tracking.start_run(manifest.run_id)
    tracking.require_same_release(mlflow_run, manifest.release_digest)
    tracking.log_parameters(mlflow_run, parameters(manifest.config))
    for name in (REPORT, MANIFEST):
        with local_copy(release / name) as file:
            tracking.log_file(mlflow_run, file)
    ranker = log_ranker(tracking, mlflow_run, manifest, Served.of(release), anew=True)
    tracking.log_metrics(mlflow_run, _metrics(manifest))
    files = manifest.input_digests.items()
    tracking.log_inputs(mlflow_run, [LoggedTable(name=name, sha256=sha256) for name, sha256 in files])
    card, tags = model_card(manifest, verdict), release_tags(release, manifest, verdict) | again_tags(LEFT_OUT)
    version = tracking.register(mlflow_run, ranker, tags, card, anew=True)
    tracking.describe(mlflow_run, card)
    tracking.finish(mlflow_run)
    return _result(tracking, mlflow_run.info.run_id, version, release)


def _metrics(manifest: Manifest) -> list[Metric]:
    training = manifest.training
    return [
        *final_metrics(manifest.metrics),
        *(Metric(f"counts/{name}", value) for name, value in manifest.counts.items()),
        *([Metric("train/epochs", training.epochs)] if training else []),
        *([Metric("train/best_epoch", training.best_epoch)] if training and training.best_epoch else []),
    ]


def require_begun(store: Store, run_id: str) -> None:
    """Raise `InputError` where there is no such run, which opening it would begin."""
    if not store.run_record(run_id).exists():
        raise InputError(
            f"there is no run {run_id!r} in {store.runs}; where only its release is left, "
            f"use `microrec register --again --release {run_id}`"
        )
