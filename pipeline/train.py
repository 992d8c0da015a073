"""Stage `train`: fit the model, keep checkpoints, write the vectors of the best one."""

import dataclasses
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from upath import UPath

from model.data import resolve_device
from model.memory import GIB, predicted_peak
from model.training import DivergedError, EpochReport, HeldOut, Trainer
from pipeline.checkpoint import CONTENT_MAP, PARAMETERS, load_checkpoint, save_checkpoint
from pipeline.dataset import Dataset, load_dataset
from pipeline.errors import ConfigError, MicrorecError
from pipeline.progress import Task
from pipeline.protocol import EvaluationProtocol
from pipeline.resources import free_memory_bytes, resident_memory_bytes
from pipeline.run import Result, Run
from pipeline.split import VALIDATION
from pipeline.storage import write_json
from pipeline.warm_start import recorded_start, start_warm

VECTORS, HISTORY = "vectors.safetensors", "history.json"


def train(run: Run, folder: Path) -> Result:
    """Train from the latest checkpoint of this run, or from the start: a fresh one or an earlier run's end."""
    dataset = load_dataset(run.stage("prepare"))
    checkpoints = run.path / "checkpoints"
    predicted = check_memory(run, dataset)
    trainer = make_trainer(run, dataset)
    history, started_from = _begin(run, trainer, dataset, checkpoints)
    with run.reporter.task("train", run.config.train.max_epochs) as task:
        task.advance(trainer.epoch)
        _fit(trainer, history, checkpoints, task)
    vectors = trainer.best_vectors()
    tensors = {field.name: getattr(vectors, field.name).cpu().contiguous() for field in dataclasses.fields(vectors)}
    save_file(
        {name: tensors[name] for name in ("user_UD", "item_ID", "content_ID", "modality_weight_IM")},
        folder / VECTORS,
    )
    save_file(
        {name: value.cpu().contiguous() for name, value in trainer.best_parameters().items()},
        folder / PARAMETERS,
    )
    if trainer.model.modality_names:
        save_file({"map_CD": trainer.model.content_map.fit(vectors.item_ID).cpu()}, folder / CONTENT_MAP)
    write_json(UPath(str(folder / HISTORY)), history)
    return {
        "epochs": trainer.epoch,
        "best_epoch": trainer.best_epoch,
        "warm_start": started_from,
        "modalities": trainer.model.modality_names,
        "predicted_peak_memory_bytes": predicted,
        "graph_recall": trainer.model.graph_recall(),
        "device": str(trainer.device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "seconds_per_epoch": sum(row["seconds"] for row in history) / max(1, len(history)),
    }


def check_memory(run: Run, dataset: Dataset) -> int:
    """Say what training will take, from the counts, before it starts; return the predicted peak in bytes.

    Raises `ConfigError` when that is more than this machine has left. On a GPU nothing is predicted: its memory runs
    out at once or not at all, with the reason.
    """
    try:
        if resolve_device(run.config.train.device).type != "cpu":
            return 0
        prediction = predicted_peak(dataset.training_data(), run.config.model, run.config.train)
    except ValueError as error:
        raise ConfigError(f"train: {error}") from error
    loaded = prediction.parts.get("features", 0)  # what is in memory already
    total, free = resident_memory_bytes() + prediction.total - loaded, free_memory_bytes()
    run.reporter.say(f"train: predicted peak {total / GIB:.2f} GiB; training takes {prediction}")
    if free is not None and prediction.total - loaded > free:
        raise ConfigError(
            f"train: needs {prediction}, but only {free / GIB:.2f} GiB are free; lower model.embedding_dim "
            f"(now {run.config.model.embedding_dim}) or model.neighbours ({run.config.model.neighbours}), "
            "or use a larger machine"
        )
    return total


def make_trainer(run: Run, dataset: Dataset) -> Trainer:
    """The trainer of this run's configuration, checking on the validation interactions of `dataset`.

    Raises `ConfigError` for a configuration that does not fit the data.
    """
    user_P, item_P = dataset.pairs(VALIDATION)
    candidate_I = EvaluationProtocol(dataset, run.config.split).validation_candidate_I
    held_out = HeldOut(user_P=user_P, item_P=item_P, candidate_I=candidate_I)
    try:
        return Trainer(dataset.training_data(), held_out, run.config.model, run.config.train)
    except ValueError as error:
        raise ConfigError(f"train: {error}") from error


def _begin(
    run: Run, trainer: Trainer, dataset: Dataset, checkpoints: UPath
) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Resume from the latest checkpoint, else begin warm or fresh; return the history and what it all began from."""
    found = load_checkpoint(checkpoints)
    if found is None:
        return [], start_warm(run, trainer, dataset)
    state, history = found
    trainer.load_state(state)
    run.reporter.say(f"train: resumed after epoch {trainer.epoch}")
    return history, recorded_start(run)


def _fit(trainer: Trainer, history: list[dict[str, Any]], checkpoints: UPath, task: Task) -> None:
    try:
        for report in trainer.fit():
            history.append(history_row(report))
            task.advance(note=_note(report, trainer))
            if report.validation is not None or report.epoch % trainer.config.check_every == 0:
                save_checkpoint(checkpoints, trainer.state(), history)
    except DivergedError as error:
        raise MicrorecError(str(error)) from error


def history_row(report: EpochReport) -> dict[str, Any]:
    """One epoch as plain JSON values, validation metrics beside the rest."""
    row = dataclasses.asdict(report)
    validation = row.pop("validation") or {}
    return row | validation


def _note(report: EpochReport, trainer: Trainer) -> str:
    speed = f"{trainer.ranking_loss.num_batches(trainer.config.batch_size) / report.seconds:.0f} steps/s"
    best = (
        f"best {trainer.best_metric:.4f} at {trainer.best_epoch}"
        if trainer.best_epoch and report.metric is not None
        else ""
    )
    metric = f"recall@20 {report.metric:.4f}" if report.metric is not None else ""
    return " ".join(part for part in (f"loss {report.loss:.4f}", metric, best, speed) if part)
