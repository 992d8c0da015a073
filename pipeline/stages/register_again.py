"""`register --again`: after MLflow was lost, a run or a release is registered in the one that there is now.

What was in MLflow alone is gone: the times of the runs, tags and descriptions that people wrote, numbers of versions.
Nothing of it is invented; the result and the version's tags say what is missing.
"""

import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path

from upath import UPath

from pipeline import stages
from pipeline.documents import as_document
from pipeline.errors import InputError
from pipeline.progress import Reporter
from pipeline.registry.gate import tags_of
from pipeline.registry.tracking import DIGEST_TAG, RUN_TAG, Metric, Tracking
from pipeline.registry.versions import adopt, answering_version, lost_champions
from pipeline.release.format import REPORT
from pipeline.release.manifest import MANIFEST, Manifest, read_manifest
from pipeline.release.verdict import read_verdict
from pipeline.release.verify import verify_release
from pipeline.run import RESULT, Run
from pipeline.stages.order import do_stage
from pipeline.stages.register import again_tags, final_metrics, log_model, parameters, register
from pipeline.stages.results import RegisterResult
from pipeline.storage.files import local_copy, write_json
from pipeline.storage.layout import Store

LEFT_OUT = ("training curves", "seconds of the stages", "extraction counts", "warnings and checks of the input")
"""What a run's folder has and its release has not."""


@dataclass(frozen=True, kw_only=True)
class RegisteredAgain:
    """What `register --again` tells."""

    run_id: str
    digest: str
    mlflow_run_id: str | None
    """None where nothing was registered."""
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
    """Register a run again, unless MLflow has it; its result names the version that there is now.

    Raises as stage `register`, and `StoreError` for a release that does not verify.
    """
    digest = verify_release(run.store, run.id).digest
    done = run.result(stages.REGISTER) or do_stage(run, stages.REGISTER)
    tracking = run.config.open_tracking()
    version = answering_version(run.store, tracking, run.id, digest, run.reporter)
    now = None
    if version is None:
        with tempfile.TemporaryDirectory(prefix="microrec-") as folder:
            now = register(run, Path(folder), anew=True)
        version = now.model_version
    _record(run, dataclasses.replace(done, **_places(tracking, version), run_id=now.run_id if now else done.run_id))
    return _settled(run.store, tracking, run.id, digest, version, now and now.run_id, (), run.reporter)


def register_release_again(store: Store, tracking: Tracking, run_id: str, reporter: Reporter) -> RegisteredAgain:
    """Register a release again, unless MLflow has it, from what stands in the release alone.

    Raises `StoreError` for a release that is not there or does not verify.
    """
    digest = verify_release(store, run_id).digest
    version, mlflow_id = answering_version(store, tracking, run_id, digest, reporter), None
    left_out = LEFT_OUT if version is None else ()
    if version is None:
        mlflow_id, version = _register(tracking, store.release(run_id), left_out)
    return _settled(store, tracking, run_id, digest, version, mlflow_id, left_out, reporter)


def _register(tracking: Tracking, release: UPath, left_out: tuple[str, ...]) -> tuple[str, str]:
    """MLflow's run and the version."""
    manifest, verdict = read_manifest(release), read_verdict(release)
    digest = manifest.release_digest
    mlflow_run = tracking.start_run(manifest.run_id)
    tracking.require_same_release(mlflow_run, digest)
    tracking.log_parameters(mlflow_run, parameters(manifest.config))
    for name in (REPORT, MANIFEST):
        with local_copy(release / name) as file:
            tracking.log_file(mlflow_run, file)
    model_id = log_model(tracking, mlflow_run, release, manifest, anew=True)
    tracking.log_metrics(mlflow_run, _metrics(manifest))
    tracking.log_inputs(mlflow_run, manifest.input_digests)
    tags = {DIGEST_TAG: digest, RUN_TAG: manifest.run_id, **(tags_of(verdict) if verdict else {})}
    description = f"Release {manifest.run_id}, digest {digest}"
    version = tracking.register(mlflow_run, model_id, tags | again_tags(left_out), description)
    tracking.finish(mlflow_run)
    return mlflow_run.info.run_id, version


def _metrics(manifest: Manifest) -> list[Metric]:
    training = manifest.training
    return [
        *final_metrics(manifest.metrics),
        *(Metric(f"counts/{name}", value) for name, value in manifest.counts.items()),
        *([Metric("train/epochs", training.epochs)] if training else []),
        *([Metric("train/best_epoch", training.best_epoch)] if training and training.best_epoch else []),
    ]


def _places(tracking: Tracking, version: str) -> dict[str, str]:
    return {"model_name": tracking.model_name, "model_version": version, "tracking_uri": tracking.shown_uri}


def _record(run: Run, result: RegisterResult) -> None:
    """Have the run's result name the version: the next `run` with this id promotes what stands there."""
    if result != run.result(stages.REGISTER):
        write_json(run.folder(stages.REGISTER) / RESULT, as_document(result.kept_in(run.store)))


def _settled(
    store: Store,
    tracking: Tracking,
    run_id: str,
    digest: str,
    version: str,
    mlflow_id: str | None,
    left_out: tuple[str, ...],
    reporter: Reporter,
) -> RegisteredAgain:
    """Bring `champion.json` in line, and say what was done and what is lost."""
    done = f"registered again as version {version}" if mlflow_id else f"is there as version {version}: nothing to do"
    reporter.say(f"register: release {run_id} {done}")
    champion = adopt(store, tracking, run_id, digest, version, reporter)
    lost = lost_champions(store, tracking)
    if lost:
        reporter.say(f"register: MLflow has no version of the champions {', '.join(lost)}; register them again, too")
    return RegisteredAgain(
        run_id=run_id,
        digest=digest,
        mlflow_run_id=mlflow_id,
        model_name=tracking.model_name,
        model_version=version,
        changed=mlflow_id is not None,
        champion=champion,
        left_out=list(left_out),
        lost=lost,
    )


def require_begun(store: Store, run_id: str) -> None:
    """Raise `InputError` where there is no such run, which opening it would begin."""
    if not store.run_record(run_id).exists():
        raise InputError(
            f"there is no run {run_id!r} in {store.runs}; where only its release is left, "
            f"use `microrec register --again --release {run_id}`"
        )
