"""The report's tables of quality: what each ranking finds, by group of shoppers and purchases, with intervals."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from pipeline.dataset.records import (
    ITEM_KNN,
    MODEL,
    POPULARITY,
    SHOWN_METRICS,
    BesideChampion,
    Evaluation,
    Figure,
    Group,
    Metrics,
)
from pipeline.release.item_panels import percent

RANKINGS = {MODEL: "this release", POPULARITY: "bestsellers", ITEM_KNN: "bought together"}
"""Names for people; the others are modalities, `<name> alone`."""
GROUPS = {"items": "By item", "users": "By shopper", "kind": "By category"}
FOUND, SHARE, ORDER = "hit@20", "recall@20", "ndcg@20"
COLUMNS = {FOUND: "find something", SHARE: "found of all", ORDER: "order (NDCG@20)"}
PARTS = {
    "test": "Test",
    "popularity": "Test, by popularity",
    "validation": "Validation",
    "cold": "Test, new items among themselves",
    "cold_open": "Test, new items among all",
    "paper_protocol": "Test, as the authors’ code computes it",
}


@dataclass(frozen=True)
class Cell:
    """A figure and what qualifies it, such as its interval."""

    text: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row: its head, and a cell for each column."""

    head: str
    cells: Sequence[Cell]
    strong: bool = False


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under headings; a group with an empty name has none."""

    caption: str
    corner: str
    columns: Sequence[str]
    groups: dict[str, list[Line]] = field(default_factory=dict)


def rankings_table(metrics: Evaluation) -> Table | None:
    """Who finds how much of all that was held out; None of an earlier version's figures, or without any."""
    whole = next((group for group in metrics.groups if group.of == "all"), None)
    if whole is None:
        return None
    lines = [
        Line(head=ranking_name(name), cells=[*_cells(figures, COLUMNS), _count(figures)], strong=name == MODEL)
        for name, figures in _in_order(whole).items()
    ]
    return Table(
        caption="What each ranking finds of the held-out purchases, with 95 % intervals",
        corner="Suggestions by",
        columns=[*COLUMNS.values(), "shoppers"],
        groups={"": lines},
    )


def champion_table(beside: BesideChampion | None) -> Table | None:
    """This release and the champion on the same purchases, and the difference."""
    if beside is None:
        return None
    rows = {"this release": beside.model, f"champion {beside.run_id}": beside.champion}
    lines = [Line(head=head, cells=_cells(figures, COLUMNS)) for head, figures in rows.items()]
    difference = [_cell(beside.difference[name], _signed(name)) for name in COLUMNS]
    return Table(
        caption="This release and the champion on the same purchases, with 95 % intervals",
        corner="Suggestions by",
        columns=list(COLUMNS.values()),
        groups={"": [*lines, Line(head="difference, in points", cells=difference, strong=True)]},
    )


def slices_table(metrics: Evaluation) -> Table | None:
    """Of how many shoppers each ranking finds something, by group; None where no groups were measured."""
    parts = [group for group in metrics.groups if group.of != "all"]
    if not parts:
        return None
    names = list(dict.fromkeys(name for group in parts for name in _in_order(group)))
    groups: dict[str, list[Line]] = {}
    for group in parts:
        cells = [Cell(f"{group.users:,}".replace(",", "\u202f")), *_found_by(group, names)]
        groups.setdefault(GROUPS[group.of], []).append(Line(head=group.name, cells=cells))
    return Table(
        caption="Share of shoppers who find something among 20 suggestions, by group, with 95 % intervals",
        corner="Purchases or shoppers",
        columns=["shoppers", *map(ranking_name, names)],
        groups=groups,
    )


def metrics_table(metrics: Evaluation) -> Table | None:
    """Every metric of every part, as programs get them."""
    parts: dict[str, Metrics] = {label: getattr(metrics, part) for part, label in PARTS.items()}
    parts = {label: measured for label, measured in parts.items() if measured}
    names = [name for name in SHOWN_METRICS if any(name in measured for measured in parts.values())]
    if not names:
        return None

    def lines(measured_by: dict[str, Metrics]) -> list[Line]:
        return [
            Line(head=label[:1].upper() + label[1:], cells=[Cell(_plain(measured.get(name))) for name in names])
            for label, measured in measured_by.items()
        ]

    slices = {"Test, by slice": lines(metrics.slices)} if metrics.slices else {}
    return Table(
        caption="Every metric, by part of the data",
        corner="Part",
        columns=names,
        groups={"": lines(parts), **slices},
    )


def ranking_name(name: str) -> str:
    """A ranking for people."""
    return RANKINGS.get(name, f"{name} alone")


def _in_order(group: Group) -> dict[str, dict[str, Figure]]:
    """The model first, then what knows no content, then content alone."""
    names = [*(name for name in RANKINGS if name in group.found), *(set(group.found) - set(RANKINGS))]
    return {name: group.found[name] for name in sorted(names, key=[*RANKINGS, *group.found].index)}


def _found_by(group: Group, names: Iterable[str]) -> list[Cell]:
    found = {name: group.found.get(name, {}).get(FOUND) for name in names}
    return [_cell(one, percent) if one else Cell("–") for one in found.values()]


def _cells(figures: dict[str, Figure], names: Iterable[str]) -> list[Cell]:
    return [_cell(figures[name], _spelling(name)) if name in figures else Cell("–") for name in names]


def _count(figures: dict[str, Figure]) -> Cell:
    users = max((one.users for one in figures.values()), default=0)
    return Cell(f"{users:,}".replace(",", "\u202f"))


def _cell(figure: Figure, spelled: Callable[[float], str]) -> Cell:
    if figure.interval is None:
        return Cell(spelled(figure.value), "too few to say")
    low, high = (spelled(end) for end in figure.interval)
    return Cell(spelled(figure.value), f"{low.removesuffix(' %')} to {high}")


def _spelling(name: str) -> Callable[[float], str]:
    return _plain if name == ORDER else percent


def _signed(name: str) -> Callable[[float], str]:
    def spelled(value: float) -> str:
        text = f"{value:+.4f}" if name == ORDER else f"{100 * value:+.1f}"
        return text.replace("-", "\u2212")

    return spelled


def _plain(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.4f}"
