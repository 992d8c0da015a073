"""Records of a dataset, and of a model measured on it; without torch, for programs that only read them."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import AliasChoices, Field

SHOWN_METRICS = ("recall@10", "recall@20", "precision@20", "ndcg@10", "ndcg@20", "hit@20", "map@20", "coverage@20")
"""In the order in which people see them."""
SLOT_SHARE = "slot_share@20"
"""Share of the places of the tested users' lists that new items hold."""
SAME_KIND, CO_PURCHASES = "same_kind@10", "co_purchases@10"
"""Shares that the ten nearest neighbours come to (`pipeline.dataset.similar`)."""
MODEL, POPULARITY, ITEM_KNN = "model", "popularity", "item-knn"
"""Rankings of `Group`, beside the modalities."""
Metrics = dict[str, float]
"""Name, such as `recall@20`, to value."""


@dataclass(frozen=True, kw_only=True)
class EncoderRecord:
    """What made the features of one modality."""

    key: str
    """Folder of its features in the store; `precomputed` for vectors that somebody else made."""
    revision: str
    dim: int
    digest: str
    """sha256 over the items' ids and contents."""


Moment = str | int | float
"""ISO 8601, or the number as it stands in the input."""


@dataclass(frozen=True, kw_only=True)
class InputCounts:
    """What a release was made from, counted before anything was computed; None where it was not recorded."""

    items: int | None = None
    users: int | None = None
    interactions: int | None = None
    """That cleaning has kept."""
    dropped: float | None = None
    """Share of the interactions' rows that cleaning dropped, without those of users outside `user_share`."""
    usable: dict[str, int] = field(default_factory=dict)
    """Items with usable content, by modality."""
    item_values: dict[str, int] | None = None
    """Rows of the catalogue with a value, by the columns that the modalities are made of."""
    interaction_values: dict[str, int] | None = None
    """Rows of the interactions with a value, by the columns beside the ids."""
    last_timestamp: Moment | None = None
    """Of all rows of the interactions, dropped ones too; None where there are no timestamps, too."""
    user_share: float = 1.0
    """Share of the users that the configuration keeps (`catalogue.filter.user_share`)."""


@dataclass(frozen=True, kw_only=True)
class ItemQuality:
    """Users' lists where all items compete, and items' neighbours: of the model, or of content alone."""

    test: Metrics | None = None
    cold_open: Metrics | None = None
    """Of test, new items."""
    new_items: Metrics | None = None
    """Their number, their share of the catalogue and of the places in the tested users' lists."""
    similar_items: Metrics | None = None
    """Of an item's ten nearest neighbours by cosine."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A mean over users with its 95 % confidence interval (`pipeline.dataset.intervals`)."""

    value: float
    users: int
    interval: tuple[float, float] | None = None
    """None for too few users."""


Figures = dict[str, Figure]
"""By metric: `hit@20`, `recall@20`, `ndcg@20`."""


GroupOf = Literal["all", "items", "users", "kind"]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Some of the held-out test interactions, all items competing: how many of them each ranking finds."""

    name: str
    """For people; of a kind of item, as the catalogue spells it."""
    of: GroupOf
    """Whether it is a part of the items or of the users."""
    users: int
    """With such an interaction."""
    interactions: int
    found: dict[str, Figures] = field(default_factory=dict)
    """By ranking: `model`, `popularity`, `item-knn`, and each modality's content alone."""


@dataclass(frozen=True, kw_only=True)
class BesideChampion:
    """This model and the champion of when the run began, on this run's test interactions that the champion
    was not trained on."""

    run_id: str
    interactions: int
    model: Figures
    champion: Figures
    difference: Figures
    """This model's minus the champion's, paired by user."""
    fair: bool = True
    """False: the champion's dataset is gone, so some may be of its training."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a model comes to on one dataset; a part without interactions has no metrics.

    A new item is one that training has not seen, a warm one has training interactions. Formulas:
    docs/reference/metrics.md.
    """

    validation: Metrics | None = None
    test: Metrics | None = None
    cold: Metrics | None = None
    """Of test, new items, which alone compete."""
    cold_open: Metrics | None = None
    """Of test, new items, all items competing."""
    warm: Metrics | None = None
    """Of test, warm items, all items competing."""
    warm_alone: Metrics | None = None
    """Of test, warm items, which alone compete."""
    new_items: Metrics | None = None
    """As of `ItemQuality`."""
    similar_items: Metrics | None = None
    """The same, by the learned vectors."""
    yardsticks: dict[str, ItemQuality] = field(default_factory=dict)
    """By modality: its features alone, without training. A user's list is by the sum of cosines with what the user has.

    Measured as the model is, but of a very large catalogue on a part of the users.
    """
    slices: dict[str, Metrics] = field(default_factory=dict)
    """Of test, by a name for people."""
    popularity: Metrics | None = None
    """Of test, items ranked by popularity."""
    groups: list[Group] = field(default_factory=list)
    """Of test: everything first, then parts of it; empty in earlier versions."""
    beside_champion: BesideChampion | None = None
    """None without a champion that can be compared with."""
    paper_protocol: Metrics | None = None
    """Of test, as the authors' code computes it."""


@dataclass(frozen=True, kw_only=True)
class WarmStart:
    """What a training began from."""

    run_id: str | None
    """None: random parameters, for the `reason` given."""
    reason: str | None = None
    parameters_sha256: str | None = None
    known_users: int | None = None
    """Of today's users, those that the earlier run knew."""
    known_items: int | None = None
    trained_before: float | None = None
    """Share of today's held-out interactions that the earlier run was trained on."""
    metric: Annotated[float | None, Field(validation_alias=AliasChoices("metric", "recall@20"))] = None
    """Validation recall@20 before the first epoch; earlier versions wrote it under that name."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a model was trained."""

    epochs: int
    best_epoch: int
    """0 where there was no check."""
    warm_start: WarmStart | None = None
    """None: nothing was asked for."""
    modalities: list[str]
    """That the model uses, in the order of the attention weights."""
    weights: dict[str, float] = field(default_factory=dict)
    """`l2`, `content_weight` and `contrastive_weight` of the best state; empty in earlier versions."""
    weights_of: str | None = None
    """The run whose training found those that are `auto`; None: they were not looked for, or not to the end."""
    weights_interactions: int | None = None
    """On how many training interactions it found them; None in earlier versions."""
    taste_weights: dict[str, float] = field(default_factory=dict)
    """Of a user's taste in content, by modality; empty where none was joined."""
    new_item_scale: float = 1.0
    """Factor on the vectors of items without interactions."""
    device: str
    processes: int = 1
    threads: int
    torch: str
    """Its version."""
