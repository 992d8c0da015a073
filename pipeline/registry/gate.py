"""The quality gate: whether a release may follow the champion, by one metric on validation, never on test."""

import math
import re
from dataclasses import dataclass

from pipeline.dataset.records import Evaluation
from pipeline.errors import GateRefusedError, InputError

NO_GATE = "none"
METRIC = re.compile(r"(recall|precision|ndcg|hit|map|coverage)@(10|20)")


@dataclass(frozen=True, kw_only=True)
class GateConfig:
    """When a release may become champion."""

    metric: str = "recall@20"
    """Validation metric compared with the champion's; "none" switches the gate off."""
    max_regression: float = 0.02
    """Allowed loss relative to the champion: 0.02 lets 98 % of its value pass."""

    def __post_init__(self) -> None:
        if self.metric != NO_GATE and not METRIC.fullmatch(self.metric):
            raise ValueError(f"gate.metric is {self.metric!r}; it is 'none', or a metric such as 'recall@20'")
        if not 0 <= self.max_regression <= 1:
            raise ValueError(f"gate.max_regression is {self.max_regression}; it is a share between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a run came to."""

    run_id: str
    metrics: Evaluation

    def value(self, metric: str) -> float | None:
        """The metric on validation, or None where nothing was held out.

        Raises `InputError` for a name that is no metric.
        """
        measured = self.metrics.validation
        if not measured:
            return None
        if metric not in measured:
            raise InputError(f"gate.metric is {metric!r}; release {self.run_id} has {', '.join(sorted(measured))}")
        return measured[metric]

    def comparable(self, metric: str) -> float:
        """The same; raises `GateRefusedError` where there is no finite value."""
        value = self.value(metric)
        if value is None or not math.isfinite(value):
            raise GateRefusedError(
                f"release {self.run_id} has no validation {metric}, so it cannot be compared; "
                'hold out a validation part, or switch the gate off with gate.metric = "none"'
            )
        return value


def pass_gate(gate: GateConfig, candidate: Measured, champion: Measured) -> str:
    """Say how the candidate passes.

    Raises `GateRefusedError` where it does not.
    """
    value, before = candidate.comparable(gate.metric), champion.comparable(gate.metric)
    floor = before * (1 - gate.max_regression)
    if value < floor:
        raise GateRefusedError(
            f"release {candidate.run_id} has validation {gate.metric} {value:.4f}, the champion {champion.run_id} has "
            f"{before:.4f}; at least {floor:.4f} is needed (gate.max_regression = {gate.max_regression})"
        )
    return f"gate: validation {gate.metric} {value:.4f}, champion {before:.4f}, floor {floor:.4f}: passed"
