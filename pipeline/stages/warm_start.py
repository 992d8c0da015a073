"""Which earlier run a training begins from, and whether it may (`train.warm_start`; docs/decisions/0012-warm-start.md).

The champion is the one that stood when the run began (`registry.predecessor`). What was decided is written into the run
before the first epoch, so that a killed and resumed run begins at the same place. A champion that cannot be used does
not cost the night's release: training starts fresh and says why. A run that was named by hand and cannot be used
is an error.
"""

from typing import Any

import polars as pl
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from model.epoch import VALIDATION_METRIC
from model.micro import Micro
from model.training import Trainer
from model.warm_start import ITEMS, USERS, carry_over
from pipeline import stages
from pipeline.columns import ITEM_ID, USER_ID
from pipeline.config.config import WARM_START_CHAMPION, WARM_START_NONE
from pipeline.config.recorded import differences, with_defaults
from pipeline.dataset.alignment import HELD_OUT, TRAINED_ON, earlier_rows, pairs_by_id
from pipeline.dataset.dataset import Dataset, load_dataset
from pipeline.dataset.records import WarmStart
from pipeline.documents import as_document, as_record
from pipeline.errors import ConfigError, InputError, StoreError
from pipeline.registry.predecessor import predecessor
from pipeline.run import Run
from pipeline.stages.checkpoint import PARAMETERS
from pipeline.storage.files import as_json, create_bytes, file_sha256, parse_json, read_json, write_json

RECORD = "warm_start.json"
MOST_TRAINED_BEFORE = 0.01
"""Share of the held-out interactions that the earlier run, or one before it, may have been trained on: metrics flatter.

Stage `prepare` holds out nothing that the earlier run was trained on, so a night adds to the share only where the split
is another one, `time` or `given`. A night that adds nothing goes on whatever the share is.
"""

_DAMAGE = (
    FileNotFoundError,
    LookupError,
    TypeError,
    ValueError,
    StoreError,
    InputError,
    SafetensorError,
    pl.exceptions.PolarsError,
)
"""What reading raises if a run's files are missing, cut or overwritten; other faults of a store may pass."""


class _UnusableError(Exception):
    """Why an earlier run cannot be begun from."""


def recorded_start(run: Run) -> WarmStart | None:
    """What this run's training began from, None where that has not been decided or is nothing."""
    file = run.path / RECORD
    return as_record(WarmStart, read_json(file), file) if file.exists() else None


def meant_start(run: Run) -> WarmStart | None:
    """Which run `train.warm_start` means, before anything of that run is read; None for none.

    Raises `DamagedError` where the record of the run's predecessor is damaged.
    """
    wanted = run.config.train.warm_start
    if wanted == WARM_START_NONE:
        return None
    if wanted != WARM_START_CHAMPION:
        return WarmStart(run_id=wanted)
    before = predecessor(run.path, run.store)
    return WarmStart(run_id=before.run_id, reason=before.reason)


def trained_on(run_id: str, run: Run) -> pl.DataFrame | None:
    """Pairs (user_id, item_id) that an earlier run was trained on, as text.

    None where it was split by other rules than `run` is, or cannot be read: training says so, and starts fresh.
    """
    try:
        earlier, now = Run.present(run_id, run.config, run.store, run.reporter), run.config.as_dict()
        if with_defaults(read_json(earlier.record), now, earlier.record)["split"] != now["split"]:
            return None
        return pairs_by_id(load_dataset(earlier.folder(stages.PREPARE), with_features=False), TRAINED_ON)
    except _DAMAGE:
        return None


def start_warm(run: Run, trainer: Trainer[Micro], today: Dataset) -> WarmStart | None:
    """Put an earlier run's parameters into a trainer that has not begun; return the record of it, None for nothing.

    Raises `ConfigError` where `train.warm_start` names a run that cannot be used.
    """
    wanted = run.config.train.warm_start
    if wanted == WARM_START_NONE:
        return None
    record = trainer.columns.first(lambda: _decided(run))
    try:
        record = _start(run, record, trainer, today)
    except _UnusableError as error:
        if wanted != WARM_START_CHAMPION:
            raise ConfigError(f"train.warm_start = {wanted!r} cannot be used: {error}") from error
        if record.run_id is not None or record.reason is not None:  # else it is the first night
            run.reporter.say(f"train: starts fresh, not from the champion: {error}")
        record = WarmStart(run_id=None, reason=str(error))
    if trainer.columns.is_first:
        write_json(run.path / RECORD, as_document(record))
    return record


def _decided(run: Run) -> WarmStart:
    """Which run to begin from: what the first attempt at this run decided."""
    file = run.path / RECORD
    return as_record(WarmStart, parse_json(file, create_bytes(file, as_json(as_document(meant_start(run))))), file)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _start(run: Run, record: WarmStart, trainer: Trainer[Micro], today: Dataset) -> WarmStart:
    if record.run_id is None:
        raise _UnusableError(record.reason or "there is none yet")
    if trainer.adaptation.searches and not trainer.searches_on:
        raise _UnusableError("weights that are `auto` are to be found, which begins at random parameters")
    try:
        earlier = Run.present(record.run_id, run.config, run.store, run.reporter)
        _require_same_model(run, earlier, trainer.model.modality_names)
        then = load_dataset(earlier.folder(stages.PREPARE), with_features=False)
        with earlier.committed(stages.TRAIN).open(PARAMETERS) as file:
            parameters, sha256 = load_file(file), file_sha256(file)
    except _DAMAGE as error:
        raise _UnusableError(f"run {record.run_id} is damaged ({_told(error)})") from error
    _require_sound(earlier, parameters, trainer, {USERS: len(then.users), ITEMS: len(then.items)})
    tonight = trained_before(then, today)
    share = tonight + _trained_before_that(earlier)
    if tonight and share > MOST_TRAINED_BEFORE:
        raise _UnusableError(
            f"run {earlier.id} and those before it were trained on {share:.1%} of what run {run.id} holds out; at most "
            f"{MOST_TRAINED_BEFORE:.0%} is allowed; was [split] changed?"
        )
    user_U, item_I = earlier_rows(then, today)
    if run.config.model.backbone == "mf" and (user_U < 0).any():
        raise _UnusableError("a new user's vector would be random: with backbone 'mf' nothing but training moves it")
    metric = trainer.start_from(carry_over(trainer.model, trainer.own_columns(parameters), user_U, item_I))
    known_users, known_items = int((user_U >= 0).sum()), int((item_I >= 0).sum())
    run.reporter.say(
        f"train: starts from run {earlier.id}, which knows {known_users} of {len(user_U)} users and {known_items} of "
        f"{len(item_I)} items" + ("" if metric is None else f"; {VALIDATION_METRIC} {metric:.4f}")
    )
    return WarmStart(
        run_id=earlier.id,
        parameters_sha256=sha256,
        known_users=known_users,
        known_items=known_items,
        trained_before=share,
        metric=metric,
    )


def _trained_before_that(earlier: Run) -> float:
    """The same share of what the earlier run held out: it may have kept the parameters that it began with."""
    training = earlier.result(stages.TRAIN)
    return (training.warm_start.trained_before or 0.0) if training and training.warm_start else 0.0


def _require_sound(
    earlier: Run, parameters: dict[str, torch.Tensor], trainer: Trainer[Micro], rows: dict[str, int]
) -> None:
    """Exactly today's parameters are there, finite and of today's shapes, but for the earlier data's `rows`."""
    shapes = trainer.whole_shapes()
    odd = sorted(set(parameters) ^ set(shapes))
    if odd:
        raise _UnusableError(f"run {earlier.id} is damaged (it and today's model do not both have {', '.join(odd)})")
    for name, then in parameters.items():
        expected = (rows[name], *shapes[name][1:]) if name in rows else shapes[name]
        if then.shape != expected:
            raise _UnusableError(f"run {earlier.id} is damaged ({name} of {tuple(then.shape)}, not {expected})")
        if not then.isfinite().all():
            raise _UnusableError(f"run {earlier.id} is damaged (NaN or infinite values in {name})")


def _require_same_model(run: Run, earlier: Run, modalities: list[str]) -> None:
    """The configured model, the modalities in use and their encoders: where all agree, so do all parameters."""
    trained = earlier.result(stages.TRAIN)
    if trained is None:
        raise _UnusableError(f"there is no finished training in {earlier.path}")
    wanted = run.config.as_dict()
    different = differences(_identity(earlier, trained.modalities, wanted), _identity(run, modalities, wanted))
    if different:
        raise _UnusableError(f"run {earlier.id} has another model ({'; '.join(different)})")


def _identity(run: Run, modalities: list[str], wanted: dict[str, Any]) -> dict[str, Any]:
    model = with_defaults(read_json(run.record), wanted, run.record)["model"]
    encoders = run.require(stages.PREPARE).encoders
    keys = {name: encoders[name].key for name in modalities}
    return {"model": {**model, "modalities": modalities}, "encoders": keys}


def trained_before(earlier: Dataset, today: Dataset) -> float:
    """Share of today's held-out interactions that the earlier run was trained on."""
    held_out = pairs_by_id(today, HELD_OUT)
    seen = held_out.join(pairs_by_id(earlier, TRAINED_ON), on=[USER_ID, ITEM_ID], how="semi")
    return len(seen) / max(1, len(held_out))
