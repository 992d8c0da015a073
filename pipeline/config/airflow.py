"""Section `[airflow]`: what the DAGs read of a configuration. No command uses it; all of them check it.

dags/microrec_settings.py has the same keys, because Airflow's environment cannot import this module; a test keeps the
two alike.
"""

from dataclasses import dataclass
from typing import Literal

KEPT = ("airflow", "base", "mlflow.tracking_uri")
"""What only the configuration file says."""


@dataclass(frozen=True, kw_only=True)
class AirflowConfig:
    """What a shop's DAGs may have of their own."""

    schedule: str = "0 2 * * *"
    """When a night begins: cron, in UTC."""
    start_on: Literal["both", "either"] = "both"
    """A night also begins when catalogue and interactions have `both` been updated, or `either` of them."""
    shards: int = 2
    """Extraction tasks per modality."""
    encode_pool: str = "microrec_encode"
    """Pool of extraction."""
    gpu_pool: str = "microrec_gpu"
    """Pool of training, and of image shards on the queue `gpu`."""
    champion_pool: str = "microrec_champion"
    """Pool of every task that moves the champion."""
    image_queue: Literal["default", "gpu"] | None = None
    """Queue of the image shards: `default` or `gpu`. Unset: the environment's `MICROREC_IMAGE_QUEUE`."""
    timeout_hours: float = 2.0
    """Time limit of every task but training."""
    train_timeout_hours: float = 12.0
    """Time limit of training."""
    deadline_hours: float | None = None
    """How many hours more than usual a night may take. Unset: the environment's `MICROREC_DEADLINE_HOURS`."""
    approval_days: float = 7.0
    """How many days a refused night waits for an approval."""
    overridable: tuple[str, ...] = ("catalogue.filter", "checks", "gate", "model", "train")
    """Sections and keys that the DAG's parameter `set` may change. The DAG processor and the workers read it. It can
    never name `mlflow.tracking_uri` or `airflow` (docs/explanation/security.md#boundaries)."""

    def __post_init__(self) -> None:
        if len(self.schedule.split()) != 5:
            raise ValueError(f"schedule is {self.schedule!r}; expected the five fields of cron, such as '0 2 * * *'")
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


def is_within(key: str, section: str) -> bool:
    """Whether a key is `section` itself or below it."""
    return f"{key}.".startswith(f"{section}.")
