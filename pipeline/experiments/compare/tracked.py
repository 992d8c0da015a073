"""The result of one contestant on one seed, and the comparison in MLflow: one run, with a child run for each fit."""

from dataclasses import dataclass, field
from typing import Any

from upath import UPath

from pipeline.dataset.records import Metrics
from pipeline.documents import flatten, spelled
from pipeline.registry.metrics import Metric
from pipeline.run import Run, StageResult
from pipeline.storage.files import local_copy


@dataclass(frozen=True, kw_only=True)
class FitResult(StageResult):
    """Of one contestant on one seed."""

    name: str
    seed: int
    definition: dict[str, Any] | None = None
    """Settings and choices (`Contestant.definition`); None: an earlier version kept no record of them."""
    settings: dict[str, Any]
    """Those that validation liked best, and those that were fixed."""
    tried: dict[str, float | None]
    """Validation recall@20 by choice, as JSON; None where training diverged."""
    metrics: dict[str, Metrics | None]
    """By part: `validation`, `test`, `cold`, `cold_open`, `new_items`, `paper_protocol`; earlier versions lack some."""
    fit_seconds: float
    edges: list[str] = field(default_factory=list)
    """Chosen settings that are the highest or lowest of all tried; an earlier version did not look."""


def log_measured(run: Run, result: FitResult) -> None:
    """Log one contestant on one seed as a child run."""
    tracking = run.config.open_tracking()
    parent = tracking.start_run(run.id)
    child = tracking.start_run(f"{run.id}/{result.name}/seed-{result.seed}", parent)
    parameters = {"contestant": result.name, "seed": result.seed, **result.settings}
    tracking.log_parameters(child, {key: spelled(value) for key, value in parameters.items()})
    metrics = flatten({part: values for part, values in result.metrics.items() if values})
    tracking.log_metrics(child, [Metric(key.replace(".", "/"), float(value)) for key, value in metrics.items()])
    tracking.finish(child)


def log_comparison(run: Run, table: UPath) -> None:
    """Keep the table with the run of the whole."""
    tracking = run.config.open_tracking()
    parent = tracking.start_run(run.id)
    with local_copy(table) as file:
        tracking.log_file(parent, file)
    tracking.finish(parent)
