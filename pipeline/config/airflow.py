"""Section `[airflow]`: what the DAGs read of a configuration. No command uses it; all of them check it.

dags/microrec_settings.py has the same keys, since Airflow's environment cannot import this one; a test holds the two
alike.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class AirflowConfig:
    """What a shop's DAGs may have of their own."""

    schedule: str = "0 2 * * *"
    """Cron, UTC."""
    start_on: Literal["both", "either"] = "both"
    """A night starts when catalogue and interactions have both been updated, or `either` of the two."""
    shards: int = 2
    """Extraction tasks per modality."""
    encode_pool: str = "microrec_encode"
    gpu_pool: str = "microrec_gpu"
    champion_pool: str = "microrec_champion"
    image_queue: Literal["default", "gpu"] | None = None
    """Queue of the image shards; None: the environment's `MICROREC_IMAGE_QUEUE`."""
    timeout_hours: float = 2.0
    """Of every task but training."""
    train_timeout_hours: float = 12.0
    deadline_hours: float | None = None
    """How much later than usual a night may end; None: the environment's `MICROREC_DEADLINE_HOURS`."""
    approval_days: float = 7.0
    """How long a refused night waits for an operator's approval."""

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
