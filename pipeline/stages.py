"""The stages in order, and the main job that runs them all."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from pipeline import torchrun
from pipeline.errors import GateRefusedError, InputError
from pipeline.release import REPORT
from pipeline.run import Result, Run, peak_memory_bytes, run_stage

STAGES = ("validate", "extract", "prepare", "train", "evaluate", "export", "register")
"""Stages that commit a folder under `runs/<run_id>/`; promotion follows them."""


def new_run_id() -> str:
    """A fresh id, readable and unique: the moment in UTC and eight random digits."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"


def do_stage(run: Run, name: str) -> Result:
    """Run one stage unless it is done.

    Raises `InputError` when the stage before it has not been done, and when torchrun started it for any but `train`.
    """
    if name != "train" and torchrun.num_processes() > 1:
        raise InputError(f"stage {name} is done by one process; start only `microrec train --run-id ID` with torchrun")
    done = run.result(name)
    if done is None:
        _require_before(run, name)
    if torchrun.rank() > 0:  # takes part in the training that the first process commits
        return done or _implementation(name)(run, Path())
    return run_stage(run, name, lambda this, folder: _implementation(name)(this, folder))


def _implementation(name: str) -> Callable[[Run, Path], Result]:
    """The stage's function, imported when it is needed: a command pays only for what it uses."""
    if name == "validate":
        validate = import_module("pipeline.validate").validate
        return lambda run, folder: {"report": validate(run.config)}
    if name == "extract":
        extract = import_module("pipeline.extract").extract
        return lambda run, folder: {"modalities": extract(run)}
    function: Callable[[Run, Path], Result] = getattr(import_module(f"pipeline.{name}"), name)
    return function


def _require_before(run: Run, name: str) -> None:
    needed = {"train": "prepare", "evaluate": "train", "export": "evaluate", "register": "export"}.get(name)
    if needed and run.result(needed) is None:
        raise InputError(
            f"stage {name} of run {run.id} needs stage {needed}; run `microrec {needed} --run-id {run.id}` first"
        )


def run_all(run: Run) -> dict[str, Any]:
    """Run every stage, then try to promote; return the contract's summary.

    A refused promotion is part of the summary (`gate`), for the caller to turn into its exit status.
    """
    results = {name: do_stage(run, name) for name in STAGES}
    alias, refusal = _promote(run, results["register"]["model_version"])
    exported, registered, metrics = results["export"], results["register"], results["evaluate"]["metrics"]
    return {
        "run_id": run.id,
        "release": exported["release"],
        "report": f"{exported['release']}/{REPORT}",
        "digest": exported["digest"],
        "counts": {**results["prepare"]["counts"], **exported["counts"]},
        "metrics": metrics,
        "mlflow": {
            "run_id": registered["run_id"],
            "model_name": registered["model_name"],
            "model_version": registered["model_version"],
            "alias": alias,
        },
        "gate": refusal,
        "seconds": {name: result["seconds"] for name, result in results.items()},
        "peak_memory_bytes": max(peak_memory_bytes(), *(result["peak_memory_bytes"] for result in results.values())),
    }


def _promote(run: Run, version: str) -> tuple[str | None, str | None]:
    promote = import_module("pipeline.promotion").promote
    try:
        promote(run.config, str(version), run.reporter)
    except GateRefusedError as refusal:
        return None, str(refusal)
    return "champion", None
