"""One row of the comparison: what is fitted, with which settings, and which of them are chosen on validation."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from model.data import TrainingData
from model.evaluation import Scorer
from model.micro import Micro
from model.trainable import ModelType, Trainable
from pipeline.experiments.compare.cost import Cost, nothing

Settings = Mapping[str, Any]
Group = Literal["baseline", "model", "ablation"]

OWN = "own."
"""Prefix of settings that are arguments of the trained model, not of the run's configuration."""
LOOKED_UP, NEIGHBOURS, FACTORS, SOLVED, TRAINED = range(5)
"""Efforts. Rows are measured in this order, so that a comparison has something to show early."""


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """One row of the table."""

    name: str
    group: Group
    fit: Callable[..., Scorer] | None = None
    """From training data, the seed and the settings, for models that are computed; None: trained with `settings`."""
    settings: Settings | None = None
    """Changes to the run's configuration, for models that are trained."""
    choices: tuple[Settings, ...] = ({},)
    """Further arguments of `fit`, or further changes of the configuration or arguments of the model (`OWN`)."""
    steps: Mapping[str, float] = field(default_factory=dict)
    """Numbers among the choices that are searched further, and the factor within which the best must have been tried
    on both sides (`pipeline.experiments.compare.search`)."""
    is_embedding: bool = False
    """Whether it gives one vector per user and item, so that an inner product is the score."""
    model: ModelType[Trainable] = Micro
    """What is trained."""
    effort: int = TRAINED
    cost: Callable[[TrainingData], Cost] = nothing
    """Cost of one choice of a model that is computed."""

    def definition(self) -> dict[str, Any]:
        """Its settings and choices, as plain JSON. Figures measured with other ones are not its own."""
        parts = {"settings": self.settings, "choices": self.choices}
        definition: dict[str, Any] = json.loads(json.dumps(parts | ({"steps": self.steps} if self.steps else {})))
        return definition


def folder_name(row: Contestant) -> str:
    """Its name as part of a path."""
    return row.name.replace(", ", "-")
