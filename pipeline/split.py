"""Splitting interactions into training, validation and test."""

from dataclasses import dataclass
from typing import Literal

Strategy = Literal["random", "time", "cold-items", "given", "none"]


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """How held-out interactions are chosen (method.md, section 6)."""

    strategy: Strategy = "random"
    """`random` per user, `time` one global cut, `cold-items` whole items, `given` a column, `none`."""
    validation: float = 0.1
    """Share of the interactions (of the items, for `cold-items`) held out for validation."""
    test: float = 0.1
    """The same for test."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("validation", "test"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, got {getattr(self, name)}")
        if self.validation + self.test >= 1:
            raise ValueError(f"validation + test must stay below 1, got {self.validation + self.test}")
