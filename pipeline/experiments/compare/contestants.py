"""What is compared: baselines, the model, its ablations.

A contestant may have settings to choose from; the choice falls on validation, for every seed on its own.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

from model.baselines.chance import chance
from model.baselines.ease import ease
from model.baselines.neighbours import content_knn, item_knn
from model.baselines.popularity import popularity
from model.baselines.vbpr import Vbpr
from model.data import TrainingData
from model.evaluation import Scorer
from model.micro import Micro
from model.trainable import ModelType, Trainable
from pipeline.errors import ConfigError, nearest
from pipeline.experiments.compare.implicit_models import als, bpr

if TYPE_CHECKING:
    from pipeline.config.config import Config

Settings = Mapping[str, Any]
Group = Literal["baseline", "model", "ablation"]

PAPER: Settings = {
    "model.backbone": "lightgcn",
    "model.normalisation": "row",
    "model.embedding_dim": 64,
    "model.neighbours": 10,
    "model.initial_graph_weight": 0.9,
    "model.content_weight": 1.0,
    "model.absent": "mean",
    "model.fusion": "attention",
    "model.item_graph_layers": 1,
    "model.backbone_layers": 2,
    "model.new_items": "graphs",
    "train.max_epochs": 1000,
    "train.batch_size": 1024,
    "train.learning_rate": 5e-4,
    "train.learning_rate_decay": 0.96,
    "train.learning_rate_decay_epochs": 50,
    "train.structure_gradient": "epoch",
    "train.check_every": 5,
    "train.patience": 10,
    "train.objective.ranking": "bpr",
    "train.objective.l2": 1e-5,
    "train.objective.l2_exponent": 1.0,
    "train.objective.contrastive_weight": 0.03,
    "train.objective.temperature": 0.5,
    "train.objective.contrastive": "exact",
}
"""The authors' settings (arXiv:2111.00678); `configs/paper.toml` holds the same."""

# A ranking loss has settings of its own: those of a configuration are chosen for the loss that it names. How far
# choices must reach was seen on validation (docs/results.md): L2 above all, whose best is narrow and far up.
_BPR: Settings = {
    "model.content_weight": 1.0,
    "train.batch_size": "auto",
    "train.learning_rate": 1e-2,
    "train.objective.ranking": "bpr",
    "train.objective.l2_exponent": 1.0,
    "train.objective.contrastive_weight": 0.03,
    "train.check_every": 5,
    "train.patience": 5,
}
_BPR_CHOICES: tuple[Settings, ...] = tuple({"train.objective.l2": l2} for l2 in (1e-3, 1e-2, 3e-2, 0.1))
_SOFTMAX: Settings = {
    "model.content_weight": 1.0,
    "train.batch_size": "auto",
    "train.learning_rate": 5e-3,
    "train.objective.ranking": "softmax",
    "train.objective.contrastive_weight": 0.03,
}
_SOFTMAX_CHOICES: tuple[Settings, ...] = tuple(
    {"train.objective.l2": l2, "train.objective.l2_exponent": exponent}
    for l2, exponent in ((0.05, 1.0), (0.4, 1.0), (0.4, 0.5), (1.0, 0.5), (1.4, 0.5), (2.0, 0.5), (2.8, 0.5))
)
_SQUARES: Settings = {
    "model.content_weight": 0.4,
    "train.batch_size": "auto",
    "train.learning_rate": 1e-2,
    "train.objective.ranking": "squares",
    "train.objective.unobserved_weight": 10.0,
    "train.objective.l2_exponent": 0.5,
    "train.objective.contrastive_weight": 0.003,
}
_SQUARES_CHOICES: tuple[Settings, ...] = tuple({"train.objective.l2": l2} for l2 in (1.2, 1.7, 2.3, 3.0, 4.0))


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
    """Further arguments of `fit`, or further changes of the configuration."""
    is_embedding: bool = False
    """Whether it gives one vector per user and item, so that an inner product is the score."""
    model: ModelType[Trainable] = Micro
    """What is trained."""

    def definition(self) -> dict[str, Any]:
        """Its settings and the choices among them, as plain JSON: figures of others are not its own."""
        definition: dict[str, Any] = json.loads(json.dumps({"settings": self.settings, "choices": self.choices}))
        return definition


def contestants(modalities: list[str], embedding_dim: int) -> dict[str, Contestant]:
    """All of them by name, in the order of the table; `modalities` are those that the run's model uses."""
    rows = [*_computed(modalities, embedding_dim), *_trained_baselines(modalities), *_ours(modalities)]
    return {row.name: row for row in rows}


def choose_contestants(config: "Config") -> list[Contestant]:
    """Those that `compare.models` names, in its order; all where it names none.

    Raises `ConfigError` for a name that none has.
    """
    used = config.model.modalities
    modalities = list(config.modalities if used is None else used)
    known = contestants(modalities, config.model.embedding_dim)
    for name in config.compare.models:
        if name not in known:
            raise ConfigError(f"compare.models: there is no {name!r}; {nearest(name, known)}")
    return [known[name] for name in dict.fromkeys(config.compare.models)] or list(known.values())


def _computed(modalities: list[str], embedding_dim: int) -> list[Contestant]:
    def neighbours(*counts: int) -> tuple[Settings, ...]:
        return tuple({"num_neighbours": count} for count in counts)

    return [
        Contestant(name="chance", group="baseline", fit=chance),
        Contestant(name="popularity", group="baseline", fit=_without_seed(popularity)),
        Contestant(
            name="item-knn",
            group="baseline",
            fit=_without_seed(item_knn),
            choices=neighbours(20, 50, 100, 200, 500, 1000, 2000),
        ),
        *(
            Contestant(
                name=f"content-knn-{name}",
                group="baseline",
                fit=_without_seed(content_knn, modality=name),
                choices=neighbours(10, 20, 50, 200, 500),
            )
            for name in modalities
        ),
        Contestant(
            name="ease",
            group="baseline",
            fit=_without_seed(ease),
            choices=tuple({"l2": l2} for l2 in (30.0, 100.0, 300.0, 1000.0, 3000.0)),
        ),
        Contestant(
            name="als",
            group="baseline",
            fit=als,
            is_embedding=True,
            choices=tuple(
                {"factors": embedding_dim, "alpha": alpha, "regularization": alpha * ratio}
                for alpha, ratio in product((5.0, 10.0, 20.0, 40.0, 80.0, 160.0), (2.0, 3.0, 4.0, 5.0, 7.0, 10.0))
            ),
        ),
        Contestant(
            name="bpr",
            group="baseline",
            fit=bpr,
            is_embedding=True,
            choices=tuple(
                {"factors": embedding_dim, "learning_rate": rate, "regularization": weight, "iterations": iterations}
                for rate, weight, iterations in product((0.003, 0.01), (0.003, 0.01), (100, 300))
            ),
        ),
    ]


def _without_seed(fit: Callable[..., Scorer], **fixed: Any) -> Callable[..., Scorer]:
    def fitted(data: TrainingData, seed: int, **settings: Any) -> Scorer:
        return fit(data, **fixed, **settings)

    return fitted


def _trained_baselines(modalities: list[str]) -> list[Contestant]:
    def trained(name: str, settings: Settings, **options: Any) -> Contestant:
        return Contestant(
            name=name,
            group="baseline",
            settings={**_BPR, "train.objective.contrastive_weight": 0.0, **settings},
            choices=_BPR_CHOICES,
            is_embedding=True,
            **options,
        )

    return [
        *(
            trained(name, {"model.backbone": backbone, "model.modalities": ()})
            for name, backbone in (("mf-bpr", "mf"), ("lightgcn", "lightgcn"), ("ngcf", "ngcf"))
        ),
        *(
            Contestant(
                name=f"{name}-{ranking}",
                group="baseline",
                settings={"model.backbone": name, "model.modalities": (), **settings},
                choices=choices,
                is_embedding=True,
            )
            for ranking, settings, choices in (
                ("softmax", _SOFTMAX, _SOFTMAX_CHOICES),
                ("squares", _SQUARES, _SQUARES_CHOICES),
            )
            for name in ("mf", "lightgcn")
        ),
        *([trained("vbpr", {}, model=Vbpr), trained("lattice", {"model.fusion": "graph"})] if modalities else []),
        Contestant(name="micro-paper", group="baseline", settings=PAPER, is_embedding=True),
        Contestant(
            name="micro-paper-sampled",
            group="baseline",
            settings={**PAPER, "train.objective.contrastive": "sampled"},
            is_embedding=True,
        ),
    ]


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
            "new-items-graphs": {"model.new_items": "graphs"},
            "absent-mean": {"model.absent": "mean"},
            "fusion-mean": {"model.fusion": "mean"},
            "fusion-concat": {"model.fusion": "concat"},
            "structure-step": {"train.structure_gradient": "step"},
        }
    losses = (
        ("bpr", _BPR, _BPR_CHOICES),
        ("softmax", _SOFTMAX, _SOFTMAX_CHOICES),
        ("squares", _SQUARES, _SQUARES_CHOICES),
    )
    model = Contestant(name="micro", group="model", settings={}, is_embedding=True)
    ablations = [
        Contestant(name=f"micro, {name}", group="ablation", settings=settings, is_embedding=True)
        for name, settings in changes.items()
    ]
    with_losses = [
        Contestant(
            name=f"micro, ranking-{name}", group="ablation", settings=settings, choices=choices, is_embedding=True
        )
        for name, settings, choices in losses
    ]
    return [model, *ablations, *with_losses]
