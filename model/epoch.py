"""What training says of an epoch; torch is not imported, so that a training's history is read without it."""

from dataclasses import dataclass

VALIDATION_METRIC = "recall@20"
"""The metric that early stopping looks at."""


@dataclass(frozen=True, kw_only=True)
class EpochReport:
    """What one epoch came to."""

    epoch: int
    """From 1."""
    loss: float
    """Mean over the steps of the whole objective: `ranking`, and weighted L2 and `contrastive`."""
    ranking: float
    """Of the ranking loss alone."""
    contrastive: float
    """Of the contrastive term, unweighted."""
    learning_rate: float
    seconds: float
    """Of training, without the check."""
    validation: dict[str, float] | None
    """Metrics, on epochs that end in a check."""
    is_best: bool

    @property
    def metric(self) -> float | None:
        """The value that early stopping looks at."""
        return None if self.validation is None else self.validation[VALIDATION_METRIC]
