"""Which models are compared, and how often."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """What `microrec compare` does; everything else is as in `run`."""

    models: tuple[str, ...] = ()
    """Rows of the table, by name; empty: all."""
    seeds: int = 3
    """Number of seeds. Each is another split and another start: `split.seed` and `train.seed` plus 0, 1, …

    The splits `given` and `time` stay the same.
    """

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ValueError(f"seeds must be at least 1, got {self.seeds}")
