"""report.html: one self-contained page about a release, for people."""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model.epoch import EpochReport
from pipeline.dataset.records import SHOWN_METRICS, Evaluation, Metrics
from pipeline.documents import flatten, without_passwords
from pipeline.release.charts import Series, line_chart
from pipeline.release.drift_panel import drift_panel
from pipeline.release.item_panels import new_items_panel, similar_items_panel
from pipeline.release.space import DriftRow, Space
from pipeline.release.verdict import Verdict

MODEL_ROWS = {
    "test": "Test",
    "popularity": "Test, ranked by popularity",
    "validation": "Validation",
    "cold": "Test, new items among themselves",
    "cold_open": "Test, new items among all",
    "paper_protocol": "Test, as the authors’ code computes it",
}
LIFT = "Gain over popularity"
HEADLINE = ("recall@20", "ndcg@20", "coverage@20")
CURVES = ("recall@20", "ndcg@20")
LANES = {"learned": "learned vector"}


@dataclass(frozen=True, kw_only=True)
class GridItem:
    """An item as the grid shows it; `image` is a data URI or None, `note` a word or two."""

    id: str
    title: str
    image: str | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class GridRow:
    """An item and its nearest neighbours, by modality and by `learned`, best first."""

    item: GridItem
    neighbours: dict[str, list[GridItem]]


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
    """What the input was compared with, and what was found odd in it."""

    lead: str = ""
    """What the comparison came to; empty where there was none."""
    rows: list[InputRow] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class ReportContent:
    """Everything the page shows."""

    run_id: str
    release_digest: str
    created: str
    config: dict[str, Any]
    counts: dict[str, Any]
    history: list[EpochReport]
    metrics: Evaluation
    seconds: dict[str, float]
    """Per stage."""
    best_epoch: int | None
    input: InputContent = field(default_factory=InputContent)
    verdict: Verdict | None = None
    """What the quality gate said before the release was written; None where it was not asked."""
    grid: list[GridRow] = field(default_factory=list)
    space: Space | None = None
    drift: dict[str, DriftRow] = field(default_factory=dict)
    """By slice; empty for the first release of a line."""


@dataclass(frozen=True)
class _MetricRow:
    label: str
    cells: list[str]
    kind: str = ""


@dataclass(frozen=True)
class _Figure:
    label: str
    value: str
    note: str


def write_report(path: Path, content: ReportContent) -> None:
    """Write the page; everything from the user's data is escaped, and nothing outside the file is referred to."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["amount"] = format_amount
    config = flatten(without_passwords(content.config))
    page = environment.get_template("report.html").render(
        content=content,
        figures=_figures(content),
        charts=training_charts(content.history, content.best_epoch),
        metric_names=_metric_names(content.metrics),
        metric_groups=_metric_groups(content.metrics),
        counts=flatten(content.counts),
        config=config,
        total_seconds=sum(content.seconds.values()),
        lanes=LANES,
        drift=drift_panel(content.space, content.drift),
        new_items=new_items_panel(content.metrics),
        similar_items=similar_items_panel(content.metrics, str(config.get("evaluation.kind") or "kind")),
    )
    path.write_text(page, encoding="utf-8")


def thumbnail(payload: bytes, size: int = 168) -> str | None:
    """Shrink a picture into a box of `size` pixels and return it as a JPEG data URI; None for a broken one."""
    from PIL import Image

    from features.pictures import UnreadableError, decoded

    jpeg = io.BytesIO()
    try:
        with decoded(payload, at_least=(size * 2, size * 2)) as picture:
            picture.thumbnail((size, size), Image.Resampling.LANCZOS)
            picture.save(jpeg, "JPEG", quality=80, optimize=True)
    except UnreadableError:
        return None
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.getvalue()).decode()


def training_charts(history: Sequence[EpochReport], best_epoch: int | None) -> dict[str, str]:
    """Draw the loss and metric curves; title to SVG, without those that have nothing to show."""
    names = {
        "Training loss": {"loss": "total", "ranking": "ranking"},
        "Contrastive term": {"contrastive": "contrastive"},
        "Validation": {name: name for name in CURVES},
    }
    charts = {}
    for title, columns in names.items():
        series = [Series(label, _points(history, column)) for column, label in columns.items()]
        svg = line_chart(title, _summary(series), series, x_label="epoch", mark=best_epoch or None)
        if svg:
            charts[title] = svg
    return charts


def format_amount(value: Any) -> str:
    """Spell a number for people: thin spaces between thousands, four figures after the point at most."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.4g}"
    return f"{value:,.0f}".replace(",", "\u202f")


def _points(history: Sequence[EpochReport], name: str) -> list[tuple[float, float]]:
    """Of a part of the loss, or of a metric on the epochs that end in a check."""
    values = [(one.epoch, (one.validation or {}).get(name) if "@" in name else getattr(one, name)) for one in history]
    return [(epoch, float(value)) for epoch, value in values if value is not None]


def _summary(series: Sequence[Series]) -> str:
    """What somebody who cannot see the curve should know of it."""
    parts = [
        f"{line.name} from {line.points[0][1]:.4g} at epoch {line.points[0][0]} to {line.points[-1][1]:.4g} "
        f"at epoch {line.points[-1][0]}"
        for line in series
        if line.points
    ]
    return "; ".join(parts)


def _figures(content: ReportContent) -> list[_Figure]:
    metrics, figures = content.metrics, []
    part, measured = ("test", metrics.test) if metrics.test else ("validation", metrics.validation)
    if measured:
        popularity = (metrics.popularity or {}) if part == "test" else {}
        for name in HEADLINE:
            if name in measured:
                figures.append(_Figure(f"{name} on {part}", _cell(measured[name]), _times(popularity, name)))
    if content.history:
        best = f"best at epoch {content.best_epoch}" if content.best_epoch else "no validation"
        seconds = format_amount(round(sum(one.seconds for one in content.history), 1))
        figures.append(_Figure("epochs trained", format_amount(len(content.history)), f"{best}, {seconds} s"))
    return figures


def _times(popularity: Metrics, name: str) -> str:
    base = popularity.get(name)
    return f"popularity {_cell(base)}" if base is not None else ""


def _metric_names(metrics: Evaluation) -> list[str]:
    measured = [*(metrics.test or {}), *(metrics.validation or {})]
    return [name for name in SHOWN_METRICS if name in measured]


def _metric_groups(metrics: Evaluation) -> dict[str, list[_MetricRow]]:
    """Rows of the table under their headings; a part that was not measured has no row."""
    names = _metric_names(metrics)
    parts: dict[str, Metrics | None] = {part: getattr(metrics, part) for part in MODEL_ROWS}
    main = [_row(MODEL_ROWS[part], table, names, part) for part, table in parts.items() if table]
    if metrics.test and metrics.popularity:
        main.insert(2, _gain_row(metrics.test, metrics.popularity, names))
    slices = [_row(label[:1].upper() + label[1:], table, names) for label, table in metrics.slices.items()]
    return {title: rows for title, rows in {"Whole": main, "Test, by slice": slices}.items() if rows}


def _row(label: str, table: Metrics, names: Sequence[str], kind: str = "") -> _MetricRow:
    return _MetricRow(label, [_cell(table.get(name)) for name in names], kind)


def _cell(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.4f}"


def _gain_row(test: Metrics, popularity: Metrics, names: Sequence[str]) -> _MetricRow:
    gains = [test[name] / popularity[name] - 1 if name in test and popularity.get(name) else None for name in names]
    cells = ["–" if gain is None else f"{gain * 100:+.0f} %".replace("-", "\u2212") for gain in gains]
    return _MetricRow(LIFT, cells, "loss" if any(gain is not None and gain < 0 for gain in gains) else "gain")
