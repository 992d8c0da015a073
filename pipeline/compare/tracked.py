"""The comparison in MLflow: a run for the whole, a child run for every contestant and seed."""

from upath import UPath

from pipeline.register import spelled
from pipeline.report import flatten
from pipeline.run import Result, Run
from pipeline.storage import local_copy
from pipeline.tracking import Metric, open_tracking


def log_measured(run: Run, result: Result) -> None:
    """Log one contestant on one seed as a child run."""
    tracking = open_tracking(run.config)
    parent = tracking.start_run(run.id)
    child = tracking.start_run(f"{run.id}/{result['name']}/seed-{result['seed']}", parent)
    parameters = {"contestant": result["name"], "seed": result["seed"], **result["settings"]}
    tracking.log_parameters(child, {key: spelled(value) for key, value in parameters.items()})
    metrics = flatten({part: values for part, values in result["metrics"].items() if values})
    tracking.log_metrics(child, [Metric(key.replace(".", "/"), float(value)) for key, value in metrics.items()])
    tracking.finish(child)


def log_comparison(run: Run, table: UPath) -> None:
    """Keep the table with the run of the whole."""
    tracking = open_tracking(run.config)
    parent = tracking.start_run(run.id)
    with local_copy(table) as file:
        tracking.log_file(parent, file)
    tracking.finish(parent)
