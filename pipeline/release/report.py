"""report.html: one self-contained page about a release, for merchandisers, data scientists and operators."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model.epoch import EpochReport
from pipeline.addresses import without_secrets
from pipeline.dataset.records import Evaluation
from pipeline.documents import flatten
from pipeline.release.cards import Card, Sheet
from pipeline.release.curves import training_charts
from pipeline.release.drift_panel import drift_panel
from pipeline.release.glossary import GLOSSARY
from pipeline.release.headline import headline
from pipeline.release.item_panels import new_items_panel, similar_items_panel
from pipeline.release.page import write_page
from pipeline.release.space import DriftRow, Space
from pipeline.release.tables import champion_table, metrics_table, rankings_table, slices_table
from pipeline.release.verdict import Verdict


@dataclass(frozen=True, kw_only=True)
class Shown:
    """An item among others; `note` is a word or two."""

    id: Any
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Neighbourhood:
    """An item and its nearest neighbours, by what they are nearest in, best first."""

    item: Any
    note: str
    lanes: dict[str, list[Shown]]


@dataclass(frozen=True, kw_only=True)
class Neighbourhoods:
    """A group of items, such as the best or the worst."""

    title: str
    lead: str
    rows: list[Neighbourhood]


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """An item in a user's list."""

    id: Any
    taken: bool
    """Whether it is one of the held-out purchases."""
    parts: dict[str, float]
    """Of the score, which they sum up to, by where they come from."""


@dataclass(frozen=True, kw_only=True)
class Shopper:
    """A user's history and list."""

    id: str
    count: int
    """Items of the history."""
    history: list[Any]
    """The first of them."""
    suggestions: list[Suggestion]


@dataclass(frozen=True, kw_only=True)
class Place:
    """An item on the map; 0 to 1 from left to right and from top to bottom."""

    x: float
    y: float
    title: str
    kind: int
    """Number of its kind; -1: none of those that are told apart."""


@dataclass(frozen=True, kw_only=True)
class MapKind:
    """A kind of item that is told apart, with the place of its name."""

    number: int
    name: str
    count: int
    """In the whole catalogue."""
    x: float
    y: float

    @property
    def label(self) -> str:
        """Of a path of categories, the last."""
        return self.name.rpartition(" | ")[2]


@dataclass(frozen=True, kw_only=True)
class CatalogueMap:
    """Items in the plane, near where their vectors are near."""

    places: list[Place]
    kinds: list[MapKind]
    column: str | None
    """Of the catalogue, that kinds are read from."""
    of: int
    """Items that the places were drawn from."""
    sheet: Sheet | None = None


@dataclass(frozen=True, kw_only=True)
class Problem:
    """An oddity of the data, with some of its items."""

    title: str
    items: list[Shown]


@dataclass(frozen=True, kw_only=True)
class InputRow:
    """One check of the input, spelled for people."""

    name: str
    then: str
    now: str
    allowed: str
    verdict: str


@dataclass(frozen=True, kw_only=True)
class InputContent:
    """What the input was compared with, and what is odd in it."""

    lead: str = ""
    """What the comparison came to; empty where there was none."""
    rows: list[InputRow] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class ContentWeights:
    """What content counts for."""

    attention: dict[str, tuple[float, float]] = field(default_factory=dict)
    """By modality: mean attention weight of items with interactions, and of new ones."""
    taste: dict[str, float] = field(default_factory=dict)
    """Weight of taste in content, by modality."""
    parts: dict[str, float] = field(default_factory=dict)
    """Share of the scores of all lists that were looked at, by where it comes from."""
    lists: int = 0


@dataclass(frozen=True, kw_only=True)
class Effort:
    """Of one stage."""

    seconds: float
    peak_memory_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class ReportContent:
    """Everything the page shows; what is empty has no section."""

    run_id: str
    release_digest: str
    created: str
    config: dict[str, Any]
    counts: dict[str, Any]
    history: list[EpochReport]
    metrics: Evaluation
    effort: dict[str, Effort]
    """Per stage."""
    best_epoch: int | None
    input: InputContent = field(default_factory=InputContent)
    verdict: Verdict | None = None
    """What the quality gate said before the release was written; None where it was not asked."""
    cards: dict[Any, Card] = field(default_factory=dict)
    """Of every item that is shown, by its id."""
    neighbours: list[Neighbourhoods] = field(default_factory=list)
    shoppers: list[Shopper] = field(default_factory=list)
    map: CatalogueMap | None = None
    weights: ContentWeights = field(default_factory=ContentWeights)
    space: Space | None = None
    drift: dict[str, DriftRow] = field(default_factory=dict)
    """By slice; empty for the first release of a line."""


def write_report(path: Path, content: ReportContent) -> None:
    """Write the page; everything from the user's data is escaped, and nothing outside the file is referred to."""
    config, metrics = flatten(without_secrets(content.config)), content.metrics
    write_page(
        path,
        "report.html",
        content=content,
        cards=content.cards,
        headline=headline(metrics, str(config.get("split.strategy", "random"))),
        rankings=rankings_table(metrics),
        champion=champion_table(metrics.beside_champion),
        slices=slices_table(metrics),
        every_metric=metrics_table(metrics),
        charts=training_charts(content.history, content.best_epoch),
        counts=flatten(content.counts),
        config=config,
        total_seconds=sum(one.seconds for one in content.effort.values()),
        drift=drift_panel(content.space, content.drift),
        new_items=new_items_panel(metrics),
        similar_items=similar_items_panel(metrics, str(config.get("evaluation.kind") or "kind")),
        glossary=GLOSSARY,
    )
