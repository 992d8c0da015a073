"""The stages in order, and the main job that runs them all."""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from features.errors import FeatureError
from pipeline import stages, torchrun
from pipeline.dataset.records import Evaluation
from pipeline.errors import GateRefusedError, InputError
from pipeline.opening import free_id
from pipeline.registry.champion import Hold
from pipeline.registry.checks import Checks
from pipeline.registry.predecessor import predecessor
from pipeline.release.format import REPORT
from pipeline.release.verdict import Verdict, read_verdict
from pipeline.run import ResultType, Run, Stage, StageResult, peak_memory_bytes, run_stage
from pipeline.stages.input_checks import check_input
from pipeline.stages.pinned import renewed
from pipeline.stages.results import ValidateResult

ORDER: tuple[Stage[Any], ...] = (
    stages.VALIDATE,
    stages.EXTRACT,
    stages.PREPARE,
    stages.TRAIN,
    stages.EVALUATE,
    stages.EXPORT,
    stages.REGISTER,
)
"""Stages that commit a folder under `runs/<run_id>/`; promotion follows them."""
STAGES = {stage.name: stage for stage in ORDER}
NEEDS: dict[Stage[Any], Stage[Any]] = {
    stages.TRAIN: stages.PREPARE,
    stages.EVALUATE: stages.TRAIN,
    stages.EXPORT: stages.EVALUATE,
    stages.REGISTER: stages.EXPORT,
}
"""The stage that must have been done before."""


def new_run_id() -> str:
    """A fresh id, readable and unique: the moment in UTC and eight random digits."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"


def do_stage(run: Run, stage: Stage[ResultType]) -> ResultType:
    """Run one stage unless it is done; the first fixes which champion the run stands on.

    Raises `InputError` when the stage before it has not been done, and when torchrun started it for any but `train`.
    """
    if stage != stages.TRAIN and torchrun.num_processes() > 1:
        raise InputError(
            f"stage {stage.name} is done by one process; start only `microrec train --run-id ID` with torchrun"
        )
    done = run.result(stage)
    if done is None or not done.stands(run):
        predecessor(run.path, run.store)
        if stage in NEEDS:
            run.require(NEEDS[stage])
    if torchrun.rank() > 0:  # takes part in the training that the first process commits
        return done or _work(stage)(run, Path())
    return run_stage(run, stage, lambda this, folder: _work(stage)(this, folder))


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A run that is pinned to its input."""

    run: Run
    result: ValidateResult
    again: bool
    """Whether this has begun it again."""


def begin(run: Run) -> Begun:
    """Do stage `validate`, in the run's next generation where its input has moved (`pinned.renewed`).

    A run whose first input is refused leaves its id free.
    """
    now = renewed(run)
    try:
        result = do_stage(now, stages.VALIDATE)
    except (InputError, FeatureError):
        free_id(now)
        raise
    return Begun(run=now, result=result, again=now.generation != run.generation)


def do_stages(run: Run, *, upto: Stage[Any]) -> None:
    """Run every stage unless it is done, in order, up to and with one."""
    for stage in ORDER[: ORDER.index(upto) + 1]:
        do_stage(run, stage)


def _work(stage: Stage[ResultType]) -> Any:
    """The stage's function, which has its module's name; imported when needed, so a command loads only what it uses."""
    return getattr(import_module(f"pipeline.stages.{stage.name}"), stage.name)


@dataclass(frozen=True, kw_only=True)
class MlflowSummary:
    """Where a run is in MLflow."""

    run_id: str
    model_name: str
    model_version: str
    alias: str | None
    """`champion`, or None where the gate refused or an earlier champion is held."""


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """What `microrec run` tells."""

    run_id: str
    release: str
    report: str
    digest: str
    counts: dict[str, int]
    metrics: Evaluation
    mlflow: MlflowSummary
    warnings: list[str]
    """Of `validate`."""
    checks: Checks
    gate: str | None
    """Why the gate refused; None where it did not."""
    held: Hold | None
    """Why an earlier champion stays although the gate did not refuse; None where this one was promoted."""
    verdict: Verdict | None
    """What the gate said row by row before the release was written; None of a release of an earlier version."""
    seconds: dict[str, float]
    """By stage."""
    peak_memory_bytes: int


def run_all(run: Run, *, accept_change: bool = False) -> RunSummary:
    """Run every stage, on new input from the beginning, then try to promote.

    Args: accept_change: let an input pass that the checks would refuse for differing from the champion's.

    A refused promotion is part of the summary (`gate`), for the caller to turn into its exit status.

    Raises `ChecksRefusedError`, before anything is computed, where the checks of the input refuse.
    """
    begun = begin(run)
    run, validated = begun.run, begun.result
    checks = check_input(run, accept_change=accept_change)
    results: dict[str, StageResult] = {stages.VALIDATE.name: validated}
    for stage in ORDER[1:]:
        if stage == stages.EXPORT and run.result(stage) is None:
            _ask_gate(run)  # before the release is written, which tells what the gate said
        results[stage.name] = do_stage(run, stage)
    exported, registered = run.require(stages.EXPORT), run.require(stages.REGISTER)
    refusal, held = _promote(run, registered.model_version, exported.digest)
    return RunSummary(
        run_id=run.id,
        release=exported.release,
        report=f"{exported.release}/{REPORT}",
        digest=exported.digest,
        counts={**run.require(stages.PREPARE).counts, **exported.counts},
        metrics=run.require(stages.EVALUATE).metrics,
        mlflow=MlflowSummary(
            run_id=registered.run_id,
            model_name=registered.model_name,
            model_version=registered.model_version,
            alias=None if refusal or held else "champion",
        ),
        warnings=validated.report.warnings,
        checks=checks,
        gate=refusal,
        held=held,
        verdict=read_verdict(run.store.release(run.id)),
        seconds={name: result.seconds for name, result in results.items()},
        peak_memory_bytes=max(peak_memory_bytes(), *(result.peak_memory_bytes for result in results.values())),
    )


def _ask_gate(run: Run) -> None:
    from pipeline.stages.gate import ask_gate

    ask_gate(run, again=False)


def _promote(run: Run, version: str, digest: str) -> tuple[str | None, Hold | None]:
    """Why the gate refused, or why an earlier champion is held; both None where this one is champion."""
    from pipeline.registry.promotion import promote
    from pipeline.registry.versions import require_version_of
    from pipeline.release.signature import read_public_keys

    keys = read_public_keys(run.config.public_keys)
    tracking = run.config.open_tracking()
    require_version_of(tracking, version, run.id, digest)
    try:
        moved = promote(run.store, tracking, run.config.gate, version, run.reporter, keys=keys)
    except GateRefusedError as refusal:
        return str(refusal), None
    return None, None if moved.model_version == version else moved.held
