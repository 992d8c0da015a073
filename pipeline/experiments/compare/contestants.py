"""What is compared: baselines, the model, its ablations.

A contestant may have settings to choose from; the choice falls on validation, for every seed on its own.
"""

from typing import TYPE_CHECKING

from pipeline.errors import ConfigError, nearest
from pipeline.experiments.compare.computed import computed
from pipeline.experiments.compare.contestant import Contestant, Settings
from pipeline.experiments.compare.trained import LOSSES, trained_baselines

if TYPE_CHECKING:
    from pipeline.config.config import Config


def contestants(modalities: list[str], embedding_dim: int) -> dict[str, Contestant]:
    """All of them by name, in the order of the table; `modalities` are those that the run's model uses."""
    rows = [*computed(modalities, embedding_dim), *trained_baselines(modalities), *_ours(modalities)]
    return {row.name: row for row in rows}


def choose_contestants(config: "Config") -> list[Contestant]:
    """Those that `compare.models` names, in its order; all where it names none.

    Raises `ConfigError` for a name that none has.
    """
    modalities = config.model.modalities_of(config.modalities)
    known = contestants(modalities, config.model.embedding_dim)
    for name in config.compare.models:
        if name not in known:
            raise ConfigError(f"compare.models: there is no {name!r}; {nearest(name, known)}")
    return [known[name] for name in dict.fromkeys(config.compare.models)] or list(known.values())


def _ours(modalities: list[str]) -> list[Contestant]:
    changes: dict[str, Settings] = {
        "backbone-mf": {"model.backbone": "mf"},
        "backbone-ngcf": {"model.backbone": "ngcf"},
        "normalisation-row": {"model.normalisation": "row"},
    }
    if len(modalities) > 1:
        changes |= {f"only-{name}": {"model.modalities": (name,)} for name in modalities}
    if modalities:
        changes |= {
            "no-contrast": {"train.objective.contrastive_weight": 0.0},
            "contrast-exact": {"train.objective.contrastive": "exact"},
            "initial-graph": {"model.initial_graph_weight": 1.0},
            "learned-graph": {"model.initial_graph_weight": 0.0},
            "no-taste": {"model.taste_weight": 0.0},
            "new-items-map": {"model.new_items": "map"},
            "new-items-graphs": {"model.new_items": "graphs"},
            "absent-mean": {"model.absent": "mean"},
            "fusion-mean": {"model.fusion": "mean"},
            "fusion-concat": {"model.fusion": "concat"},
            "structure-step": {"train.structure_gradient": "step"},
        }
    model = Contestant(name="micro", group="model", settings={}, is_embedding=True)
    ablations = [
        Contestant(name=f"micro, {name}", group="ablation", settings=settings, is_embedding=True)
        for name, settings in changes.items()
    ]
    with_losses = [
        Contestant(
            name=f"micro, ranking-{name}",
            group="ablation",
            settings=settings,
            choices=choices,
            steps=steps,
            is_embedding=True,
        )
        for name, (settings, choices, steps) in LOSSES.items()
    ]
    return [model, *ablations, *with_losses]
