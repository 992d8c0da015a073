"""Stage `train`: fit the model, keep checkpoints, write the vectors of the best one."""

from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from upath import UPath

from model.allocator import freed_memory_kept
from model.config import Weights
from model.data import resolve_device
from model.divergence import DivergedError
from model.epoch import EpochReport
from model.finishing.finish import Finished, finish
from model.inductive import new_item_maps
from model.memory import GIB, predicted_peak
from model.micro import Micro
from model.parallel import WHOLE, Columns
from model.ranks import RankFailedError, joined, launch
from model.split import Split
from model.training import Trainer
from pipeline import errors, stages, torchrun
from pipeline.config.config import Config
from pipeline.dataset.dataset import Dataset, load_dataset
from pipeline.dataset.protocol import EvaluationProtocol
from pipeline.errors import ConfigError, MicrorecError
from pipeline.progress import Reporter, Task
from pipeline.resources import free_memory_bytes, resident_memory_bytes
from pipeline.run import Run, peak_memory_bytes
from pipeline.stages.checkpoint import (
    CONTENT_MAP,
    PARAMETERS,
    VECTORS,
    latest_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from pipeline.stages.found_weights import NOTHING_FOUND, FoundWeights, found_weights, train_interactions
from pipeline.stages.history import HISTORY, as_rows
from pipeline.stages.results import TrainResult
from pipeline.stages.warm_start import recorded_start, start_warm
from pipeline.storage.files import write_json

SPLIT_VECTORS = ("user_UD", "item_ID", "content_ID")


def train(run: Run, folder: Path) -> TrainResult:
    """Train from the latest checkpoint of this run, or from the start: a fresh one or an earlier run's end.

    In this process, or in several that it starts or that torchrun has started (`train.processes`).
    """
    count = num_processes(run.config)
    if count == 1 or torchrun.num_processes() > 1:
        return _train(run, folder)
    run.reporter.say(f"train: in {count} processes")
    try:
        result: TrainResult = launch(count, _train_in_rank, run.config, run.id, run.generation, folder)
    except RankFailedError as error:
        raise _known_error(error, run) from error
    return result


def num_processes(config: Config) -> int:
    """Processes that are to train together.

    Raises `ConfigError` for more than there are GPUs, where GPUs are to be used.
    """
    if torchrun.num_processes() > 1:
        return torchrun.num_processes()
    wanted, device, dim = config.train.processes, _device(config), config.model.embedding_dim
    if device.type != "cuda":
        return 1 if wanted == "auto" else wanted
    gpus = torch.cuda.device_count() if device.index is None else 1
    if wanted == "auto":
        return max(count for count in range(1, gpus + 1) if dim % count == 0)
    if wanted > gpus:
        raise ConfigError(
            f"train.processes = {wanted}: one GPU each, but train.device {config.train.device!r} gives {gpus}; lower it"
        )
    return wanted


def _train_in_rank(config: Config, run_id: str, generation: int, folder: Path) -> TrainResult:
    return _train(Run(run_id, config, config.open_store(), Reporter(), generation), folder)


def _known_error(error: RankFailedError, run: Run) -> MicrorecError:
    """What one of the processes raised on purpose, as it raised it; else what happened to which."""
    name, _, text = error.reason.partition(": ")
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, MicrorecError):
        return kind(text)
    if error.traceback:
        run.reporter.say(error.traceback)
    return MicrorecError(f"train: {error}; continue with --run-id {run.id}")


def _train(run: Run, folder: Path) -> TrainResult:
    """Train with the columns of this process; the first one writes and returns what is true of all."""
    dataset = load_dataset(run.folder(stages.PREPARE))
    checkpoints = run.path / "checkpoints"
    with joined(_device(run.config)) as columns:
        predicted = columns.first(lambda: check_memory(run, dataset))
        found = columns.first(lambda: found_weights(run, run.config.model.modalities_of(dataset.features)))
        trainer = make_trainer(run, dataset, columns, found)
        state, history = (load_checkpoint(checkpoints) if columns.is_first else None) or (None, [])
        is_new = columns.first(lambda: state is None)
        started_from = start_warm(run, trainer, dataset) if is_new else recorded_start(run)
        if found.run_id is not None and started_from is not None and started_from.run_id is None:
            found = NOTHING_FOUND  # from random parameters, weights that go with the champion's are none
            trainer = make_trainer(run, dataset, columns)
        if not is_new:
            trainer.load_state(state)
            run.reporter.say(f"train: resumed after epoch {trainer.epoch}")
        with run.reporter.task("train", run.config.train.max_epochs) as task:
            task.advance(trainer.epoch)
            _fit(trainer, history, checkpoints, task)
        finished = _write(run, trainer, dataset, folder, found.taste)
    is_known = found.run_id is not None and not found.searches_on
    if columns.is_first:
        write_json(UPath(str(folder / HISTORY)), as_rows(history))
    return TrainResult(
        epochs=trainer.epoch,
        best_epoch=trainer.best_epoch,
        warm_start=started_from,
        modalities=trainer.model.modality_names,
        weights=asdict(trainer.adaptation.best),
        weights_of=found.run_id if is_known else (run.id if _has_searched(run.config, trainer) else None),
        weights_interactions=found.interactions if is_known else train_interactions(run),
        taste_weights=finished.taste_weights if finished else {},
        new_item_scale=finished.new_item_scale if finished else 1.0,
        predicted_peak_memory_bytes=predicted,
        peak_memory_bytes=peak_memory_bytes(),
        graph_recall=trainer.model.graph_recall(),
        device=str(trainer.device),
        processes=columns.count,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        seconds_per_epoch=sum(report.seconds for report in history) / max(1, len(history)),
    )


def _write(
    run: Run, trainer: Trainer[Micro], dataset: Dataset, folder: Path, found_taste: dict[str, float] | None
) -> Finished | None:
    """Finished vectors and parameters of the best epoch; None on all processes but the first."""
    vectors = trainer.best_vectors()
    whole = {name: trainer.columns.gather(getattr(vectors, name), Split(1)) for name in SPLIT_VECTORS}
    whole["modality_weight_IM"] = vectors.modality_weight_IM.cpu().contiguous()
    parameters = trainer.best_parameters()
    names = trainer.model.modality_names
    map_CD = trainer.columns.gather(trainer.model.content_map.fit(vectors.item_ID), Split(1)) if names else None
    if not trainer.columns.is_first:
        return None
    held_out = EvaluationProtocol(dataset, run.config.split).held_out()
    data, config = dataset.training_data(), run.config.model
    finished = finish(whole["user_UD"], whole["item_ID"], data, held_out, config, names, found_taste)
    run.reporter.say(f"train: {told(trainer.adaptation.best, finished)}")
    save_file(whole | {"user_UD": finished.user_UD, "item_ID": finished.item_ID}, folder / VECTORS)
    save_file(parameters, folder / PARAMETERS)
    if map_CD is not None:
        save_file(new_item_maps(map_CD, finished), folder / CONTENT_MAP)
    return finished


def told(weights: Weights, finished: Finished) -> str:
    """What training and finishing came to, for people."""
    used = ", ".join(f"{name} {value:.3g}" for name, value in asdict(weights).items())
    taste = ", ".join(f"{name} {weight:.2g}" for name, weight in finished.taste_weights.items() if weight)
    return f"{used}; taste in content: {taste or 'none'}; vectors of new items times {finished.new_item_scale:.2f}"


def _device(config: Config) -> torch.device:
    try:
        return resolve_device(config.train.device)
    except ValueError as error:
        raise ConfigError(f"train: {error}") from error


def check_memory(run: Run, dataset: Dataset) -> int:
    """Say what training will take, from the counts, before it starts; return the predicted peak in bytes.

    Raises `ConfigError` when that is more than this machine has left. On a GPU nothing is predicted: its memory runs
    out at once or not at all, with the reason.
    """
    if _device(run.config).type != "cpu":
        return 0
    try:
        data = dataset.training_data()
        prediction = predicted_peak(data, run.config.model, run.config.train, torchrun.num_processes())
    except ValueError as error:
        raise ConfigError(f"train: {error}") from error
    loaded = prediction.parts.get("features", 0)  # what is in memory already
    total, free = resident_memory_bytes() + prediction.total - loaded, free_memory_bytes()
    here = torchrun.num_processes_here()
    each = f" for each of {here} processes" if here > 1 else ""
    run.reporter.say(f"train: predicted peak {total / GIB:.2f} GiB{each}; training takes {prediction}")
    if free is not None and (prediction.total - loaded) * here > free:
        raise ConfigError(
            f"train: needs {prediction}{each}, but only {free / GIB:.2f} GiB are free; lower model.embedding_dim "
            f"(now {run.config.model.embedding_dim}), model.neighbours ({run.config.model.neighbours}) or "
            f"train.batch_size ({run.config.train.interactions_per_step(len(data.user_T))}), or use a larger machine"
        )
    return total


def _has_searched(config: Config, trainer: Trainer[Micro]) -> bool:
    """Whether this training has found, to the end, all that is `auto`: others may then take it."""
    if trainer.adaptation.searches:
        return trainer.found_its_weights
    return config.model.taste_weight == "auto" and trainer.has_validation


def make_trainer(
    run: Run, dataset: Dataset, columns: Columns = WHOLE, found: FoundWeights = NOTHING_FOUND
) -> Trainer[Micro]:
    """The trainer of this run's configuration, checking on the validation interactions of `dataset`.

    `found` are an earlier training's weights, for those that are `auto`.

    Raises `ConfigError` for a configuration that does not fit the data.
    """
    try:
        data, config = dataset.training_data(), run.config
        held_out = EvaluationProtocol(dataset, config.split).held_out()
        return Trainer(
            data, held_out, config.model, config.train, Micro, freed_memory_kept, columns, found.training,
            searches_on=found.searches_on,
        )  # fmt: skip
    except ValueError as error:
        raise ConfigError(f"train: {error}") from error


def _fit(trainer: Trainer[Micro], history: list[EpochReport], checkpoints: UPath, task: Task) -> None:
    try:
        for report in trainer.fit():
            history.append(report)
            task.advance(note=_note(report, trainer))
            if report.validation is not None or report.epoch % trainer.config.check_every == 0:
                state = trainer.state()
                if trainer.columns.is_first:
                    save_checkpoint(checkpoints, state, history)
    except DivergedError as error:
        raise ConfigError(f"train: {error}, for a new run; {_last_good(checkpoints)}") from error


def _last_good(checkpoints: UPath) -> str:
    """Of a training that diverged: what is saved has been looked at, and is sound."""
    latest = latest_checkpoint(checkpoints)
    return f"the last good checkpoint is {latest}" if latest else "there is no checkpoint yet"


def _note(report: EpochReport, trainer: Trainer[Micro]) -> str:
    speed = f"{trainer.ranking_loss.num_batches(trainer.batch_size) / report.seconds:.0f} steps/s"
    best = (
        f"best {trainer.best_metric:.4f} at {trainer.best_epoch}"
        if trainer.best_epoch and report.metric is not None
        else ""
    )
    metric = f"recall@20 {report.metric:.4f}" if report.metric is not None else ""
    return " ".join(part for part in (f"loss {report.loss:.4f}", metric, best, speed) if part)
