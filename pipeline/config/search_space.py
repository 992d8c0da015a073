"""What `tune` searches: its section of the configuration, the built-in space, and the space as Optuna spells it."""

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


@dataclass(frozen=True, kw_only=True)
class Range:
    """Numbers from `low` to `high`, both included; whole numbers where both are."""

    low: int | float
    high: int | float
    log: bool = False
    """Draw evenly over the logarithm."""

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"low must be positive where log is true, got {self.low}")


Dimension = Range | tuple[Any, ...]
"""A range, or the values to choose from."""


def _default_space() -> dict[str, Dimension]:
    return {
        "train.learning_rate": Range(low=1e-3, high=5e-2, log=True),
        "train.objective.l2": Range(low=0.3, high=5.0, log=True),
        "train.objective.unobserved_weight": Range(low=2.0, high=50.0, log=True),
        "train.objective.contrastive_weight": Range(low=1e-4, high=0.1, log=True),
        "train.objective.temperature": Range(low=0.1, high=1.0, log=True),
        "model.content_weight": Range(low=0.05, high=1.0, log=True),
        "model.neighbours": Range(low=4, high=40, log=True),
        "model.initial_graph_weight": Range(low=0.0, high=1.0),
        "model.backbone_layers": Range(low=1, high=4),
    }


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """The search of the command `tune`."""

    trials: int = 50
    """Trainings in all. A higher number continues a finished study."""
    seed: int = 0
    """Seed of the draws; every trial trains with `train.seed`."""
    metric: Literal["recall@10", "recall@20", "ndcg@10", "ndcg@20"] = "recall@20"
    """Metric to maximise, on validation, at the epoch that training keeps: `recall@10`, `recall@20`, `ndcg@10` or
    `ndcg@20`."""
    startup_trials: int = 10
    """Trials that are drawn at random before the sampler learns, and finished before any is pruned."""
    warmup_epochs: int = 20
    """Epochs before a trial may be pruned."""
    space: dict[str, Dimension] = field(default_factory=_default_space)
    """Configuration key to a range or to a list of values; keys of `[model]` and `[train]` but
    seed, device, processes and warm start."""

    def __post_init__(self) -> None:
        for name, least in (("trials", 1), ("seed", 0), ("startup_trials", 1), ("warmup_epochs", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        empty = [key for key, dimension in self.space.items() if dimension == ()]
        if empty or not self.space:
            raise ValueError(f"space has nothing to choose from{f' for {empty[0]!r}' if empty else ''}; name values")


def distributions(space: dict[str, Dimension]) -> dict[str, "BaseDistribution"]:
    """The space as Optuna knows it. A choice is passed as JSON, because it may be a list."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    def distribution(dimension: Dimension) -> "BaseDistribution":
        if not isinstance(dimension, Range):
            return CategoricalDistribution([json.dumps(choice) for choice in dimension])
        if isinstance(dimension.low, int) and isinstance(dimension.high, int):
            return IntDistribution(dimension.low, dimension.high, log=dimension.log)
        return FloatDistribution(dimension.low, dimension.high, log=dimension.log)

    return {key: distribution(dimension) for key, dimension in space.items()}


def encode(space: dict[str, Dimension], values: dict[str, Any]) -> dict[str, Any]:
    """Configuration values as Optuna's parameters."""
    return {key: value if isinstance(space[key], Range) else json.dumps(value) for key, value in values.items()}


def decode(space: dict[str, Dimension], parameters: dict[str, Any]) -> dict[str, Any]:
    """Optuna's parameters as configuration values."""
    return {key: value if isinstance(space[key], Range) else json.loads(value) for key, value in parameters.items()}


def within(space: dict[str, Dimension], values: dict[str, Any]) -> dict[str, Any]:
    """Those of the configuration's own values that the space reaches."""

    def reached(dimension: Dimension, value: Any) -> bool:
        if isinstance(dimension, Range):
            return isinstance(value, int | float) and dimension.low <= value <= dimension.high
        return value in dimension

    return {key: values[key] for key in space if reached(space[key], values[key])}
