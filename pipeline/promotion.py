"""The quality gate and the champion alias."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class GateConfig:
    """When a release may become champion."""

    metric: str = "recall@20"
    """Validation metric compared with the champion's."""
    max_regression: float = 0.02
    """Allowed loss relative to the champion: 0.02 lets 98 % of its value pass."""
