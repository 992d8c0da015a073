"""What a configuration alone can get wrong between its sections: said before a run begins, for a run keeps its own."""

from torch.nn import ModuleDict

from features.errors import FeatureError
from features.registry import find_encoder
from pipeline.compare.contestants import choose_contestants
from pipeline.config import Config
from pipeline.errors import ConfigError, nearest
from pipeline.precomputed import PRECOMPUTED
from pipeline.search_space import check_space
from pipeline.storage import Store
from pipeline.tracking_connection import absolute_uri
from pipeline.warm_start import CHAMPION, NONE


def check(config: Config, store: Store) -> None:
    """Raise `ConfigError` that names key, value and mend; what depends on the data is left to `validate`."""
    _check_modalities(config)
    absolute_uri(config.tracking_uri, config.base)
    choose_contestants(config)
    check_space(config)
    wanted = config.train.warm_start
    if wanted not in (NONE, CHAMPION) and not (store.run(wanted) / "config.json").exists():
        raise ConfigError(
            f"train.warm_start = {wanted!r}: there is no such run in {store.runs}; "
            f"name an earlier one, {CHAMPION!r} or {NONE!r}"
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
        if hasattr(ModuleDict(), name):
            raise ConfigError(f"[modalities.{name}]: {name!r} is a name that PyTorch keeps for itself; choose another")
        if modality.encoder != PRECOMPUTED:
            try:
                find_encoder(name, modality)
            except FeatureError as error:
                raise ConfigError(str(error)) from error
