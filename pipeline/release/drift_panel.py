"""What has moved since the champion, for people."""

from collections.abc import Callable

from pipeline.release.item_panels import Panel, percent
from pipeline.release.space import DriftRow, Space

ROWS = {
    "all": "all items",
    "head": "popular items",
    "tail": "other items with interactions",
    "content": "items by content alone",
    "users": "users",
}
COLUMNS: dict[str, Callable[[DriftRow], str]] = {
    "in both": lambda row: f"{row.count:,}".replace(",", "\u202f"),
    "cosine, median": lambda row: _figure(row.cosine_median),
    "cosine, lowest 5 %": lambda row: _figure(row.cosine_tail),
    "neighbours kept": lambda row: percent(row.neighbours_kept),
    "recommendations kept": lambda row: percent(row.recommendations_kept),
    "length": lambda row: _figure(row.norm_ratio),
}


def drift_panel(space: Space | None, drift: dict[str, DriftRow]) -> Panel | None:
    """A row for each slice; for the first release of a line why it is the first; None where no space is known."""
    if space is None:
        return None
    title = "Since the champion"
    if space.champion is None:
        lead = f"This release begins a line: {space.reason}. Its vectors cannot be compared with those of others."
        return Panel(title=title, lead=lead, columns=[], rows={})
    return Panel(
        title=title,
        lead=f"The vectors were rotated into the space of {space.champion}, in the line of {space.first}. Of those "
        "that both know: how far they moved, how many of the 20 nearest items and of the 20 recommended ones stayed, "
        f"and how long they are, relative to then. Scores are {space.score_scale:.3f} times as large.",
        columns=list(COLUMNS),
        rows={
            label: [cell(drift[name]) for cell in COLUMNS.values()]
            for name, label in ROWS.items()
            if name in drift and drift[name].count
        },
    )


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
