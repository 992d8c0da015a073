"""placeholder"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Optimisation (method.md, section 5)."""

    device: str = "auto"
    seed: int = 0
    max_epochs: int = 1000
