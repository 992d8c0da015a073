"""The settings of model and training; torch is not imported, so that reading a configuration costs no second.

Names in the `Literal`s are the keys of the registries that build what they name: `model.backbones.BACKBONES`,
`model.ranking.RANKING_LOSSES`, `model.fusion.FUSIONS`.
"""

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

BackboneName = Literal["lightgcn", "mf", "ngcf"]
RankingName = Literal["squares", "softmax", "bpr"]
FusionName = Literal["attention", "mean", "sum", "concat", "graph"]
GraphMethod = Literal["auto", "exact", "faiss"]
Normalisation = Literal["symmetric", "row"]
StructureGradient = Literal["epoch", "step"]

Auto = Literal["auto"]

BACKBONE_NAMES: tuple[BackboneName, ...] = get_args(BackboneName)
STEPS_PER_EPOCH = 14
SMALLEST_BATCH = 4096


def backbone_name(name: str) -> BackboneName:
    """The name itself, which is a backbone's.

    Raises `ValueError` for a name that none has, with the nearest.
    """
    for known in BACKBONE_NAMES:
        if name == known:
            return known
    near = difflib.get_close_matches(name, BACKBONE_NAMES, n=1)
    nearest = f"; the nearest is {near[0]!r}" if near else ""
    raise ValueError(f"backbone {name!r} is unknown; use one of {', '.join(sorted(BACKBONE_NAMES))}{nearest}")


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Numbers for the settings that training can find itself (`model.adaptation`)."""

    l2: float
    content_weight: float
    contrastive_weight: float


STARTING_WEIGHTS: dict[RankingName, Weights] = {
    "squares": Weights(l2=2.3, content_weight=0.4, contrastive_weight=0.003),
    "softmax": Weights(l2=1.4, content_weight=1.0, contrastive_weight=0.03),
    "bpr": Weights(l2=0.02, content_weight=1.0, contrastive_weight=0.03),
}
"""What did well on several data sets; docs/decisions/0018-squares.md has the measurement."""


def _require_weights(**values: float | str) -> None:
    for name, value in values.items():
        if value != "auto" and (isinstance(value, bool | str) or not 0 <= value < math.inf):
            raise ValueError(f"{name} must be 'auto' or a finite number of at least 0, got {value!r}")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Shape of the model."""

    backbone: str = "lightgcn"
    """`mf`, `ngcf` or `lightgcn`; docs/how-to/develop.md says how to add one."""
    embedding_dim: int = 64
    """Dimension of every exported vector."""
    neighbours: int = 10
    """Neighbours of an item in the item graphs; the item itself counts as one."""
    modalities: tuple[str, ...] | None = None
    """Which of the configured modalities to use. Unset: all. `[]`: none, the plain backbone."""
    initial_graph_weight: float = 0.9
    """Weight of the initial item graph: 1 is the initial graph alone, 0 the learned one alone (lambda in the paper)."""
    content_weight: float | Auto = "auto"
    """Length of the content's part of an item's vector. `auto`: found in training. The paper has 1."""
    absent: Literal["left-out", "mean"] = "left-out"
    """What replaces a modality that an item lacks, in graph, attention and contrast. `left-out`: nothing. `mean`: the
    mean of the other items, as in the authors' code."""
    fusion: FusionName = "attention"
    """How an item's modalities are joined: `attention`, `mean`, `sum`, `concat`, or `graph`, which mixes the item
    graphs (LATTICE). `sum` is the same model as `mean`, because only the direction counts."""
    item_graph_layers: int = 1
    """Convolutions over the item graphs."""
    graph: GraphMethod = "auto"
    """How neighbours are found: `exact`, `faiss` (approximate; its recall is in the run's result), or `auto`: faiss on
    a CPU from 60,000 items on."""
    backbone_layers: int = 2
    """Convolutions of LightGCN and NGCF over the user-item graph."""
    normalisation: Normalisation = "symmetric"
    """Normalisation of the user-item graph; `row` adds self-loops first, as the authors' code does."""
    taste_weight: float | Auto = "auto"
    """Weight of a user's taste in content, for each modality, in mean scores of the trained model. `auto`: chosen on
    validation. 0: none, as in the paper (docs/decisions/0031-taste.md)."""
    new_items: Literal["raised", "map", "graphs"] = "raised"
    """Vector of an item without interactions (docs/decisions/0015-new-items.md). `map`: a linear map of its content,
    fitted to the vectors of the other items. `raised`: the same, scaled so that new items stand in the lists as often
    as their content deserves. `graphs`, as in the paper: what the item graphs bring, added to its own untrained ID
    embedding, which `embed` leaves out."""

    def __post_init__(self) -> None:
        backbone_name(self.backbone)
        for name in ("embedding_dim", "neighbours", "item_graph_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.backbone_layers < 0:
            raise ValueError(f"backbone_layers must not be negative, got {self.backbone_layers}")
        _require_weights(content_weight=self.content_weight, taste_weight=self.taste_weight)
        if self.content_weight == 0 and self.new_items == "graphs":
            raise ValueError("with content_weight = 0, new_items = 'graphs' gives no vector; set new_items = 'map'")
        if not 0 <= self.initial_graph_weight <= 1:
            raise ValueError(f"initial_graph_weight must lie in [0, 1], got {self.initial_graph_weight}")

    def modalities_of(self, available: Iterable[str]) -> list[str]:
        """Names of the modalities to use, where these are there: those configured, else all, sorted."""
        return sorted(available) if self.modalities is None else list(self.modalities)

    @property
    def wants_finishing(self) -> bool:
        """Whether `model.finishing` has anything to do: not with the paper's settings."""
        return self.taste_weight != 0 or self.new_items == "raised"


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """Weights of the objective's terms."""

    ranking: RankingName = "squares"
    """The ranking loss. `squares` takes every pair of a user and an item, as implicit ALS does
    (docs/decisions/0018-squares.md). `softmax` ranks a bought item above many items at once. `bpr` ranks it above one
    other item, as the paper does. Each loss begins with its own weights."""
    softmax_candidates: int = 8192
    """Items in the softmax's denominator. All trained items if there are no more, otherwise a sample in each step."""
    unobserved_weight: float = 10.0
    """`squares`: total weight of all user-item pairs, relative to the total weight of the observed pairs."""
    l2: float | Auto = "auto"
    """Weight of half the squared norm of the batch's propagated vectors, per interaction. `auto`: found in training."""
    l2_exponent: float = 0.5
    """A vector's L2 is weighted by its number of interactions to this power. 1: as often as it is used. 0: all
    alike."""
    contrastive_weight: float | Auto = "auto"
    """Weight of the contrastive term (beta in the paper); 0 leaves it out. `auto`: found in training."""
    temperature: float = 0.5
    """Temperature of the contrastive term."""
    contrastive: Literal["sampled", "exact"] = "sampled"
    """`exact` contrasts every item with every other in each step, which costs O(I^2 D); `sampled` contrasts a
    sample."""
    contrastive_samples: int = 512
    """`sampled`: items drawn in each step for each modality; each is anchor and candidate."""

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}")
        for name in ("contrastive_samples", "softmax_candidates"):
            if getattr(self, name) < 2:
                raise ValueError(f"{name} must be at least 2, got {getattr(self, name)}")
        if not 0 <= self.l2_exponent <= 1:
            raise ValueError(f"l2_exponent must lie in [0, 1], got {self.l2_exponent}")
        _require_weights(l2=self.l2, contrastive_weight=self.contrastive_weight)
        if not 0 <= self.unobserved_weight < math.inf:
            raise ValueError(f"unobserved_weight must be finite and not negative, got {self.unobserved_weight}")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Optimisation. Where defaults are not the authors', docs/decisions/0004-defaults.md has the measurement."""

    device: str = "auto"
    """`auto` (CUDA if there is one), `cpu`, `cuda` or `cuda:<n>`."""
    processes: int | Literal["auto"] = "auto"
    """Processes that train together, each with its own columns of every embedding. `auto`: one for each GPU, one on a
    CPU."""
    seed: int = 0
    """Seed of the initial vectors and of every draw in training."""
    max_epochs: int = 1000
    """Training stops here at the latest."""
    batch_size: int | Literal["auto"] = "auto"
    """Interactions in a step. With `softmax` and `squares`, some users with all their interactions, about this many
    together. `auto`: at least 4,096, and 14 steps in an epoch (docs/decisions/0020-batch-size.md)."""
    learning_rate: float = 1e-2
    """Learning rate of Adam."""
    learning_rate_decay: float = 0.96
    """Factor reached every `learning_rate_decay_epochs`, applied smoothly."""
    learning_rate_decay_epochs: int = 50
    """See `learning_rate_decay`."""
    check_every: int = 2
    """Epochs between two checks on validation; a checkpoint is kept at each."""
    patience: int = 8
    """Training stops after this many checks without gain. If L2 is `auto`, its search ends the training."""
    structure_gradient: StructureGradient = "epoch"
    """When gradients reach the learned graphs. `epoch`: in an epoch's first step, as the authors do. `step`: always."""
    auto_weights: Literal["champion", "anew"] = "champion"
    """Where weights that are `auto` come from: the `champion`'s, if its settings are this night's, or found `anew`."""
    warm_start: str = "champion"
    """Begin with the `champion`'s parameters, with random ones (`none`), or with those of an earlier run, by its id."""
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)

    def __post_init__(self) -> None:
        for name in ("max_epochs", "check_every", "patience", "learning_rate_decay_epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")
        for name in ("batch_size", "processes"):
            value = getattr(self, name)
            if value != "auto" and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ValueError(f"{name} must be 'auto' or a whole number of at least 1, got {value}")

    def interactions_per_step(self, num_interactions: int) -> int:
        """`batch_size` for data with so many training interactions."""
        if self.batch_size == "auto":
            return max(SMALLEST_BATCH, -(-num_interactions // STEPS_PER_EPOCH))
        return self.batch_size


def given_weights(model: ModelConfig, objective: ObjectiveConfig) -> dict[str, float]:
    """The weights that a configuration gives as numbers, by name."""
    values = {
        "l2": objective.l2,
        "content_weight": model.content_weight,
        "contrastive_weight": objective.contrastive_weight,
    }
    return {name: value for name, value in values.items() if value != "auto"}


def starting_weights(model: ModelConfig, objective: ObjectiveConfig | None = None) -> Weights:
    """The weights that training begins with: those given, and where `auto` begins for the ranking loss."""
    objective = objective or ObjectiveConfig()
    return replace(STARTING_WEIGHTS[objective.ranking], **given_weights(model, objective))
