"""The configuration that a run began with, beside today's."""

from pathlib import Path
from typing import Any

from pipeline.config.config import compose
from pipeline.errors import ConfigError, DamagedError

EXTENDABLE = ("tune.trials", "compare.seeds", "compare.models")
"""A run may continue with other values of these: more is then done, and finished work stays."""
PUBLICATION = ("checks", "export", "gate", "mlflow")
"""Sections that decide whether, where and how a run's release is published: today's values count."""


PLACE = "store.root"
"""A run is where its record is: a moved store has another root, and its runs go on."""


def is_frozen(key: str) -> bool:
    """Whether a run keeps the value of this key that it began with."""
    return key not in EXTENDABLE and key != PLACE and key.partition(".")[0] not in PUBLICATION


def with_defaults(recorded: Any, wanted: dict[str, Any], where: object) -> dict[str, Any]:
    """The recorded configuration with the default of every setting that is not frozen, or was added since.

    Raises `StoreError` that names `where` it stands, if it is not a configuration.
    """
    if not isinstance(recorded, dict):
        raise DamagedError(f"{where} is damaged: it holds no configuration; use a new run id")
    if recorded == wanted:
        return recorded
    try:
        frozen = {section: table for section, table in recorded.items() if section not in PUBLICATION}
        return compose(frozen, base=Path()).as_dict()
    except ConfigError:  # a setting that no longer exists: the record as it stands shows the difference
        return recorded


def differences(before: Any, now: Any, prefix: str = "") -> list[str]:
    """Say where two JSON documents differ in what a run keeps, one line a value."""
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            line
            for key in sorted({*before, *now})
            for line in differences(before.get(key), now.get(key), f"{prefix}{key}.")
        ]
    key = prefix.removesuffix(".")
    return [] if before == now or not is_frozen(key) else [f"{key}: {before!r} then, {now!r} now"]
