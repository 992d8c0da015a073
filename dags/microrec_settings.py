"""Section `[airflow]` of a configuration: what the DAGs read of it, at parse time, with the standard library alone.

pipeline/config/airflow.py checks the same keys for the command line; a test holds the two alike.
"""

import dataclasses
import tomllib
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_ON = ("both", "either")
QUEUES = ("default", "gpu")
KEPT = ("airflow", "base", "mlflow.tracking_uri")
"""What only the configuration file says."""
OWN = ("train.device", "catalogue.filter.user_share")
"""Settings of the parameters `device` and `sample`: a refused night hands them on to its approval."""


@dataclass(frozen=True, kw_only=True)
class AirflowSettings:
    """What a shop's DAGs may have of their own."""

    schedule: str = "0 2 * * *"
    """Cron, UTC."""
    start_on: str = "both"
    """A night starts when catalogue and interactions have both been updated, or `either` of the two."""
    shards: int = 2
    """Extraction tasks per modality."""
    encode_pool: str = "microrec_encode"
    gpu_pool: str = "microrec_gpu"
    champion_pool: str = "microrec_champion"
    image_queue: str | None = None
    """Queue of the image shards; None: the environment's `MICROREC_IMAGE_QUEUE`."""
    timeout_hours: float = 2.0
    """Of every task but training."""
    train_timeout_hours: float = 12.0
    deadline_hours: float | None = None
    """How much later than usual a night may end; None: the environment's `MICROREC_DEADLINE_HOURS`."""
    approval_days: float = 7.0
    """How long a refused night waits for an operator's approval."""
    overridable: tuple[str, ...] = ("catalogue.filter", "checks", "gate", "model", "train")
    """Sections and keys that a person who triggers a night may change for it. `mlflow.tracking_uri` is never one of
    them: the worker's credentials go there."""

    def __post_init__(self) -> None:
        if len(self.schedule.split()) != 5:
            raise ValueError(f"schedule is {self.schedule!r}; expected the five fields of cron, such as '0 2 * * *'")
        if self.start_on not in START_ON:
            raise ValueError(f"start_on is {self.start_on!r}; expected one of {', '.join(START_ON)}")
        if self.image_queue not in (None, *QUEUES):
            raise ValueError(f"image_queue is {self.image_queue!r}; expected one of {', '.join(QUEUES)}")
        if not 1 <= self.shards <= 256:
            raise ValueError(f"shards is {self.shards}; expected 1 to 256")
        for name in ("encode_pool", "gpu_pool", "champion_pool"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty; name a pool")
        for name in ("timeout_hours", "train_timeout_hours", "deadline_hours", "approval_days"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 10_000:
                raise ValueError(f"{name} is {value}; expected a number above 0")
        for entry in self.overridable:
            if not entry or any(is_within(kept, entry) or is_within(entry, kept) for kept in KEPT):
                raise ValueError(f"overridable has {entry!r}; name sections or keys, and none of {', '.join(KEPT)}")

    def overrides(self, key: str) -> bool:
        """Whether a night's parameters may change a setting."""
        return any(is_within(key, entry) for entry in (*self.overridable, *OWN))


def is_within(key: str, section: str) -> bool:
    """Whether a key is `section` itself or below it."""
    return f"{key}.".startswith(f"{section}.")


def read_settings(file: Path) -> AirflowSettings:
    """The section of a configuration file.

    Raises `ValueError` that names file, key and what is expected; `OSError` where the file cannot be read.
    """
    try:
        section = tomllib.loads(file.read_text(encoding="utf-8")).get("airflow", {})
        return settings_of(section)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def read_base(file: Path) -> Path:
    """The folder that relative locations of a configuration start at."""
    try:
        base = tomllib.loads(file.read_text(encoding="utf-8")).get("base", ".")
    except FileNotFoundError:
        base = "."
    return file.resolve().parent / Path(base).expanduser()


def settings_of(section: Any) -> AirflowSettings:
    """The section as a record; raises `ValueError` for an unknown key or a wrong value."""
    if not isinstance(section, dict):
        raise ValueError(f"airflow: expected a table, got {section!r}")
    kinds = typing.get_type_hints(AirflowSettings)
    for key, value in section.items():
        if key not in kinds:
            raise ValueError(f"unknown key 'airflow.{key}'; known are {', '.join(sorted(kinds))}")
        if not _fits(value, kinds[key]):
            raise ValueError(f"airflow.{key}: expected {kinds[key]}, got {value!r}")
    try:
        plain = {key: tuple(value) if isinstance(value, list) else value for key, value in section.items()}
        return dataclasses.replace(AirflowSettings(), **plain)
    except ValueError as error:
        raise ValueError(f"airflow: {error}") from error


def _fits(value: Any, kind: Any) -> bool:
    if isinstance(kind, types.UnionType):
        return any(_fits(value, one) for one in typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        return isinstance(value, list) and all(isinstance(one, str) for one in value)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is kind
