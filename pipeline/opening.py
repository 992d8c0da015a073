"""Opening a run. A run keeps its configuration, so contradictions between sections are refused before it begins."""

import re
from functools import reduce
from operator import getitem
from typing import Any

from features.errors import FeatureError
from features.registry import find_encoder
from pipeline.catalogue.precomputed import PRECOMPUTED
from pipeline.config.config import WARM_START_CHAMPION, WARM_START_NONE, Config
from pipeline.config.recorded import differences, with_defaults
from pipeline.config.search_space import Dimension, Range
from pipeline.errors import ConfigError, DamagedError, InputError, nearest
from pipeline.progress import Reporter
from pipeline.registry.connection import absolute_uri
from pipeline.registry.predecessor import PREDECESSOR
from pipeline.release.signature import read_public_keys, read_signing_key, require_own_key
from pipeline.run import Run
from pipeline.storage.files import as_json, create_bytes, list_files, parse_json
from pipeline.storage.layout import Store
from pipeline.storage.use import OPENED, REMOVING, enter

RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
SEARCHED = ("model", "train")
NOT_SEARCHED = ("train.device", "train.processes", "train.seed", "train.warm_start")
"""The same model, more or less luckily begun, or elsewhere; a trial always begins with random parameters."""


def open_run(config: Config, run_id: str, reporter: Reporter) -> Run:
    """Create the run or continue it; a run keeps the configuration it began with, but for what decides publication.

    Raises `InputError` for an id that is not a plain name, when the configuration has changed since, or
    for one that cannot do (`ConfigError`): a run that has not begun leaves its id free. `MicrorecError` where `gc` is
    removing the run.
    """
    if not RUN_ID.fullmatch(run_id):
        raise InputError(
            f"run id {run_id!r}: use letters, digits, '.', '_' and '-' only, beginning with a letter or digit"
        )
    run = Run.present(run_id, config, config.open_store(), reporter)
    if not run.record.exists():
        _require_fresh(run)
        check(config, run.store)
    enter(run.store, run_id, reporter)
    wanted = config.as_dict()
    recorded = with_defaults(parse_json(run.record, create_bytes(run.record, as_json(wanted))), wanted, run.record)
    changed = sorted(differences(recorded, wanted))
    if changed:
        raise InputError(f"run {run_id} was begun with another configuration ({'; '.join(changed)}); use a new run id")
    return run


def _require_fresh(run: Run) -> None:
    """Raise `DamagedError` if a run has begun but its configuration is gone."""
    folder = run.store.run(run.id)
    left = [name for name in list_files(folder) if name not in (PREDECESSOR, OPENED, REMOVING)]
    if left:
        raise DamagedError(
            f"{run.record} is missing although run {run.id} has begun ({left[0]} is there); restore it from a copy, "
            f"or delete {folder} to begin anew, or use a new run id"
        )


def free_id(run: Run) -> None:
    """Forget a run that has done nothing yet: a changed configuration may mend what it was refused for."""
    if run.generation == 1 and set(list_files(run.path)) <= {run.record.name, PREDECESSOR, OPENED}:
        (run.path / PREDECESSOR).unlink(missing_ok=True)
        (run.path / OPENED).unlink(missing_ok=True)
        run.record.unlink(missing_ok=True)


def check(config: Config, store: Store) -> None:
    """Raise `ConfigError` that names key, value and mend; what depends on the data is left to `validate`."""
    _check_modalities(config)
    absolute_uri(config.tracking_uri, config.base)
    check_space(config)
    _check_keys(config)
    wanted = config.train.warm_start
    if wanted not in (WARM_START_NONE, WARM_START_CHAMPION) and not store.run_record(wanted).exists():
        raise ConfigError(
            f"train.warm_start = {wanted!r}: there is no such run in {store.runs}; "
            f"name an earlier one, {WARM_START_CHAMPION!r} or {WARM_START_NONE!r}"
        )


def _check_keys(config: Config) -> None:
    """Report what is wrong with the keys before the training, not after it."""
    public = read_public_keys(config.public_keys)
    private = read_signing_key(config.signing_key) if config.signing_key else None
    if public and private:
        require_own_key(private, public)
    elif public:
        raise ConfigError(
            "export.public_keys is set and export.signing_key is not, so this run's release could not become "
            "champion; set the key, or name public_keys only in the configuration that signs and promotes"
        )


def _check_modalities(config: Config) -> None:
    chosen = config.model.modalities or ()
    for name in chosen:
        if name not in config.modalities:
            raise ConfigError(
                f"model.modalities names {name!r}, which has no section [modalities.{name}]; "
                f"{nearest(name, config.modalities)}"
            )
        if chosen.count(name) > 1:
            raise ConfigError(f"model.modalities names {name!r} twice; once is enough")
    for name, modality in config.modalities.items():
        _refuse_torch_name(name)
        if modality.encoder != PRECOMPUTED:
            try:
                find_encoder(name, modality)
            except FeatureError as error:
                raise ConfigError(str(error)) from error


def _refuse_torch_name(modality: str) -> None:
    from torch.nn import ModuleDict  # slow to import, and only a new run needs it

    if hasattr(ModuleDict(), modality):
        raise ConfigError(
            f"[modalities.{modality}]: {modality!r} is a name that PyTorch keeps for itself; choose another"
        )


def check_space(config: Config) -> None:
    """Raise `ConfigError` for keys that do not exist or change the data, and values the configuration would refuse."""
    space, document = config.tune.space, config.as_dict()
    for point in ends(space):
        config.with_values(point, origin="tune.space")
    for key in space:
        if key.split(".")[0] not in SEARCHED:
            raise ConfigError(
                f"tune.space: {key!r} cannot be searched: all trials share one data set; "
                "keys of [model] and [train] can"
            )
        if key in NOT_SEARCHED:
            raise ConfigError(f"tune.space: {key!r} is not a hyper-parameter; leave it out")
        if isinstance(reduce(getitem, key.split("."), document), dict):
            raise ConfigError(f"tune.space: {key!r} is a table; name its keys one by one")


def ends(space: dict[str, Dimension]) -> list[dict[str, Any]]:
    """Points that between them hold every choice, and of every range both bounds and a number in between."""
    values = {
        key: _some(dimension) if isinstance(dimension, Range) else list(dimension) for key, dimension in space.items()
    }
    return [
        {key: options[index % len(options)] for key, options in values.items()}
        for index in range(max(len(options) for options in values.values()))
    ]


def _some(numbers: Range) -> list[int | float]:
    """Both bounds, and a fraction in between where fractions are drawn: a key for whole numbers refuses it."""
    whole = isinstance(numbers.low, int) and isinstance(numbers.high, int)
    return [numbers.low, numbers.high, *([] if whole else [numbers.low + (numbers.high - numbers.low) * 0.3819])]
