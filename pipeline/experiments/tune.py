"""Command `tune`: hyper-parameter search on validation (docs/decisions/0009-tuning.md).

A study is nothing but the records of its finished trials, one JSON file each. Before every trial Optuna's
study is built anew from them, with a sampler seeded by the trial's number; so a study that was killed, or is
given more trials later, draws what an undisturbed one draws.
"""

import dataclasses
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl
import tomli_w
from upath import UPath

from model.divergence import DivergedError
from model.epoch import EpochReport
from pipeline import stages
from pipeline.addresses import HIDDEN
from pipeline.columns import SPLIT, TEST, VALIDATION
from pipeline.config.config import Config
from pipeline.config.search_space import TuneConfig, decode, distributions, encode, within
from pipeline.dataset.dataset import Dataset, load_dataset
from pipeline.documents import as_document, as_record, flatten, spelled
from pipeline.errors import ConfigError, InputError, MicrorecError
from pipeline.progress import Task
from pipeline.registry.metrics import Metric, epoch_metrics
from pipeline.registry.tracking import Tracking
from pipeline.run import Run
from pipeline.stages.history import as_history, as_rows
from pipeline.stages.order import do_stages
from pipeline.stages.register import parameters
from pipeline.stages.train import make_trainer
from pipeline.storage.files import local_copy, publish_bytes, read_json, write_json

if TYPE_CHECKING:
    import optuna

TUNE, TRIALS, TABLE, BEST = "tune", "trials", "trials.parquet", "best.toml"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A finished trial, as it is recorded."""

    number: int
    """From 0, which is the configuration as it stands."""
    state: Literal["complete", "pruned", "diverged", "refused"]
    """`refused`: by the configuration, which does not take these values together."""
    values: dict[str, Any]
    """Configuration key to what was tried."""
    metric: float | None
    """At the best epoch; None where training diverged or did not begin."""
    best_epoch: int
    history: list[EpochReport]

    @property
    def seconds(self) -> float:
        return float(sum(one.seconds for one in self.history))


@dataclass(frozen=True, kw_only=True)
class Best:
    """The trial that validation liked best."""

    trial: int
    metric: float | None
    params: dict[str, Any]
    """Configuration key to value."""


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What a study came to."""

    run_id: str
    best: Best
    trials: int
    pruned: int
    diverged: int
    refused: int
    config: str
    """Where the best configuration is."""


def tune(run: Run) -> Tuned:
    """Try configurations until `tune.trials` are finished; write the best as TOML and all as a table.

    Raises:
        InputError: a split without validation interactions.
        MicrorecError: every trial diverged or was refused.
    """
    do_stages(run, upto=stages.PREPARE)
    dataset = without_test(load_dataset(run.folder(stages.PREPARE)))
    if not len(dataset.pairs(VALIDATION)[0]):
        raise InputError("tune chooses on validation, which has no interactions; raise split.validation")
    settings, folder = run.config.tune, run.path / TUNE
    trials = load_trials(folder)
    log = _StudyLog(run, run.config.open_tracking())
    if trials:
        log.add(trials)  # the last may have been recorded and not logged
        run.reporter.say(f"tune: {len(trials)} trials done before")
    with run.reporter.task("tune", max(0, settings.trials - len(trials))) as task:
        while len(trials) < settings.trials:
            trials.append(_try(run, dataset, trials, task))
            _write(folder, trials[-1])
            log.add(trials)
            task.advance(note=_best_note(trials))
    best = best_trial(trials)
    if best is None:
        raise MicrorecError(
            "every trial diverged or was refused; lower train.learning_rate, also in tune.space, and use a new run id"
        )
    _publish(run, folder, trials, best)
    log.finish(folder / BEST)
    states = [trial.state for trial in trials]
    return Tuned(
        run_id=run.id,
        best=Best(trial=best.number, metric=best.metric, params=best.values),
        trials=len(trials),
        pruned=states.count("pruned"),
        diverged=states.count("diverged"),
        refused=states.count("refused"),
        config=str(folder / BEST),
    )


def without_test(dataset: Dataset) -> Dataset:
    """The dataset as a search may see it."""
    return dataclasses.replace(dataset, interactions=dataset.interactions.filter(pl.col(SPLIT) != TEST))


def best_trial(trials: list[Trial]) -> Trial | None:
    """The complete trial with the highest metric, the earliest of equals."""
    complete = [trial for trial in trials if trial.state == "complete"]
    return max(complete, key=lambda trial: trial.metric or 0.0, default=None)


def load_trials(folder: UPath) -> list[Trial]:
    """Read the finished trials of a study."""
    trials: list[Trial] = []
    while (record := _record(folder, len(trials))).exists():
        document = read_json(record)
        rows = document.get("history") if isinstance(document, dict) else None
        trial = as_record(Trial, {**document, "history": []} if isinstance(document, dict) else document, record)
        trials.append(dataclasses.replace(trial, history=as_history(rows, record)))
    return trials


def _write(folder: UPath, trial: Trial) -> None:
    write_json(_record(folder, trial.number), {**as_document(trial), "history": as_rows(trial.history)})


def _record(folder: UPath, number: int) -> UPath:
    return folder / TRIALS / f"{number:05d}.json"


def propose(trials: list[Trial], config: Config) -> "optuna.Trial":
    """Ask Optuna for the trial after these."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    settings, known = config.tune, distributions(config.tune.space)
    seed = int(np.random.SeedSequence([settings.seed, len(trials)]).generate_state(1)[0])
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(n_startup_trials=settings.startup_trials, seed=seed),
        pruner=optuna.pruners.MedianPruner(settings.startup_trials, settings.warmup_epochs),
    )
    study.add_trials([_as_optuna(trial, settings, known) for trial in trials])
    if not trials:
        study.enqueue_trial(encode(settings.space, within(settings.space, own_values(config))))
    return study.ask(known)


def own_values(config: Config) -> dict[str, Any]:
    """The configuration's own values of what is searched, which trial 0 tries even where the space leaves them out."""
    flat = flatten(config.as_dict())
    return {key: flat[key] for key in config.tune.space}


def _as_optuna(trial: Trial, settings: TuneConfig, known: dict[str, Any]) -> "optuna.trial.FrozenTrial":
    """A trial as Optuna knows it, without what the space does not reach.

    A diverged or refused trial counts as pruned before its first check: the sampler takes it for the worst.
    """
    from optuna.trial import TrialState, create_trial

    complete = trial.state == "complete"
    params = encode(settings.space, within(settings.space, trial.values))
    checked = {one.epoch: one.validation[settings.metric] for one in trial.history if one.validation}
    return create_trial(
        state=TrialState.COMPLETE if complete else TrialState.PRUNED,
        value=trial.metric if complete else None,
        params=params,
        distributions={key: known[key] for key in params},
        intermediate_values={} if trial.metric is None else checked,
    )


def _try(run: Run, dataset: Dataset, trials: list[Trial], task: Task) -> Trial:
    """Train one configuration to its end, or until it is worse than half of the trials before it."""
    settings, proposed = run.config.tune, propose(trials, run.config)
    values = decode(settings.space, proposed.params) if trials else own_values(run.config)
    try:
        config = run.config.with_values(values)
    except ConfigError as error:
        run.reporter.say(f"tune: trial {len(trials)} is refused: {error}")
        return Trial(number=len(trials), state="refused", values=values, metric=None, best_epoch=0, history=[])
    trainer = make_trainer(dataclasses.replace(run, config=config), dataset)
    history: list[EpochReport] = []
    state: Literal["complete", "pruned", "diverged"] = "complete"
    try:
        for report in trainer.fit():
            history.append(report)
            task.advance(0, f"trial {len(trials)} epoch {report.epoch} {_best_note(trials)}")
            if report.validation is not None:
                proposed.report(report.validation[settings.metric], report.epoch)
                if not trainer.finished and proposed.should_prune():
                    state = "pruned"
                    break
    except DivergedError:
        state = "diverged"
    return Trial(
        number=len(trials),
        state=state,
        values=values,
        metric=None if state == "diverged" else (history[trainer.best_epoch - 1].validation or {})[settings.metric],
        best_epoch=trainer.best_epoch,
        history=history,
    )


def _best_note(trials: list[Trial]) -> str:
    best = best_trial(trials)
    return f"best {best.metric:.4f} in trial {best.number}" if best else ""


def _publish(run: Run, folder: UPath, trials: list[Trial], best: Trial) -> None:
    """Write the best configuration, and the table of trials."""
    document = _without_unset(run.config.with_values(best.values).as_dict())
    note = f"# Trial {best.number} of run {run.id}: {run.config.tune.metric} {best.metric:.4f} on validation.\n"
    text = tomli_w.dumps({"base": str(run.config.base.resolve()), **document})
    if HIDDEN in text:
        note += "# Secrets are left out (***): put them back before use.\n"
    publish_bytes(folder / BEST, (note + text).encode())
    rows = [
        {
            "trial": trial.number,
            "state": trial.state,
            run.config.tune.metric: trial.metric,
            "best_epoch": trial.best_epoch,
            "epochs": len(trial.history),
            "seconds": trial.seconds,
            **encode(run.config.tune.space, trial.values),
        }
        for trial in trials
    ]
    table = io.BytesIO()
    pl.DataFrame(rows, infer_schema_length=None).write_parquet(table)
    publish_bytes(folder / TABLE, table.getvalue())


def _without_unset(document: dict[str, Any]) -> dict[str, Any]:
    """TOML has no null; a key that is not there has its default."""
    return {
        key: _without_unset(value) if isinstance(value, dict) else value
        for key, value in document.items()
        if value is not None
    }


class _StudyLog:
    """The study in MLflow: a parent run, and under it a run for each trial; the same again changes nothing."""

    def __init__(self, run: Run, tracking: Tracking) -> None:
        self._tracking, self._name, self._metric = tracking, f"{run.id}/{TUNE}", run.config.tune.metric
        self._parent = tracking.start_run(self._name)
        tracking.log_parameters(self._parent, parameters(run.config.as_dict()))

    def add(self, trials: list[Trial]) -> None:
        """Log the last of the finished trials."""
        trial = trials[-1]
        child = self._tracking.start_run(f"{self._name}/{trial.number}", parent=self._parent)
        tried = {**trial.values, "trial.state": trial.state}
        self._tracking.log_parameters(child, {key: spelled(value) for key, value in tried.items()})
        self._tracking.log_metrics(child, epoch_metrics(trial.history))
        self._tracking.finish(child)
        if (best := best_trial(trials)) and best.metric is not None:
            elapsed = sum(trial.seconds for trial in trials)
            best_so_far = Metric(f"best/{self._metric}", best.metric, trial.number, elapsed)
            self._tracking.log_metrics(self._parent, [best_so_far])

    def finish(self, best: UPath) -> None:
        """Keep the best configuration and mark the study as finished."""
        with local_copy(best) as file:
            self._tracking.log_file(self._parent, file)
        self._tracking.finish(self._parent)
